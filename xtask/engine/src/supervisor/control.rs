//! Orders to a running supervisor about its processes: stop, start, signal, read the file anew.
//!
//! The only module that gives them, whatever the command. It knows what the supervisor (1.120.0)
//! gets wrong:
//!
//! - it removes a process that has ended from its list *by name*, some time after it has announced
//!   the end. A successor that was registered in between is removed instead: it runs on, unlisted,
//!   and nothing can stop it any more. So a process counts as stopped only when an order to stop it
//!   is refused because it "is not running": it is off the list then, nothing of it comes later;
//! - it can miss the end of a process that ends at the very moment of the signal, and then answers
//!   only after the whole shutdown timeout. So no answer to a stop is waited for;
//! - it accepts a start before it carries it out, and shows the old end until then.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kit::{Exit, Failure};

use super::client::{ApiError, Client, Kind};
use super::proof;
use super::state::{Changes, State, States, changes};
use crate::base::interrupt::Interrupt;
use crate::base::poll::{Waited, patience, wait_until};
use crate::base::ui::Ui;
use crate::checkout::applied::Applied;
use crate::checkout::paths::Paths;

#[cfg(test)]
mod tests;

/// How often states are asked for.
const POLL: Duration = Duration::from_millis(5);

/// The pauses between two orders to stop the same process: from an end to its removal from the list
/// it takes microseconds, a server may take seconds to end.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long a process that has ended may be on the list before it is left for later: one that was
/// never started, as it waits for another, stays there as long as it has to wait.
const WAITING: Duration = Duration::from_millis(50);

/// How long an order to stop may be without effect before it is given again: the supervisor sets
/// the state before it signals, so only one that gets no CPU takes so long.
const STOP_EFFECT: Duration = patience(Duration::from_secs(1));

/// How long a process that is started again may still be told as ended, or as running by the
/// supervisor's own books.
const START_TIMEOUT: Duration = patience(Duration::from_secs(2));

/// How long something may take, and until when that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// When it is over.
    pub(crate) deadline: Instant,
    /// What was allowed in all, for the message.
    pub(crate) allowed: Duration,
}

impl Limit {
    /// So long from now on.
    pub(crate) fn of(allowed: Duration) -> Self {
        Self {
            deadline: Instant::now() + allowed,
            allowed,
        }
    }
}

/// The processes of one supervisor that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control<'a> {
    paths: &'a Paths,
    client: &'a Client,
    interrupt: &'a Interrupt,
}

impl<'a> Control<'a> {
    /// Orders are given to whom `client` asks, until the user gives up.
    pub(crate) fn new(paths: &'a Paths, client: &'a Client, interrupt: &'a Interrupt) -> Self {
        Self {
            paths,
            client,
            interrupt,
        }
    }

    /// Stops a process and waits until the supervisor has let go of it, so that a successor can be
    /// registered. Says whether it ran.
    pub(crate) fn stop(&self, name: &str, limit: Limit) -> anyhow::Result<bool> {
        Ok(!self.stop_all(&[name], limit)?.is_empty())
    }

    /// Stops processes one after the other, and waits until the supervisor has let go of all.
    /// Returns those that ran.
    pub(crate) fn stop_all<'n>(
        &self,
        names: &[&'n str],
        limit: Limit,
    ) -> anyhow::Result<BTreeSet<&'n str>> {
        let (before, mut ran) = (self.client.processes()?, BTreeSet::new());
        let mut waiting = Vec::new();
        for name in names {
            let Some(state) = before.get(*name) else {
                continue;
            };
            if !state.has_ended() {
                ran.insert(*name);
            }
            if !self.let_go(name, limit, Some(WAITING))? {
                waiting.push(*name);
            }
        }
        // What waited for another process is let go of when that has ended or is healthy.
        for name in waiting {
            self.let_go(name, limit, None)?;
        }
        for name in &ran {
            self.prove_stopped(name, &before[*name])?;
        }
        Ok(ran)
    }

    /// Orders the end of a process until the supervisor has let go of it, and says that it has. One
    /// that has ended, or never ran, is not waited for longer than `patience`.
    fn let_go(&self, name: &str, limit: Limit, patience: Option<Duration>) -> anyhow::Result<bool> {
        let mut pause = FIRST_PAUSE;
        let mut ended: Option<Instant> = None;
        loop {
            let silent = match self.client.stop(name) {
                Err(error) => match error.kind {
                    Kind::NotRunning | Kind::UnknownProcess => return Ok(true),
                    // The order was given; what comes of it is seen.
                    Kind::Silent(_) | Kind::MissedEnd | Kind::Cut(_) => true,
                    _ => return Err(error.into()),
                },
                Ok(()) => false,
            };
            let has_ended = self.wait_for_effect(name, silent, pause, limit)?;
            let since = ended.get_or_insert_with(Instant::now).elapsed();
            if !has_ended {
                ended = None;
            } else if patience.is_some_and(|patience| since >= patience) {
                return Ok(false);
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Waits until it makes sense to order the end of a process once more: it has ended, `pause` is
    /// over, or the order had no effect. Says whether it has ended.
    fn wait_for_effect(
        &self,
        name: &str,
        silent: bool,
        pause: Duration,
        limit: Limit,
    ) -> anyhow::Result<bool> {
        let ordered = Instant::now();
        let due = || {
            let state = self.state(name)?;
            let has_ended = state.as_ref().is_none_or(State::has_ended);
            let pause = match state {
                _ if has_ended => pause,
                Some(state) if state.is_running && silent => STOP_EFFECT,
                _ => LONGEST_PAUSE,
            };
            Ok::<_, ApiError>((ordered.elapsed() >= pause).then_some(has_ended))
        };
        match wait_until(limit.deadline, POLL.min(pause), self.interrupt, due)? {
            Waited::Done(has_ended) if Instant::now() < limit.deadline => Ok(has_ended),
            Waited::Interrupted(interrupted) => Err(interrupted.into()),
            Waited::Done(_) | Waited::Deadline => {
                let seconds = limit.allowed.as_secs();
                let message = format!("`{name}` did not stop within {seconds} s");
                let failure = Failure::new(Exit::Timeout, message).about(name);
                Err(failure.hint("allow more: --timeout SECONDS").into())
            }
        }
    }

    /// Proves that nothing is left of a process that ran as `before` says and was stopped.
    fn prove_stopped(&self, name: &str, before: &State) -> anyhow::Result<()> {
        let applied = Applied::load(self.paths);
        let process = applied.as_ref().and_then(|it| it.stack.processes.get(name));
        proof::of_process(self.paths, &Ui::new(), name, process, before)
    }

    /// Starts processes that do not run, in this order, and waits until all of these orders are
    /// carried out, as far as that can be seen: one that waits for another may be told as ended.
    pub(crate) fn start(&self, names: &[&str]) -> anyhow::Result<()> {
        let before = self.client.processes()?;
        for name in names {
            self.order_start(name)?;
        }
        let carried_out = || {
            let states = self.client.processes()?;
            let is_old = |name: &&str| match (before.get(*name), states.get(*name)) {
                (Some(old), Some(new)) => new.has_ended() && new.is_same_run(old),
                _ => false,
            };
            Ok::<_, ApiError>((!names.iter().any(is_old)).then_some(()))
        };
        let deadline = Instant::now() + START_TIMEOUT;
        match wait_until(deadline, POLL, self.interrupt, carried_out)? {
            Waited::Interrupted(interrupted) => Err(interrupted.into()),
            // What became of them is seen by the wait for health.
            Waited::Done(()) | Waited::Deadline => Ok(()),
        }
    }

    /// Orders a start. Right after an end, the supervisor may still have the old process in its
    /// books.
    fn order_start(&self, name: &str) -> anyhow::Result<()> {
        let mut refused = None;
        let accepted = || match self.client.start(name) {
            Err(error) if matches!(error.kind, Kind::AlreadyRunning) => {
                // Or it runs by now: a process that the supervisor starts again itself.
                let runs = self.state(name)?.is_some_and(|state| !state.has_ended());
                refused = Some(error);
                Ok(runs.then_some(()))
            }
            answer => answer.map(Some),
        };
        let deadline = Instant::now() + START_TIMEOUT;
        match wait_until(deadline, POLL, self.interrupt, accepted)? {
            Waited::Done(()) => Ok(()),
            Waited::Interrupted(interrupted) => Err(interrupted.into()),
            Waited::Deadline => {
                Err(refused.map_or_else(|| anyhow::anyhow!("cannot start `{name}`"), Into::into))
            }
        }
    }

    /// Sends a signal to a process that runs.
    pub(crate) fn signal(&self, name: &str, signal: u8) -> anyhow::Result<()> {
        Ok(self.client.signal(name, signal)?)
    }

    /// Lets the supervisor read its file. Nothing that it updates or removes may run: see above.
    /// `before` are the states before, to see what it did should it lose count.
    pub(crate) fn reload(&self, before: &States, timeout: Duration) -> Result<Changes, ApiError> {
        match self.client.reload(timeout) {
            Err(error) if matches!(error.kind, Kind::MissedEnd) => {
                // All other changes were made, this process is gone: what is missing is its start.
                self.client.reload(timeout)?;
                Ok(changes(before, &self.client.processes()?))
            }
            answer => answer,
        }
    }

    fn state(&self, name: &str) -> Result<Option<State>, ApiError> {
        Ok(self.client.processes()?.remove(name))
    }
}
