//! Whether anything of an instance lives, and what.
//!
//! The descriptor of `.core-stack/alive.lock` is locked and inherited by the supervisor and by
//! everything below it. While anybody holds it, something lives; whoever holds it is ours, which
//! no process id alone can prove.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::files::FileLock;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How often a lock is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(2);

/// A process that holds the alive lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: i32,
    /// Its program, as the kernel knows it.
    pub program: String,
    /// Its parent's process id, where that can be found out.
    pub parent: Option<i32>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` (pid {})", self.program, self.pid)
    }
}

/// Takes the alive lock when nothing of the instance lives.
pub fn try_claim(lock: &Path) -> anyhow::Result<Option<FileLock>> {
    FileLock::try_exclusive(lock)
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

fn signal(lock: &Path, holders: Vec<Holder>, signal: Signal) -> Vec<Holder> {
    let mut asked = Vec::new();
    for holder in holders {
        let Some(pid) = Pid::from_raw(holder.pid) else {
            continue;
        };
        if send(lock, pid, signal) {
            asked.push(holder);
        }
    }
    asked
}

/// Signals a process through a descriptor of it that was opened before it was looked at again:
/// a process id that was used anew in between cannot be hit.
#[cfg(target_os = "linux")]
fn send(lock: &Path, pid: Pid, signal: Signal) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let inode = fs::metadata(lock).map(|meta| (meta.dev(), meta.ino())).ok();
    inode.is_some_and(|inode| holds(pid.as_raw_nonzero().get(), inode))
        && pidfd_send_signal(process, signal).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn send(_lock: &Path, pid: Pid, signal: Signal) -> bool {
    rustix::process::kill_process(pid, signal).is_ok()
}

/// Every process, but ourselves, that has the lock file open.
#[cfg(target_os = "linux")]
pub fn holders(lock: &Path) -> anyhow::Result<Vec<Holder>> {
    let Ok(meta) = fs::metadata(lock) else {
        return Ok(Vec::new());
    };
    let inode = (meta.dev(), meta.ino());
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        let name = entry.context("cannot list processes")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid != own && holds(pid, inode) {
            let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let program = program.trim().to_owned();
            found.push(Holder {
                pid,
                program,
                parent: parent(pid),
            });
        }
    }
    Ok(found)
}

#[cfg(target_os = "linux")]
fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}

/// Whether a process has a file open. Processes of others cannot be looked into: not ours.
#[cfg(target_os = "linux")]
fn holds(pid: i32, inode: (u64, u64)) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        fs::metadata(descriptor.path()).is_ok_and(|meta| (meta.dev(), meta.ino()) == inode)
    })
}

/// Every process, but ourselves, that has the lock file open: as `lsof` says.
#[cfg(not(target_os = "linux"))]
pub fn holders(lock: &Path) -> anyhow::Result<Vec<Holder>> {
    let output = std::process::Command::new("lsof")
        .args(["-F", "pRc", "--"])
        .arg(lock)
        .output()
        .context("cannot run `lsof` to find what still runs")?;
    let mut found: Vec<Holder> = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(pid) = line.strip_prefix('p').and_then(|pid| pid.parse().ok()) {
            found.push(Holder {
                pid,
                program: String::new(),
                parent: None,
            });
        } else if let (Some(parent), Some(last)) = (line.strip_prefix('R'), found.last_mut()) {
            last.parent = parent.parse().ok();
        } else if let (Some(name), Some(last)) = (line.strip_prefix('c'), found.last_mut()) {
            name.clone_into(&mut last.program);
        }
    }
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    found.retain(|holder| holder.pid != own);
    Ok(found)
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
