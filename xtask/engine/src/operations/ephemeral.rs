//! Instances that live as long as one command: a name that no other instance has or had, and the
//! removal of everything that the instance left.
//!
//! Owns the guarantee that nothing else is removed: the caller removes only what it has reserved.
//! Must not decide when an instance ends.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::files::{self, PRIVATE_DIR_MODE};
use kit::{Exit, Failure};

use crate::base::interrupt::Interrupt;
use crate::base::poll;
use crate::checkout::context::Ctx;
use crate::checkout::levels::Level;
use crate::checkout::links;
use crate::checkout::paths::Paths;
use crate::instances::register::{Locked, Register};
use crate::operations::clean;
use crate::supervisor::alive;
use crate::supervisor::client::Client;
use crate::supervisor::operation::{Operation, StopRequest, Wait};
use crate::supervisor::stop::{self, Stopped};

/// Every name begins with it, then comes the process id of the one who reserved it.
const PREFIX: &str = "ephemeral";
/// How many names are tried. A name is in use if an earlier process with the same id left it.
const NAMES_MAX: u32 = 1000;
/// How long processes of the instance may take to stop when requested, as long as for `down`.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a command on the instance may take to give up: it notices that a stop is waiting.
const LOCK_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a supervisor whose starter was killed may take until it answers: some 40 ms.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is polled.
const ANSWER_POLL: Duration = Duration::from_millis(5);

/// Reserves an instance that did not exist, by creating its directory for generated files.
pub fn reserve(checkout: &Paths) -> anyhow::Result<Paths> {
    let process = std::process::id();
    for number in 1..=NAMES_MAX {
        let name = match number {
            1 => format!("{PREFIX}-{process}"),
            _ => format!("{PREFIX}-{process}-{number}"),
        };
        let paths = checkout.of_instance(&name)?;
        links::refuse(&paths)?;
        files::create_private_dir(&checkout.instances())?;
        let state = paths.state();
        match DirBuilder::new().mode(PRIVATE_DIR_MODE).create(&state) {
            Ok(()) if paths.data().symlink_metadata().is_err() => return Ok(paths),
            // Only the data of an earlier one are left, and they are not ours.
            Ok(()) => remove_directory(&state)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let shown = state.display();
                return Err(error).with_context(|| format!("cannot create `{shown}`"));
            }
        }
    }
    let shown = checkout.shown(&checkout.instances());
    let message = format!("every name for an instance in `{shown}` is in use");
    let hint = "list what was left with `cargo xtask ps`, and delete it with `cargo xtask clean \
                --state --data --instance NAME`";
    Err(Failure::new(Exit::Unexpected, message).hint(hint).into())
}

/// Stops a reserved instance whoever started it, proves that nothing is left running, and removes
/// everything: data, generated files, locks and its place in the register.
pub fn remove(ctx: &Ctx) -> anyhow::Result<Stopped> {
    let paths = &ctx.paths;
    let client = ctx.client()?;
    let wait = Wait::For(LOCK_TIMEOUT);
    let request = StopRequest::announce(paths)?;
    let operation = Operation::begin(paths, &ctx.ui, "down", wait, &Interrupt::default())?;
    drop(request);
    wait_for_answer(paths, &client);
    let stopped = stop::stop(ctx, &client, STOP_TIMEOUT)?;
    drop(operation);
    clean::clean(ctx, &[Level::State, Level::Data], wait)?;
    // Locks, too: the name is not used again, so no command can mistake another file for them.
    remove_directory(&paths.state())?;
    remove_directory(&paths.data())?;
    if Register::read(&ctx.env)?.has(paths) {
        Locked::take(&ctx.env)?.forget(paths)?;
    }
    Ok(stopped)
}

/// Waits until a supervisor that was just started can be asked to stop.
fn wait_for_answer(paths: &Paths, client: &Client) {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let lock = paths.alive_lock();
    poll::holds_by(deadline, ANSWER_POLL, || {
        client.is_live() || !alive::is_held(&lock).unwrap_or(false)
    });
}

/// Removes a directory with its content, or a link in its place; no link is followed.
fn remove_directory(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete `{}`", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::base::ui::Ui;
    use crate::instances::known;
    use crate::instances::register::DIRECTORY_VARIABLE;
    use crate::plan::env::Env;

    fn context(paths: Paths) -> Ctx {
        let register = paths.root().join("register").display().to_string();
        Ctx {
            paths,
            env: Env::from_pairs([(DIRECTORY_VARIABLE, register.as_str())]),
            ui: Ui::new(),
        }
    }

    #[test]
    fn a_name_is_reserved_once_and_never_one_with_data() {
        let directory = tempfile::tempdir().unwrap();
        let checkout = Paths::new(directory.path().to_path_buf());
        let first = reserve(&checkout).unwrap();
        let second = reserve(&checkout).unwrap();
        assert_ne!(first.instance(), second.instance());
        let third = checkout
            .of_instance(&format!("{}-3", first.instance()))
            .unwrap();
        // A dangling link may lead to a disk that is not there at the moment.
        fs::create_dir_all(third.data().parent().unwrap()).unwrap();
        symlink("/nowhere", third.data()).unwrap();
        let fourth = reserve(&checkout).unwrap();
        assert!(fourth.instance().ends_with("-4"), "{}", fourth.instance());
        assert!(third.data().is_symlink());
        assert!(!third.state().exists());
    }

    #[test]
    fn everything_of_it_goes_and_nothing_of_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let checkout = Paths::new(directory.path().to_path_buf());
        let other = checkout.of_instance("other").unwrap();
        let own = context(reserve(&checkout).unwrap());
        for paths in [&other, &own.paths] {
            for directory in [paths.state(), paths.data()] {
                fs::create_dir_all(directory.join("service")).unwrap();
                fs::write(directory.join("service/file"), "").unwrap();
            }
            let ports = [("a.http".to_owned(), 1)].into();
            let register = Locked::take(&own.env).unwrap();
            register.remember(paths, &ports).unwrap();
        }
        // Links in its data are not followed.
        symlink(other.data(), own.paths.data().join("link")).unwrap();
        assert_eq!(remove(&own).unwrap(), Stopped::NothingRan);
        assert!(!own.paths.state().exists());
        assert!(!own.paths.data().exists());
        assert!(!Register::read(&own.env).unwrap().has(&own.paths));
        assert!(Register::read(&own.env).unwrap().has(&other));
        assert!(!known::is_gone(&other));
        assert!(other.data().join("service/file").exists());
    }
}
