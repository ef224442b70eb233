//! Stops processes and proves that none of them is left.
//!
//! The proof rests on [`become_reaper`](super::become_reaper): every descendant of such a process
//! stays its descendant, so an empty tree is a proof without a scan. A process with the mark of
//! another stack, or of another start, was started on purpose and is left alone.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::{Mark, Process, descendants, in_group, mark_of, reap};

/// First and longest pause between two polls for running processes.
const POLL_FIRST: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(10);
/// How long the kernel may take to end a killed process.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// Which processes receive SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// All processes.
    All,
    /// Processes without a parent among them: the parent stops the others.
    Tops,
}

/// The signals that were sent. A second SIGTERM is never sent: it would cut a graceful stop short.
#[derive(Debug, Default)]
pub struct Signalled {
    asked: BTreeSet<(i32, u64)>,
    killed: BTreeSet<(i32, u64)>,
}

impl Signalled {
    /// Records that these processes were asked to stop in another way.
    pub fn note_asked(&mut self, processes: &[Process]) {
        let asked = processes.iter().map(|one| (one.pid, one.started));
        self.asked.extend(asked);
    }
}

/// Stops all processes from `find` until it returns none: SIGTERM once each, then SIGKILL at
/// `grace_end` or when `hurry` resolves. `sent` receives each process and the signal on its first
/// delivery. Returns the processes that survive even that.
pub async fn end(
    mut find: impl FnMut() -> Vec<Process>,
    ask: Ask,
    signalled: &mut Signalled,
    mut sent: impl FnMut(&Process, Signal),
    grace_end: Instant,
    hurry: impl Future<Output = ()>,
) -> Vec<Process> {
    tokio::pin!(hurry);
    let mut is_hurried = false;
    let mut kill_end = None;
    let mut pause = POLL_FIRST;
    loop {
        let found = find();
        if found.is_empty() || kill_end.is_some_and(|end| Instant::now() >= end) {
            return found;
        }
        let is_over = is_hurried || Instant::now() >= grace_end;
        if is_over {
            kill_end.get_or_insert_with(|| Instant::now() + KILL_LIMIT);
        }
        for process in &found {
            let has_parent = || found.iter().any(|other| other.pid == process.parent);
            let (signal, known) = match ask {
                // Each time: a process may have started another one just before it was killed.
                _ if is_over => (Signal::KILL, &mut signalled.killed),
                Ask::Tops if has_parent() => continue,
                _ => (Signal::TERM, &mut signalled.asked),
            };
            let is_new = known.insert((process.pid, process.started));
            if !is_new && !is_over {
                continue;
            }
            let is_hit = process.signal(signal);
            if is_hit && is_new {
                sent(process, signal);
            }
        }
        tokio::select! {
            () = &mut hurry, if !is_hurried => is_hurried = true,
            () = tokio::time::sleep(pause) => pause = (pause * 3 / 2).min(POLL_MAX),
        }
    }
}

/// Returns our descendants, except those of another stack. Where no process becomes a reaper: the
/// rest of the process group `group`.
pub fn below_us(group: i32) -> Vec<Process> {
    if !cfg!(target_os = "linux") {
        return in_group(group);
    }
    let own = Mark::own();
    let is_foreign = |process: &Process| {
        mark_of(process.pid)
            .is_some_and(|its| !own.as_ref().is_some_and(|own| own.is_same_start(&its)))
    };
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    descendants(pid, is_foreign)
}

/// Calls [`end`] for our descendants. No other code may wait for our children meanwhile.
pub async fn end_below_us(
    group: i32,
    signalled: &mut Signalled,
    grace_end: Instant,
    hurry: impl Future<Output = ()>,
) -> Vec<Process> {
    let find = || {
        reap(None);
        below_us(group)
    };
    end(find, Ask::All, signalled, |_, _| {}, grace_end, hurry).await
}
