//! Requests another topology through its record, and waits for the result.
//!
//! Owns the wait. The controller applies the change: nothing here alters the stack. Must not print.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kit::{Exit, Failure};
use service_nats::topology::{Origin, SERVICE};
use tokio::runtime::Runtime;

use super::record::{Client, Edit, Entry, Record, RecordError, State};
use super::streams::unless_interrupted;
use crate::base::interrupt::{Interrupt, Interrupted};
use crate::base::poll::{Waited, wait_until};
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::plan::stack::CONTROLLER;
use crate::supervisor::alive;

/// How often the record is polled while waiting for it.
const POLL: Duration = Duration::from_millis(20);
/// How often a change is tried while others change the record, too.
const TRIES: usize = 5;

/// The records of a running stack.
#[derive(Debug)]
pub struct Records {
    /// The lock that is held while any process of the stack is alive.
    alive: PathBuf,
    client: Client,
    runtime: Runtime,
}

impl Records {
    /// Opens the records of the running stack. `hint` says what to do if no stack is running.
    pub fn open(ctx: &Ctx, hint: &str) -> anyhow::Result<Self> {
        let not_running = || {
            let message = "no stack runs, so there is no record of its topology to ask";
            Failure::new(Exit::NotRunning, message).hint(hint)
        };
        if !alive::is_held(&ctx.paths.alive_lock())? {
            return Err(not_running().into());
        }
        let applied = Applied::load(&ctx.paths);
        let client = applied.and_then(|applied| Client::of_running(&applied, &ctx.paths));
        Ok(Self {
            alive: ctx.paths.alive_lock(),
            client: client.ok_or_else(not_running)?,
            runtime: kit::runtime::current_thread()?,
        })
    }

    /// Fails if the controller is not running, since then no change would be applied.
    pub fn need_controller(ctx: &Ctx) -> anyhow::Result<()> {
        let states = ctx.client()?.processes()?;
        let (message, hint) = match states.get(CONTROLLER) {
            Some(state) if state.has_ended() => (
                format!("`{CONTROLLER}`, which applies topologies, is stopped"),
                ctx.paths.command(&format!("start {CONTROLLER}")),
            ),
            Some(_) => return Ok(()),
            None => (
                format!("`{CONTROLLER}`, which applies topologies, is no part of what runs"),
                ctx.paths.command(&format!("up {CONTROLLER}")),
            ),
        };
        Err(Failure::new(Exit::Unhealthy, message).hint(hint).into())
    }

    /// Returns the record of NATS.
    pub fn find(&mut self) -> anyhow::Result<Record> {
        let found = self.runtime.block_on(self.client.find(SERVICE));
        found.map_err(told)?.ok_or_else(missing)
    }

    /// Returns the record of NATS, unless the user interrupts.
    fn find_unless(&mut self, interrupt: &Interrupt) -> anyhow::Result<Record> {
        let found = async { Ok(self.client.find(SERVICE).await) };
        let found = self.runtime.block_on(unless_interrupted(interrupt, found));
        found?.map_err(told)?.ok_or_else(missing)
    }

    /// Returns the last `limit` changes, the newest first.
    pub fn history(&mut self, limit: usize) -> anyhow::Result<Vec<Entry>> {
        let history = self.client.history(SERVICE, limit);
        self.runtime.block_on(history).map_err(told)
    }

    /// Changes the record by `edit`. If another program changes it at the same time, `edit` is
    /// applied again to the new record. Returns the record as it is now.
    pub fn change(
        &mut self,
        edit: impl Fn(&Record) -> anyhow::Result<Edit>,
    ) -> anyhow::Result<Record> {
        let mut tries = 0;
        loop {
            let record = self.find()?;
            let edit = edit(&record)?;
            let change = self.client.change(&record, &edit);
            match self.runtime.block_on(change) {
                Err(RecordError::Conflict) if tries < TRIES => tries += 1,
                result => return result.map_err(told),
            }
        }
    }

    /// Waits until the change in `asked` is applied. Fails if it was refused, or if another change
    /// was requested meanwhile.
    pub fn wait(
        &mut self,
        asked: &Record,
        timeout: Duration,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Record> {
        let deadline = Instant::now() + timeout;
        let mut last_error = None;
        let applied = || {
            let record = match self.find_unless(interrupt) {
                Ok(record) => {
                    last_error = None;
                    Some(record)
                }
                Err(error) if error.is::<Interrupted>() => return Err(left(error)),
                // The change itself may restart PocketBase.
                Err(error) => {
                    last_error = Some(error);
                    None
                }
            };
            if let Some(record) = record
                && let Some(outcome) = outcome(asked, record)
            {
                return outcome.map(Some);
            }
            if last_error.is_some() && !alive::is_held(&self.alive)? {
                let message = "the stack ended before the topology was applied";
                return Err(Failure::new(Exit::NotRunning, message)
                    .hint("cargo xtask up")
                    .into());
            }
            Ok::<_, anyhow::Error>(None)
        };
        match wait_until(deadline, POLL, interrupt, applied)? {
            Waited::Done(record) => Ok(record),
            Waited::Interrupted(interrupted) => Err(left(interrupted.into())),
            Waited::Deadline => {
                let seconds = timeout.as_secs();
                let message = format!("the topology was not applied within {seconds} s");
                let failure = Failure::new(Exit::Timeout, message);
                let failure = failure.hint("cargo xtask topology show");
                Err(match last_error {
                    Some(error) => failure.source(error).into(),
                    None => failure.into(),
                })
            }
        }
    }
}

/// Returns the result of `asked` according to the present record; `None` while it is unknown.
fn outcome(asked: &Record, now: Record) -> Option<anyhow::Result<Record>> {
    // A record that was returned to the manifest takes the specification of the manifest.
    let is_same =
        now.origin == asked.origin && (now.spec == asked.spec || asked.origin == Origin::Manifest);
    if now.generation != asked.generation && !is_same {
        let message = "another topology was requested before this one was applied";
        let failure = Failure::new(Exit::Locked, message);
        return Some(Err(failure.hint("cargo xtask topology show").into()));
    }
    match now.state() {
        State::Pending | State::Applying => None,
        State::Applied => Some(Ok(now)),
        State::Failed => {
            let message = format!("the topology was not applied: {}", now.message());
            Some(Err(Failure::new(Exit::ReloadFailed, message).into()))
        }
    }
}

fn missing() -> anyhow::Error {
    let message = "there is no record of the topology: the controller has not made one";
    let failure = Failure::new(Exit::Unhealthy, message);
    failure.hint("cargo xtask status").into()
}

/// Returns the error of an interrupted wait: the request remains.
fn left(interrupted: anyhow::Error) -> anyhow::Error {
    let message = "what was asked for stays asked for, and the controller goes on with it";
    let failure = Failure::new(Exit::Unexpected, message).source(interrupted);
    failure
        .hint("see what becomes of it with `cargo xtask topology show`")
        .into()
}

fn told(error: RecordError) -> anyhow::Error {
    let failure = Failure::new(Exit::Unhealthy, "cannot ask PocketBase for the topology");
    failure.source(error).hint("cargo xtask status").into()
}

#[cfg(test)]
mod tests {
    use kit::failure::exit_of;
    use serde_json::{Value, json};

    use super::*;

    fn record(generation: u64, nodes: u64, status: &Value) -> Record {
        let record = json!({
            "id": "x", "service": "nats", "origin": "user", "generation": generation,
            "spec": {"topology": "hub-spoke", "hub_nodes": nodes}, "status": status,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn an_outcome_is_that_of_what_was_asked_for() {
        let asked = record(2, 3, &json!(null));
        let now = |generation, nodes, state: &str| {
            let status = json!({"generation": 2, "state": state, "message": "why"});
            outcome(&asked, record(generation, nodes, &status))
        };
        assert!(now(2, 3, "applying").is_none());
        assert!(now(2, 3, "applied").unwrap().is_ok());
        let failed = now(2, 3, "failed").unwrap().unwrap_err();
        assert_eq!(exit_of(&failed), Exit::ReloadFailed);
        assert!(failed.to_string().ends_with("was not applied: why"));
        let replaced = now(3, 5, "applied").unwrap().unwrap_err();
        assert_eq!(exit_of(&replaced), Exit::Locked);
        assert!(now(3, 3, "applied").is_none(), "asked again for the same");
    }
}
