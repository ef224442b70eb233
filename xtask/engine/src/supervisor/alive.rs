//! Whether anything of an instance lives.
//!
//! The descriptor of `.core-stack/alive.lock` is locked and inherited by the supervisor, by the
//! wrappers with their servers, and by the runners, but not by what a runner runs. While anybody
//! holds it, something lives; when it is free and no runner left its note, nothing does.

use std::path::Path;
use std::time::{Duration, Instant};

use kit::files::FileLock;

use crate::base::interrupt::Interrupt;
use crate::base::poll::wait_until;

/// How often a lock is tried while waiting for it.
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
    let claim = || try_claim(lock);
    Ok(wait_until(deadline, POLL, &Interrupt::default(), claim)?.done())
}
