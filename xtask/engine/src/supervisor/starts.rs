//! Processes that are still to be started, each as soon as what it depends on is there.
//!
//! The supervisor starts what a reload adds or updates in no order: a process whose dependency was
//! stopped for the same change, and is not started yet, is skipped at once and for good. And what
//! was stopped by us it does not start at all.

use std::collections::BTreeSet;

use kit::manifest::Condition;

use super::control::Control;
use super::state::{Phase, State, States, Status};
use crate::plan::stack::Stack;

/// What is to be started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Starts {
    /// Processes that do not run and are to.
    ended: BTreeSet<String>,
    /// Processes that the supervisor starts by itself, unless it skips them.
    unless_skipped: BTreeSet<String>,
}

impl Starts {
    /// `ended` do not run; `unless_skipped` may turn out to be skipped.
    pub(crate) fn new(ended: BTreeSet<String>, unless_skipped: BTreeSet<String>) -> Self {
        Self {
            ended,
            unless_skipped,
        }
    }

    /// Processes that do not run and are to.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &String> {
        self.ended.iter()
    }

    /// Whether a process that does not run is to be started by us: it has not failed, then.
    pub(crate) fn includes(&self, state: &State) -> bool {
        let skipped =
            || state.status == Status::Skipped && self.unless_skipped.contains(&state.name);
        self.ended.contains(&state.name) || skipped()
    }

    /// Starts all that do not run and whose dependencies are there by now, each once.
    pub(crate) fn start_due(
        &mut self,
        control: &Control<'_>,
        stack: &Stack,
        states: &States,
    ) -> anyhow::Result<()> {
        self.start(control, stack, states, |name| {
            has_dependencies(stack, states, name)
        })
    }

    /// Starts all that do not run, in order: the supervisor lets them wait for what starts.
    pub(crate) fn start_rest(
        &mut self,
        control: &Control<'_>,
        stack: &Stack,
        states: &States,
    ) -> anyhow::Result<()> {
        self.start(control, stack, states, |_| true)
    }

    fn start(
        &mut self,
        control: &Control<'_>,
        stack: &Stack,
        states: &States,
        is_due: impl Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        let states = stack.order.iter().filter_map(|name| states.get(name));
        let due: Vec<&State> = states.filter(|state| self.includes(state)).collect();
        let due = due.into_iter().filter(|state| is_due(&state.name));
        let due: Vec<&State> = due.collect();
        for state in &due {
            self.ended.remove(&state.name);
            self.unless_skipped.remove(&state.name);
        }
        // One that runs by now was started by somebody else.
        let names: Vec<&str> = due
            .iter()
            .filter(|state| state.can_be_started())
            .map(|state| state.name.as_str())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        control.start(&names)
    }

    /// Whether nothing is left to be started, and nothing is about to be skipped.
    pub(crate) fn are_done(&self, states: &States) -> bool {
        let is_open = |state: &State| {
            let may_be_skipped =
                state.status == Status::Pending && self.unless_skipped.contains(&state.name);
            may_be_skipped || self.includes(state)
        };
        !states.values().any(is_open)
    }
}

/// Whether all that a process depends on is as it wants it.
fn has_dependencies(stack: &Stack, states: &States, name: &str) -> bool {
    let depends_on = stack.processes.get(name).map(|process| &process.depends_on);
    let mut depends_on = depends_on.into_iter().flatten();
    depends_on.all(|(name, condition)| {
        let Some(state) = states.get(name) else {
            return true;
        };
        match condition {
            Condition::ProcessCompleted => state.has_ended(),
            Condition::ProcessCompletedSuccessfully => state.did_its_work(),
            Condition::ProcessStarted => state.is_running || state.phase() == Phase::Ready,
            Condition::ProcessHealthy => matches!(state.phase(), Phase::Ready | Phase::Disabled),
        }
    })
}
