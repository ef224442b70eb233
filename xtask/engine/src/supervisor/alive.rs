//! Whether any process of an instance is alive.
//!
//! The descriptor of `.core-stack/alive.lock` is locked and inherited by the supervisor, by the
//! wrappers with their servers, and by the runners, but not by the program of a runner. While it is
//! held, a process is alive; when it is free and no runner left its note, none is.

use std::path::Path;
use std::time::{Duration, Instant};

use kit::files::FileLock;

use crate::base::interrupt::Interrupt;
use crate::base::poll::wait_until;

/// How often a lock is tried while waiting for it.
const POLL: Duration = Duration::from_millis(2);

/// Takes the alive lock if no process of the instance is alive.
pub fn try_claim(lock: &Path) -> anyhow::Result<Option<FileLock>> {
    FileLock::try_exclusive(lock)
}

/// Whether any process of the instance is alive.
pub fn is_held(lock: &Path) -> anyhow::Result<bool> {
    FileLock::is_held(lock)
}

/// Takes the alive lock as soon as no process of the instance is alive, or until `deadline`.
pub fn claim_until(lock: &Path, deadline: Instant) -> anyhow::Result<Option<FileLock>> {
    let claim = || try_claim(lock);
    Ok(wait_until(deadline, POLL, &Interrupt::default(), claim)?.done())
}
