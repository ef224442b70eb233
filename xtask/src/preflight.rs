//! What is checked before anything is started: ports, and what the services say of their settings.

use std::io::{self, Read as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::{Exit, Failure};

use crate::context::Ctx;
use crate::stack::{Port, Process, Stack};

/// How long a check of settings may take; it starts nothing, so milliseconds are usual.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Lines of a refusal that are shown.
const REASONS_MAX: usize = 10;

/// How often a running check is looked at.
const POLL: Duration = Duration::from_millis(1);

/// Variables of ours that a check gets besides those of its process.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];

/// Lets every service check its settings, side by side. All refusals are told at once.
pub fn check_settings(ctx: &Ctx, stack: &Stack) -> anyhow::Result<()> {
    let mut running = Vec::new();
    for (name, process) in &stack.processes {
        if let (Some(check), false) = (&process.check, process.disabled) {
            running.push((name, spawn(ctx, process, check)?));
        }
    }
    let deadline = Instant::now() + CHECK_TIMEOUT;
    let mut refusals = Vec::new();
    for (name, child) in running {
        refusals.extend(finish(name, child, deadline)?);
    }
    if refusals.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Invalid, refusals.join("\n"))
        .hint("nothing was started; correct the variable in `.env` or the environment")
        .into())
}

fn spawn(ctx: &Ctx, process: &Process, check: &[String]) -> anyhow::Result<Child> {
    let passed_on = PASSED_ON
        .iter()
        .filter_map(|name| Some((*name, ctx.env.get(name)?)));
    let own = process
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.text.as_str()));
    Command::new(Process::program(ctx.paths.root(), &check[0]))
        .args(&check[1..])
        .current_dir(ctx.paths.root())
        .env_clear()
        .envs(passed_on)
        .envs(own)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run the check `{}`", check.join(" ")))
}

/// Waits for a check. Returns its refusal as a sentence.
fn finish(name: &str, mut child: Child, deadline: Instant) -> anyhow::Result<Option<String>> {
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a check")? {
            if status.success() {
                return Ok(None);
            }
            let mut text = String::new();
            if let Some(stderr) = &mut child.stderr {
                stderr
                    .read_to_string(&mut text)
                    .context("cannot read what a check says")?;
            }
            return Ok(Some(refusal(name, &text)));
        }
        if Instant::now() >= deadline {
            child.kill().context("cannot end a check that hangs")?;
            child.wait().context("cannot end a check that hangs")?;
            let message = format!("the check of `{name}` did not end within {CHECK_TIMEOUT:?}");
            return Err(Failure::new(Exit::Timeout, message).into());
        }
        thread::sleep(POLL);
    }
}

/// What a check says, as a sentence; several reasons on lines of their own. Our wrappers name
/// themselves and give a hint, which the sentence and our own hint replace.
fn refusal(name: &str, text: &str) -> String {
    let text = text.split("\nhint: ").next().unwrap_or_default();
    let reason = text.strip_prefix("error: ").unwrap_or(text);
    let own = format!("the settings of `{name}` are invalid:");
    let reason = reason.strip_prefix(&own).unwrap_or(reason);
    let mut lines = reason
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let mut lines: Vec<&str> = lines.by_ref().take(REASONS_MAX).collect();
    if lines.is_empty() {
        lines.push("it gave no reason");
    }
    match lines.as_slice() {
        [only] => format!("`{name}` refuses its settings: {only}"),
        many => format!("`{name}` refuses its settings:\n  {}", many.join("\n  ")),
    }
}

/// Refuses to start on ports that others hold. To be called while nothing of the instance lives.
pub fn check_ports(stack: &Stack) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    for (name, process) in stack
        .processes
        .iter()
        .filter(|(_, process)| !process.disabled)
    {
        for port in process.ports.values() {
            if let Some(error) = bind_error(port.port) {
                taken.push(describe(name, port, &error));
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    // The port of a further node of a service has no variable.
    let variable_of = |(name, process): (&String, &Process)| {
        if *name != process.service {
            return None;
        }
        let port = process
            .ports
            .iter()
            .find(|(_, port)| bind_error(port.port).is_some());
        port.map(|(port, _)| crate::stack::port_variable(name, port))
    };
    let first = stack.processes.iter().find_map(variable_of);
    let hint = match first {
        Some(variable) => {
            format!("end that program, or choose another port in `.env`: {variable}=NUMBER")
        }
        None => "end that program".to_owned(),
    };
    Err(Failure::new(Exit::PortTaken, taken.join("\n"))
        .hint(hint)
        .into())
}

/// Why a port cannot be listened on, on this machine's loopback address.
fn bind_error(port: u16) -> Option<io::Error> {
    TcpListener::bind(("127.0.0.1", port)).err()
}

fn describe(service: &str, port: &Port, error: &io::Error) -> String {
    let holder = if error.kind() == io::ErrorKind::AddrInUse {
        holder(port.port).unwrap_or_else(|| "a program that cannot be seen from here".to_owned())
    } else {
        error.to_string()
    };
    format!(
        "port {} of `{service}` ({}) is taken by {holder}",
        port.port, port.declared
    )
}

/// The program that listens on a port, with its process id.
fn holder(port: u16) -> Option<String> {
    let process = listeners::get_process_by_port(port, listeners::Protocol::TCP).ok()?;
    Some(format!("`{}` (pid {})", process.name, process.pid))
}
