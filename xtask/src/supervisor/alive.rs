//! Whether anything of an instance lives, and what.
//!
//! The descriptor of `.core-stack/alive.lock` is locked and inherited by the supervisor and by
//! everything below it. While anybody holds it, something lives; whoever holds it is ours, which
//! no process id alone can prove.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kit::files::FileLock;
use rustix::process::Signal;

use super::BINARY;
pub use super::holders::{Holder, holders};
use super::holders::{has_children, send};

/// How often a lock is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(2);

/// Takes the alive lock when nothing of the instance lives.
pub fn try_claim(lock: &Path) -> anyhow::Result<Option<FileLock>> {
    FileLock::try_exclusive(lock)
}

/// Whether anything of the instance lives.
pub fn is_held(lock: &Path) -> anyhow::Result<bool> {
    FileLock::is_held(lock)
}

/// Waits until nothing of the instance lives, or until `deadline`.
pub fn claim_until(lock: &Path, deadline: Instant) -> anyhow::Result<Option<FileLock>> {
    loop {
        if let Some(claim) = try_claim(lock)? {
            return Ok(Some(claim));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Sends SIGTERM to the holders whose parent is none: wrappers hand the request on, and a second
/// SIGTERM would cut the graceful stop of a server short. Returns those that were asked.
pub fn terminate(lock: &Path) -> anyhow::Result<Vec<Holder>> {
    let all = holders(lock)?;
    let is_holder = |pid| all.iter().any(|other| other.pid == pid);
    let top = all
        .iter()
        .filter(|holder| !holder.parent.is_some_and(is_holder))
        .cloned();
    Ok(signal(lock, top.collect(), Signal::TERM))
}

/// Sends SIGKILL to every holder. Returns those that were hit.
pub fn kill(lock: &Path) -> anyhow::Result<Vec<Holder>> {
    Ok(signal(lock, holders(lock)?, Signal::KILL))
}

/// Whether the supervisor is all that is left, without a process below it.
pub fn is_supervisor_alone(lock: &Path) -> anyhow::Result<bool> {
    Ok(match holders(lock)?.as_slice() {
        [only] => only.program == BINARY && !has_children(only.pid),
        _ => false,
    })
}

fn signal(lock: &Path, holders: Vec<Holder>, signal: Signal) -> Vec<Holder> {
    holders
        .into_iter()
        .filter(|holder| send(lock, holder, signal))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_that_inherited_the_lock_is_found_and_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alive.lock");
        let lock = try_claim(&path).unwrap().unwrap();
        assert_eq!(holders(&path).unwrap(), [], "ourselves do not count");
        // The child gets the locked descriptor as its standard input.
        let stdin = Stdio::from(lock.file().try_clone().unwrap());
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(stdin)
            .spawn()
            .unwrap();
        drop(lock);
        assert!(try_claim(&path).unwrap().is_none());
        let pid = i32::try_from(child.id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        // Between fork and exec the child still has the name of this program.
        let own = i32::try_from(std::process::id()).ok();
        let expected = Holder {
            pid,
            program: "sleep".to_owned(),
            parent: own,
        };
        while holders(&path).unwrap() != [expected.clone()] {
            assert!(Instant::now() < deadline, "{:?}", holders(&path).unwrap());
            thread::sleep(POLL);
        }
        assert_eq!(terminate(&path).unwrap(), [expected]);
        child.wait().unwrap();
        assert!(claim_until(&path, deadline).unwrap().is_some());
    }
}
