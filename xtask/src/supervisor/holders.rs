//! The processes that hold the alive lock: listed and signalled, as each platform allows it.

use std::fmt;

#[cfg(not(target_os = "linux"))]
pub use lsof::holders;
#[cfg(not(target_os = "linux"))]
pub(super) use lsof::{has_children, send};
#[cfg(target_os = "linux")]
pub use proc::holders;
#[cfg(target_os = "linux")]
pub(super) use proc::{has_children, parent, send};

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

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {})", self.program, self.pid)
    }
}

/// Linux: `/proc` says who has a file open, and a descriptor of a process cannot hit another one.
#[cfg(target_os = "linux")]
mod proc {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;

    use anyhow::Context as _;
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use super::Holder;

    /// Every process, but ourselves, that has the lock file open.
    pub fn holders(lock: &Path) -> anyhow::Result<Vec<Holder>> {
        let Ok(meta) = fs::metadata(lock) else {
            return Ok(Vec::new());
        };
        let inode = (meta.dev(), meta.ino());
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").context("cannot list processes")? {
            let name = entry.context("cannot list processes")?.file_name();
            let pid = name.to_str().and_then(|name| name.parse::<i32>().ok());
            if let Some(pid) = pid.filter(|pid| *pid != own && holds(*pid, inode)) {
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

    /// Signals a process through a descriptor of it that was opened before it was looked at again:
    /// a process id that was used anew in between cannot be hit.
    pub(in super::super) fn send(lock: &Path, holder: &Holder, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(holder.pid) else {
            return false;
        };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            return false;
        };
        let inode = fs::metadata(lock).map(|meta| (meta.dev(), meta.ino())).ok();
        inode.is_some_and(|inode| holds(holder.pid, inode))
            && pidfd_send_signal(process, signal).is_ok()
    }

    /// Whether a process has a child that has not ended.
    pub(in super::super) fn has_children(pid: i32) -> bool {
        let Ok(entries) = fs::read_dir("/proc") else {
            return true;
        };
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.into_iter()
            .any(|child| parent(child) == Some(pid) && !has_ended(child))
    }

    /// The parent of a process, while both live.
    pub(in super::super) fn parent(pid: i32) -> Option<i32> {
        status(pid, "PPid:")?.parse().ok()
    }

    /// Whether a process only waits for its parent to take note of its end.
    fn has_ended(pid: i32) -> bool {
        status(pid, "State:").is_none_or(|state| state.starts_with('Z'))
    }

    /// A line of `/proc/PID/status`.
    fn status(pid: i32, key: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(value.trim().to_owned())
    }

    /// Whether a process has a file open. Processes of others cannot be looked into: not ours.
    fn holds(pid: i32, inode: (u64, u64)) -> bool {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        descriptors.flatten().any(|descriptor| {
            let meta = fs::metadata(descriptor.path());
            meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == inode)
        })
    }
}

/// Elsewhere: `lsof` says who has a file open.
#[cfg(not(target_os = "linux"))]
mod lsof {
    use std::path::Path;
    use std::process::Command;

    use anyhow::Context as _;
    use rustix::process::{Pid, Signal, kill_process};

    use super::Holder;

    /// Every process, but ourselves, that has the lock file open.
    pub fn holders(lock: &Path) -> anyhow::Result<Vec<Holder>> {
        let output = Command::new("lsof")
            .args(["-F", "pRc", "--"])
            .arg(lock)
            .output();
        let output = output.context("cannot run `lsof` to find what still runs")?;
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

    /// Not found out here: the caller then waits.
    pub(in super::super) fn has_children(_pid: i32) -> bool {
        true
    }

    /// Signals a process that still holds the lock.
    pub(in super::super) fn send(lock: &Path, holder: &Holder, signal: Signal) -> bool {
        let still = holders(lock).is_ok_and(|holders| holders.contains(holder));
        let pid = Pid::from_raw(holder.pid).filter(|_| still);
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }
}
