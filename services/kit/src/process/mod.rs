//! Which processes are ours: the mark of a stack's processes, ancestry, and signals that cannot
//! reach another process.
//!
//! Owns that question alone, for the supervisor's side (xtask), the runner (`cmd/probe`) and the
//! wrappers. Must not decide when a process is stopped. A process is ours by one of three proofs:
//! it has the mark of this start in its environment, it descends from a runner or wrapper of this
//! start, or it holds the instance's lock; it belongs to the same user and process namespace, and
//! started after the start that it claims.
//!
//! Linux only, where `/proc` exists. Elsewhere only the lock, the process group and `lsof` are
//! available.

pub mod mark;
#[cfg(target_os = "linux")]
mod proc;
pub mod rest;
#[cfg(target_os = "linux")]
mod tree;

#[cfg(not(target_os = "linux"))]
mod elsewhere;

use std::fmt;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{
    become_reaper, children, comes_from, descendants, holders, in_group, is_holder, mark_of,
    marked, reap, variable,
};
pub use mark::Mark;
#[cfg(target_os = "linux")]
pub use proc::{comes_from, holders, in_group, is_holder, mark_of, marked, variable};
#[cfg(target_os = "linux")]
pub use tree::{become_reaper, children, descendants, reap};

/// A process, identified by its pid and its start time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its parent's pid.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its start time, in clock ticks since the boot of the machine; 0 where it is unknown.
    pub started: u64,
    /// Its program, as the kernel knows it: on Linux at most 15 bytes.
    pub program: String,
    /// Whether it is a zombie: it has exited and its parent has not reaped it.
    pub has_ended: bool,
}

impl Process {
    /// Returns this process.
    pub fn own() -> Option<Self> {
        Self::read(i32::try_from(std::process::id()).ok()?)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {})", self.program, self.pid)
    }
}

/// Returns the process that listens on a TCP port, if it is visible. Costs 13 to 24 ms.
pub fn listener(port: u16) -> Option<Process> {
    let found = listeners::get_process_by_port(port, listeners::Protocol::TCP).ok()?;
    Process::read(i32::try_from(found.pid).ok()?)
}
