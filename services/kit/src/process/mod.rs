//! Which processes are ours: the mark that a stack's processes carry, who descends from whom, and
//! signals that can hit nobody else.
//!
//! Owns that question alone, for the supervisor's side (xtask), the runner (`cmd/probe`) and the
//! wrappers. Must not decide when anything is ended. A process is ours by one of three proofs: it
//! carries the mark of this start in its environment, it descends from a runner or wrapper of
//! this start, or it holds the instance's lock; it belongs to the same user and process namespace,
//! and started after the start that it claims.
//!
//! Linux only, where `/proc` answers. Elsewhere nothing is found, and the lock, the process group
//! and `lsof` are all there is.

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

/// A process, identified by its number and the moment of its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's number.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// When it started, in clock ticks since the machine did; 0 where that is not found out.
    pub started: u64,
    /// Its program, as the kernel knows it: on Linux at most 15 bytes.
    pub program: String,
    /// Whether it has ended and only waits for its parent to take note.
    pub has_ended: bool,
}

impl Process {
    /// This very process.
    pub fn own() -> Option<Self> {
        Self::read(i32::try_from(std::process::id()).ok()?)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {})", self.program, self.pid)
    }
}

/// Who listens on a TCP port, as far as that can be seen from here. Costs 13 to 24 ms.
pub fn listener(port: u16) -> Option<Process> {
    let found = listeners::get_process_by_port(port, listeners::Protocol::TCP).ok()?;
    Process::read(i32::try_from(found.pid).ok()?)
}
