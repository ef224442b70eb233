//! Opens a page of the running stack for a person: which one, and by which program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit::names;
use kit::{Exit, Failure};

use engine::base::interrupt::Interrupt;
use engine::base::poll::{Waited, wait_until};
use engine::checkout::applied::Applied;
use engine::checkout::context::Ctx;
use engine::operations::exports;
use engine::plan::env::Env;
use engine::plan::stack::{FRONT, Stack};

/// How long an opener may take to fail. One that keeps running is the browser itself.
const OPENER_TIMEOUT: Duration = Duration::from_secs(2);

/// Poll interval meanwhile.
const OPENER_POLL: Duration = Duration::from_millis(10);

/// Returns the page of a running service, or of the front.
pub fn address(ctx: &Ctx, service: Option<&str>) -> anyhow::Result<String> {
    let applied = Applied::running(ctx)?.ok_or_else(|| {
        let failure = Failure::new(Exit::NotRunning, "there is no running stack to open");
        failure.hint(ctx.paths.command("up"))
    })?;
    let page = match service {
        Some(name) => page(&applied.stack, name)?,
        None => exports::of(&applied.stack).remove(FRONT),
    };
    page.ok_or_else(|| {
        let what = service.map_or_else(
            || format!("no service exports `{FRONT}`"),
            |name| format!("`{name}` has no page"),
        );
        let failure = Failure::new(Exit::Usage, what);
        failure
            .hint("name a service with an HTTP port, or give it `open` in its manifest")
            .into()
    })
}

fn page(stack: &Stack, name: &str) -> anyhow::Result<Option<String>> {
    let Some(process) = stack.processes.get(name) else {
        let known = stack.processes.keys().map(String::as_str);
        let hint = names::hint(name, "there are", known);
        let message = format!("no service `{name}` runs");
        return Err(Failure::new(Exit::Usage, message).hint(hint).into());
    };
    let url = process.url().filter(|url| url.starts_with("http"));
    Ok(process.open.clone().or(url))
}

/// Returns the program that opens addresses on this system, if there is one and a screen.
pub fn opener(env: &Env) -> Option<PathBuf> {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| env.non_empty(name).is_some());
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if has_screen {
        "xdg-open"
    } else {
        return None;
    };
    which::which_in(program, env.get("PATH"), "/").ok()
}

/// Passes the address to the opener. Returns whether that succeeded.
pub fn open(opener: &Path, address: &str) -> bool {
    let spawned = Command::new(opener)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = spawned else {
        return false;
    };
    let deadline = Instant::now() + OPENER_TIMEOUT;
    let ended = || child.try_wait();
    match wait_until(deadline, OPENER_POLL, &Interrupt::default(), ended) {
        Ok(Waited::Done(status)) => status.success(),
        Ok(Waited::Deadline | Waited::Interrupted(_)) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_opener_gets_the_address_and_may_refuse_it() {
        let dir = tempfile::tempdir().unwrap();
        let (program, seen) = (dir.path().join("opener"), dir.path().join("seen"));
        let script = format!(
            "#!/bin/sh\nprintf %s \"$1\" >'{}'\ncase $1 in *bad*) exit 3;; esac\n",
            seen.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
        assert!(open(&program, "http://127.0.0.1:1/"));
        assert_eq!(fs::read_to_string(&seen).unwrap(), "http://127.0.0.1:1/");
        assert!(!open(&program, "http://bad/"));
        assert!(!open(&dir.path().join("none"), "http://127.0.0.1:1/"));
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn without_a_screen_there_is_no_opener() {
        let path = std::env::var("PATH").unwrap_or_default();
        assert_eq!(opener(&Env::from_pairs([("PATH", path.as_str())])), None);
    }
}
