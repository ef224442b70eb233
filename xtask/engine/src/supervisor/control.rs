//! Orders to a running supervisor about its processes: stop, start, signal, reload the file.
//!
//! Only this module gives them, for all commands. It works around defects of the supervisor
//! (1.120.0):
//!
//! - it removes a process that has ended from its list *by name*, some time after it has announced
//!   the end. A successor that was registered in between is removed instead: it runs on, unlisted,
//!   and can no longer be stopped. So a process counts as stopped only when an order to stop it is
//!   refused because it "is not running": it is off the list then, and nothing follows;
//! - it can miss the exit of a process that coincides with the signal, and then answers only after
//!   the whole shutdown timeout. So the answer to a stop is never waited for;
//! - it accepts a start before it carries it out, and reports the old end until then.

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

/// How often states are polled.
const POLL: Duration = Duration::from_millis(5);

/// The pauses between two orders to stop the same process: its removal from the list takes
/// microseconds after the exit, but a server may take seconds to exit.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long a process that has ended may stay on the list before it is postponed: one that was
/// never started, because it waits for another, stays there as long as it waits.
const WAITING: Duration = Duration::from_millis(50);

/// How long an order to stop may have no effect before it is repeated: the supervisor sets the
/// state before it signals, so only a supervisor without CPU time takes so long.
const STOP_EFFECT: Duration = patience(Duration::from_secs(1));

/// How long a process that is being started may still be reported as ended, or as running in the
/// supervisor's own list.
const START_TIMEOUT: Duration = patience(Duration::from_secs(2));

/// A duration and the deadline that follows from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// The deadline.
    pub(crate) deadline: Instant,
    /// The whole duration, for the message.
    pub(crate) allowed: Duration,
}

impl Limit {
    /// Returns the limit that begins now.
    pub(crate) fn of(allowed: Duration) -> Self {
        Self {
            deadline: Instant::now() + allowed,
            allowed,
        }
    }
}

/// The processes of a running supervisor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control<'a> {
    paths: &'a Paths,
    client: &'a Client,
    interrupt: &'a Interrupt,
}

impl<'a> Control<'a> {
    /// Creates a control that sends orders by `client`, until the user interrupts.
    pub(crate) fn new(paths: &'a Paths, client: &'a Client, interrupt: &'a Interrupt) -> Self {
        Self {
            paths,
            client,
            interrupt,
        }
    }

    /// Stops a process and waits until the supervisor has released it, so that a successor can be
    /// registered. Returns whether it was running.
    pub(crate) fn stop(&self, name: &str, limit: Limit) -> anyhow::Result<bool> {
        Ok(!self.stop_all(&[name], limit)?.is_empty())
    }

    /// Stops processes one after the other, and waits until the supervisor has released all.
    /// Returns those that were running.
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
        // A process that waits for another is released when that one has ended or is healthy.
        for name in waiting {
            self.let_go(name, limit, None)?;
        }
        for name in &ran {
            self.prove_stopped(name, &before[*name])?;
        }
        Ok(ran)
    }

    /// Orders the stop of a process until the supervisor has released it; returns whether it has.
    /// If the process has ended, or never ran, waits at most `patience`.
    fn let_go(&self, name: &str, limit: Limit, patience: Option<Duration>) -> anyhow::Result<bool> {
        let mut pause = FIRST_PAUSE;
        let mut ended: Option<Instant> = None;
        loop {
            let silent = match self.client.stop(name) {
                Err(error) => match error.kind {
                    Kind::NotRunning | Kind::UnknownProcess => return Ok(true),
                    // The order was sent; its effect shows in the states.
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

    /// Waits until the order to stop should be repeated: the process has ended and `pause` has
    /// passed, or the order had no effect. Returns whether it has ended.
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

    /// Proves that nothing is left of a stopped process, whose state was `before`.
    fn prove_stopped(&self, name: &str, before: &State) -> anyhow::Result<()> {
        let applied = Applied::load(self.paths);
        let process = applied.as_ref().and_then(|it| it.stack.processes.get(name));
        proof::of_process(self.paths, &Ui::new(), name, process, before)
    }

    /// Starts processes that are not running, in this order, and waits until the orders are carried
    /// out as far as states show it: a process that waits for another may be reported as ended.
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
            // The wait for health reports what follows.
            Waited::Done(()) | Waited::Deadline => Ok(()),
        }
    }

    /// Orders a start. Right after an exit, the supervisor may still list the old process as
    /// running.
    fn order_start(&self, name: &str) -> anyhow::Result<()> {
        let mut refused = None;
        let accepted = || match self.client.start(name) {
            Err(error) if matches!(error.kind, Kind::AlreadyRunning) => {
                // Or the supervisor has restarted the process itself, so it is running by now.
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

    /// Sends a signal to a running process.
    pub(crate) fn signal(&self, name: &str, signal: u8) -> anyhow::Result<()> {
        Ok(self.client.signal(name, signal)?)
    }

    /// Makes the supervisor read its file. No process that it updates or removes may run: see
    /// above. From `before`, the earlier states, the changes are computed if its answer lacks them.
    pub(crate) fn reload(&self, before: &States, timeout: Duration) -> Result<Changes, ApiError> {
        match self.client.reload(timeout) {
            Err(error) if matches!(error.kind, Kind::MissedEnd) => {
                // All other changes were made and this process is gone: only its start is missing.
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
