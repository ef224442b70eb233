//! Processes that still have to be started, each as soon as its dependencies are there.
//!
//! The supervisor starts what a reload adds or updates in no order: a process whose dependency was
//! stopped for the same change, and is not started yet, is skipped at once and for good. And it
//! never starts a process that we stopped.

use std::collections::BTreeSet;

use kit::manifest::Condition;

use super::control::Control;
use super::state::{Phase, State, States, Status};
use crate::plan::stack::Stack;

/// The processes to start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Starts {
    /// Processes that are not running and have to be started.
    ended: BTreeSet<String>,
    /// Processes that the supervisor starts by itself, unless it skips them.
    unless_skipped: BTreeSet<String>,
}

impl Starts {
    /// Creates the list: `ended` are not running; the supervisor may skip `unless_skipped`.
    pub(crate) fn new(ended: BTreeSet<String>, unless_skipped: BTreeSet<String>) -> Self {
        Self {
            ended,
            unless_skipped,
        }
    }

    /// Returns the processes that are not running and have to be started.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &String> {
        self.ended.iter()
    }

    /// Whether we have to start a process that is not running: then it has not failed.
    pub(crate) fn includes(&self, state: &State) -> bool {
        let skipped =
            || state.status == Status::Skipped && self.unless_skipped.contains(&state.name);
        self.ended.contains(&state.name) || skipped()
    }

    /// Starts all that are not running and whose dependencies are there by now, each once.
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

    /// Starts all that are not running, in order: the supervisor makes them wait for dependencies.
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
        // A process that is running by now was started by another program.
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

    /// Whether all are started, and none may still be skipped.
    pub(crate) fn are_done(&self, states: &States) -> bool {
        let is_open = |state: &State| {
            let may_be_skipped =
                state.status == Status::Pending && self.unless_skipped.contains(&state.name);
            may_be_skipped || self.includes(state)
        };
        !states.values().any(is_open)
    }
}

/// Whether the conditions on all dependencies of a process hold.
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
