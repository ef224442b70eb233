//! Which processes belong to an instance, for all who ask: what holds its alive lock, and what
//! carries its mark or was started by what does.
//!
//! Owns the mark of the present start. Must not end anything: `stop` and `proof` do.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kit::files;
use kit::process::{self, Mark, Process};

use super::socket;
use crate::checkout::paths::Paths;

/// What the file of the start holds once it was proved that nothing of that start is left.
const PROVED: &str = "nothing is left";

/// Everything that runs of the instance, as far as it can be seen from here. Both looks together
/// cost some 15 ms for 600 processes.
pub fn all(paths: &Paths) -> Vec<Process> {
    let mut found = process::holders(&paths.alive_lock());
    found.extend(marked(paths));
    found.retain(|process| !process.has_ended);
    found.sort_by_key(|process| process.pid);
    found.dedup_by_key(|process| process.pid);
    found
}

/// What carries the mark of the instance, of whatever start.
pub(super) fn marked(paths: &Paths) -> Vec<Process> {
    let instance = socket::instance(&paths.state());
    process::marked(|mark| mark.instance == instance)
}

/// Whether a process belongs to the instance: the nearest mark above it decides, as a stack that
/// was started from within a service is another one; without any, whether it comes from what holds
/// the lock.
pub fn is_ours(paths: &Paths, pid: i32) -> bool {
    let instance = socket::instance(&paths.state());
    let lock = paths.alive_lock();
    let decides = |process: &Process| {
        process::mark_of(process.pid).is_some() || process::is_holder(process, &lock)
    };
    process::comes_from(pid, decides).is_some_and(|process| {
        process::mark_of(process.pid).is_none_or(|mark| mark.instance == instance)
    })
}

/// The supervisor that listens at `socket`, if it can be seen from here.
#[cfg(target_os = "linux")]
pub(super) fn supervisor(socket: &Path) -> Option<Process> {
    let connection = std::os::unix::net::UnixStream::connect(socket).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&connection).ok()?;
    Process::read(peer.pid.as_raw_nonzero().get())
}

/// Not found out here: the caller then waits.
#[cfg(not(target_os = "linux"))]
pub(super) fn supervisor(_socket: &Path) -> Option<Process> {
    None
}

/// Begins a start: from now on, until it is proved, something of it may be left.
pub(super) fn begin(paths: &Paths) -> anyhow::Result<Mark> {
    let mark = Mark::of_start(&socket::instance(&paths.state()))?;
    write(&paths.start(), &mark.to_string())?;
    Ok(mark)
}

/// Takes note that nothing of any start is left.
pub(super) fn note_proof(paths: &Paths) -> anyhow::Result<()> {
    write(&paths.start(), PROVED)
}

/// Whether it was proved, when the last start ended, that nothing of it is left.
pub(super) fn is_proved(paths: &Paths) -> bool {
    fs::read_to_string(paths.start()).is_ok_and(|text| text == PROVED)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    files::write_for_this_run(file, text.as_bytes(), files::PRIVATE_FILE_MODE)
        .context("cannot note the start of the stack")
}
