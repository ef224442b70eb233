//! Gives a running supervisor another file, while none of the processes that it concerns is
//! running.
//!
//! Owns the order: processes to update or remove are stopped first, dependents before their
//! dependencies, then the file is written, then read. `supervisor/control.rs` has the reasons.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kit::{Exit, Failure};

use super::description::Description;
use super::{Converge, under_way};
use crate::base::interrupt::Interrupt;
use crate::base::poll::wait_until;
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::plan::render::difference::Difference;
use crate::plan::stack::Stack;
use crate::supervisor::client::Client;
use crate::supervisor::control::{Control, Limit};
use crate::supervisor::lost;
use crate::supervisor::programs;
use crate::supervisor::starts::Starts;
use crate::supervisor::state::{Change, Changes, State, Status};

/// How long stopping processes, or a reload, may take besides their own timeouts, which may pass
/// one after the other; and besides the waiting for health.
pub(super) const RELOAD_MARGIN: Duration = Duration::from_secs(30);

/// How long stopped processes may take until their dependents can be started, during a rollback:
/// what was healthy before is healthy again within a second or two; the rest is not waited for.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often states are polled meanwhile.
const RESTORE_POLL: Duration = Duration::from_millis(5);

/// A running supervisor that receives another file.
pub(super) struct HandOver<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) client: &'a Client,
    pub(super) interrupt: &'a Interrupt,
    /// The wanted stack.
    pub(super) stack: &'a Stack,
    /// How long it may take besides the timeouts of processes that are stopped.
    pub(super) margin: Duration,
}

impl HandOver<'_> {
    /// Hands `next` over. Returns what was added, updated or removed. Running processes that were
    /// stopped for it are recorded as under way until the caller has started them.
    pub(super) fn run(&self, next: &Description) -> anyhow::Result<Changes> {
        let before = self.client.processes()?;
        let (mut ends, mut updated) = (under_way::load(&self.ctx.paths), BTreeSet::new());
        for (name, difference) in next.differences(self.ctx)? {
            match difference {
                Difference::Changed(_) => drop(updated.insert(name.clone())),
                Difference::Removed => {}
                Difference::None | Difference::Added => continue,
            }
            ends.insert(name);
        }
        let runs = |name: &String| before.get(name).is_some_and(|state| !state.has_ended());
        updated.retain(runs);
        let mut again = updated.clone();
        // A process that is ending must end before its successor is registered.
        let ending = before
            .values()
            .filter(|state| state.status == Status::Terminating);
        for state in ending {
            ends.insert(state.name.clone());
            if self.stack.processes.contains_key(&state.name) {
                again.insert(state.name.clone());
            }
        }
        self.stop(&ends, &again)?;
        next.write_file(self.ctx)?;
        let mut changes = self
            .control()
            .reload(&before, self.timeout())
            .map_err(refused)?;
        for name in updated {
            // The supervisor ignores some differences; the process was restarted all the same.
            changes.entry(name).or_insert(Change::Updated);
        }
        match lost::find(self.client).as_slice() {
            [] => Ok(changes),
            lost => Err(lost_track(lost)),
        }
    }

    /// Stops processes that are then started again: the supervisor's own restart would wait for the
    /// backoff of at least a second.
    pub(super) fn stop_to_start(&self, names: &BTreeSet<String>) -> anyhow::Result<()> {
        self.stop(names, names)
    }

    /// Stops `names`, dependents first, and records those of `again` as under way.
    fn stop(&self, names: &BTreeSet<String>, again: &BTreeSet<String>) -> anyhow::Result<()> {
        under_way::add(&self.ctx.paths, again)?;
        let limit = Limit::of(self.timeout());
        let order = self.last_first(names);
        let order: Vec<&str> = order.iter().map(String::as_str).collect();
        self.control().stop_all(&order, limit).map(drop)
    }

    /// Returns the processes with each before its dependencies. Removed processes come first, in
    /// the reverse of their start order.
    fn last_first(&self, names: &BTreeSet<String>) -> Vec<String> {
        let kept = &self.stack.order;
        let gone = |name: &&String| !kept.contains(name);
        let applied = Applied::load(&self.ctx.paths).map(|applied| applied.stack.order);
        let applied = applied.unwrap_or_default();
        let mut order: Vec<&String> = kept.iter().collect();
        order.extend(applied.iter().filter(gone));
        let further = names.iter().filter(|name| !order.contains(name));
        let further: Vec<&String> = further.collect();
        order.extend(further);
        order.retain(|name| names.contains(*name));
        order.into_iter().rev().cloned().collect()
    }

    fn control(&self) -> Control<'_> {
        Control::new(&self.ctx.paths, self.client, self.interrupt)
    }

    /// Returns how long stopping everything, or reading the file, may take.
    fn timeout(&self) -> Duration {
        let stopping = self.stack.processes.values();
        let stopping = stopping.map(|process| u64::from(process.stop_limit_seconds()));
        self.margin + Duration::from_secs(stopping.sum())
    }
}

impl Converge<'_> {
    /// Prepares handing over the wanted stack.
    pub(super) fn hand_over(&self) -> HandOver<'_> {
        HandOver {
            ctx: self.ctx,
            client: self.client,
            interrupt: self.interrupt,
            stack: &self.inputs.stack,
            margin: RELOAD_MARGIN,
        }
    }

    /// Prepares handing over during a rollback, which cannot be interrupted.
    pub(super) fn hand_back<'b>(&'b self, never: &'b Interrupt) -> HandOver<'b> {
        HandOver {
            interrupt: never,
            margin: RESTORE_TIMEOUT,
            ..self.hand_over()
        }
    }

    /// Returns the processes that run another program than is installed: the supervisor does not
    /// notice it, since the path is the same.
    pub(super) fn outdated(&self) -> anyhow::Result<BTreeSet<String>> {
        let states = self.client.processes()?;
        programs::outdated(&self.inputs.stack, self.installed, &states)
    }

    /// Returns what still has to be started: the processes `stopped`, each process that has crashed
    /// or was skipped; and those of `changed` that the supervisor skips.
    pub(super) fn starts<'n>(
        &self,
        stopped: BTreeSet<String>,
        changed: impl Iterator<Item = &'n String>,
    ) -> anyhow::Result<Starts> {
        let states = self.client.processes()?;
        let is_wanted = |name: &String| {
            let process = self.inputs.stack.processes.get(name);
            process.is_some_and(|process| !process.disabled)
        };
        let mut ended = stopped;
        ended.retain(|name| states.get(name).is_some_and(State::can_be_started));
        let crashed = states.values().filter(|state| state.has_crashed());
        ended.extend(crashed.map(|state| state.name.clone()));
        ended.retain(is_wanted);
        Ok(Starts::new(ended, changed.cloned().collect()))
    }

    /// Starts these processes in order, and does not wait until they are healthy.
    pub(super) fn start_again(&self, mut starts: Starts) -> anyhow::Result<()> {
        let never = Interrupt::default();
        let control = Control::new(&self.ctx.paths, self.client, &never);
        let stack = &self.inputs.stack;
        let deadline = Instant::now() + RESTORE_TIMEOUT;
        let done = || -> anyhow::Result<Option<()>> {
            let states = self.client.processes()?;
            starts.start_due(&control, stack, &states)?;
            Ok(starts.are_done(&states).then_some(()))
        };
        if wait_until(deadline, RESTORE_POLL, &never, done)?
            .done()
            .is_none()
        {
            let states = self.client.processes()?;
            starts.start_rest(&control, stack, &states)?;
        }
        Ok(())
    }
}

fn refused(error: impl Into<anyhow::Error>) -> anyhow::Error {
    let message = "the running stack refused the change";
    Failure::new(Exit::ReloadFailed, message)
        .source(error.into())
        .into()
}

/// Returns the error for a supervisor that has lost processes.
pub(super) fn lost_track(lost: &[lost::Lost]) -> anyhow::Error {
    let lost: Vec<String> = lost.iter().map(ToString::to_string).collect();
    let message = format!("the supervisor has lost track of {}", lost.join(", "));
    let failure = Failure::new(Exit::ServiceFailed, message);
    failure.hint("cargo xtask down, then cargo xtask up").into()
}
