//! Which processes belong to an instance, for all callers: the holders of its alive lock, and the
//! processes that carry its mark or descend from one that does.
//!
//! Owns the mark of the present start. Must not end any process: `stop` and `proof` do.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kit::files;
use kit::process::{self, Mark, Process};

use super::socket;
use crate::checkout::paths::Paths;

/// Content of the file of the start after the proof that nothing of that start is left.
const PROVED: &str = "nothing is left";

/// Returns all visible processes of the instance. Both searches together take some 15 ms for 600
/// processes.
pub fn all(paths: &Paths) -> Vec<Process> {
    let mut found = process::holders(&paths.alive_lock());
    found.extend(marked(paths));
    found.retain(|process| !process.has_ended);
    found.sort_by_key(|process| process.pid);
    found.dedup_by_key(|process| process.pid);
    found
}

/// Returns the processes with the mark of the instance, of any start.
pub(super) fn marked(paths: &Paths) -> Vec<Process> {
    let instance = socket::instance(&paths.state());
    process::marked(|mark| mark.instance == instance)
}

/// Whether a process belongs to the instance. The nearest mark of an ancestor decides, because a
/// stack that was started from within a service is another one; without a mark, whether it descends
/// from a holder of the lock.
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

/// Returns the supervisor that listens at `socket`, if it is visible.
#[cfg(target_os = "linux")]
pub(super) fn supervisor(socket: &Path) -> Option<Process> {
    let connection = std::os::unix::net::UnixStream::connect(socket).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&connection).ok()?;
    Process::read(peer.pid.as_raw_nonzero().get())
}

/// Unknown on this system: the caller waits instead.
#[cfg(not(target_os = "linux"))]
pub(super) fn supervisor(_socket: &Path) -> Option<Process> {
    None
}

/// Begins a start: until the proof, processes of it may be left.
pub(super) fn begin(paths: &Paths) -> anyhow::Result<Mark> {
    let mark = Mark::of_start(&socket::instance(&paths.state()))?;
    write(&paths.start(), &mark.to_string())?;
    Ok(mark)
}

/// Records the proof that nothing of any start is left.
pub(super) fn note_proof(paths: &Paths) -> anyhow::Result<()> {
    write(&paths.start(), PROVED)
}

/// Whether there is a proof that nothing of the last start is left.
pub(super) fn is_proved(paths: &Paths) -> bool {
    fs::read_to_string(paths.start()).is_ok_and(|text| text == PROVED)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    files::write_for_this_run(file, text.as_bytes(), files::PRIVATE_FILE_MODE)
        .context("cannot note the start of the stack")
}
