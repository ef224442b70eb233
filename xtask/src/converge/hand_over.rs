//! Orders to the supervisor: to read its file, to stop and to start processes.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use super::Converge;
use crate::stack::Stack;
use crate::supervisor::client::Client;
use crate::supervisor::programs;
use crate::supervisor::state::{Phase, State, States};

/// How long a reload may take besides the stopping of what it changes, which the supervisor may
/// do one after the other; and besides the waiting for health.
const RELOAD_MARGIN: Duration = Duration::from_secs(30);

/// How long a process that is started again may still be told as ended.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it is looked at.
const START_POLL: Duration = Duration::from_millis(5);

impl Converge<'_> {
    /// Lets the supervisor read the file. Returns what it added, updated or removed.
    pub(super) fn hand_over(&self, before: &States) -> anyhow::Result<BTreeMap<String, String>> {
        match read_file(self.client, &self.inputs.stack)? {
            Some(changes) => Ok(changes),
            None => Ok(changes(before, &self.client.processes()?)),
        }
    }

    /// What runs another program than is installed by now: the same path is no change for the
    /// supervisor.
    pub(super) fn outdated(&self) -> anyhow::Result<BTreeSet<String>> {
        let states = self.client.processes()?;
        programs::outdated(&self.inputs.stack, self.installed, &states)
    }

    /// Stops processes, to be started again: the supervisor's own restart would wait for the
    /// backoff of at least a second.
    pub(super) fn stop(&self, names: &BTreeSet<String>) -> anyhow::Result<()> {
        let limit = reload_timeout(&self.inputs.stack);
        names
            .iter()
            .try_for_each(|name| self.client.stop(name, limit))
    }

    /// Starts what `stopped` names, and again each process whose dependency had just crashed, or
    /// that a user stopped.
    pub(super) fn start_ended(&self, stopped: &BTreeSet<String>) -> anyhow::Result<()> {
        let ended = |state: &State| {
            let wanted = self
                .inputs
                .stack
                .processes
                .get(&state.name)
                .is_some_and(|p| !p.disabled);
            let one_shot = state.status == "Completed"
                && !state.has_ready_probe
                && !stopped.contains(&state.name);
            wanted && !one_shot && matches!(&*state.status, "Skipped" | "Completed" | "Error")
        };
        let states = self.client.processes()?;
        let order = self.inputs.stack.order.iter();
        let names = order.filter(|name| states.get(*name).is_some_and(ended));
        for name in names {
            self.client.start(name)?;
            // The order is accepted before it is carried out; until then the old end would be told.
            self.look_until(START_TIMEOUT, name, |state| !ended(state))?;
            // What depends on it would be skipped, were it started before this one is healthy.
            let left = self.deadline().saturating_duration_since(Instant::now());
            self.look_until(left, name, |state| state.phase() != Phase::Starting)?;
        }
        Ok(())
    }

    /// Looks at a process until it is as wanted, at most so long: whatever it is then is found out
    /// by the wait for health.
    fn look_until(
        &self,
        limit: Duration,
        name: &str,
        wanted: impl Fn(&State) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && self.interrupt.signal().is_none() {
            if self.client.processes()?.get(name).is_none_or(&wanted) {
                break;
            }
            thread::sleep(START_POLL);
        }
        Ok(())
    }
}

/// Lets the supervisor read the file. Returns what it says it did, if it did not lose count.
pub(super) fn read_file(
    client: &Client,
    stack: &Stack,
) -> anyhow::Result<Option<BTreeMap<String, String>>> {
    let limit = reload_timeout(stack);
    match client.reload(limit) {
        Err(error) if Client::missed_an_end(&error) => {
            // All other changes were made, this process is gone: what is missing is its start.
            client.reload(limit)?;
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

/// How long the supervisor may take to read its file.
pub(super) fn reload_timeout(stack: &Stack) -> Duration {
    let stopping = stack.processes.values();
    let stopping = stopping.map(|process| u64::from(process.stop_limit_seconds()));
    RELOAD_MARGIN + Duration::from_secs(stopping.sum())
}

/// What happened to each process between two states.
fn changes(before: &States, after: &States) -> BTreeMap<String, String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| match (before.get(name), after.get(name)) {
        (None, _) => Some("added"),
        (_, None) => Some("removed"),
        (Some(old), Some(new)) => {
            let same = old.pid == new.pid && old.process_start_time == new.process_start_time;
            (!same).then_some("updated")
        }
    };
    let named = |name: &String| Some((name.clone(), change(name)?.to_owned()));
    names.into_iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn states(pids: &[(&str, i32)]) -> States {
        let state = |(name, pid): &(&str, i32)| {
            let state = json!({
                "name": name, "status": "Running", "is_ready": "-", "has_ready_probe": false,
                "restarts": 0, "exit_code": 0, "pid": pid, "is_running": true, "age": 0,
            });
            ((*name).to_owned(), serde_json::from_value(state).unwrap())
        };
        pids.iter().map(state).collect()
    }

    #[test]
    fn changes_are_seen_by_process_ids() {
        let before = states(&[("same", 1), ("updated", 2), ("removed", 3)]);
        let after = states(&[("same", 1), ("updated", 4), ("added", 5)]);
        let expected =
            ["added", "removed", "updated"].map(|name| (name.to_owned(), name.to_owned()));
        assert_eq!(changes(&before, &after), expected.into_iter().collect());
    }
}
