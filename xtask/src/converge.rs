//! From what runs to what is wanted, step by step: a first start, or a change of a running stack.
//!
//! Owns the order of the steps and the way back. Must not read inputs or tell the user: `up` does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kit::files;
use kit::{Exit, Failure};
use service_nats::topology::SERVICE;

use crate::context::Ctx;
use crate::dep::Installed;
use crate::inputs::Inputs;
use crate::interrupt::Interrupt;
use crate::recorded::Recorded;
use crate::render::compose::{self, Secrets};
use crate::supervisor::client::Client;
use crate::supervisor::launch;
use crate::supervisor::state::{Phase, State, States};
use crate::supervisor::wait::{Baseline, Wait};
use crate::supervisor::{alive, programs, stop, stops};
use crate::topology::link::Link;
use crate::up::{Options, Outcome};

/// How long a supervisor that holds the alive lock and does not answer is given: it may be
/// starting or stopping. Wrappers without one need up to 5 s to stop by themselves.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(6);

/// How long one look at the alive lock waits before the API is asked again.
const SETTLE_POLL: Duration = Duration::from_millis(20);

/// How long a reload may take besides the stopping of what it changes, which the supervisor may
/// do one after the other; and besides the waiting for health.
const RELOAD_MARGIN: Duration = Duration::from_secs(30);

/// How long a process that is started again may still be told as ended.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// What happened to a process whose program was replaced.
const NEW_BINARY: &str = "restarted (new binary)";

/// What happened to a process that a user had stopped.
const STARTED: &str = "started";

/// How often it is looked at.
const START_POLL: Duration = Duration::from_millis(5);

/// What a running stack is described by: the file that the supervisor reads, and the inputs it was
/// made from.
#[derive(Debug)]
pub(crate) struct Description {
    compose: Vec<u8>,
    recorded: Vec<u8>,
}

impl Description {
    /// What is wanted.
    pub(crate) fn of(inputs: &Inputs) -> anyhow::Result<Self> {
        let (env, chosen) = (&inputs.env, inputs.chosen.as_ref());
        let recorded = Recorded::of(&inputs.services, env, &inputs.leased, &inputs.ports, chosen);
        let compose = compose::render(&inputs.stack, &inputs.places, Secrets::Plain)?;
        Ok(Self {
            compose: compose.into_bytes(),
            recorded: recorded.to_bytes()?,
        })
    }

    /// What the files say, if there are any.
    fn read(ctx: &Ctx) -> Option<Self> {
        Some(Self {
            compose: fs::read(ctx.paths.compose_file()).ok()?,
            recorded: fs::read(ctx.paths.recorded()).ok()?,
        })
    }

    pub(crate) fn write(&self, ctx: &Ctx) -> anyhow::Result<()> {
        let files = [
            (ctx.paths.recorded(), &self.recorded),
            (ctx.paths.compose_file(), &self.compose),
        ];
        for (file, bytes) in files {
            files::write_if_changed(&file, bytes, files::PRIVATE_FILE_MODE)?;
        }
        Ok(())
    }
}

/// The way from what runs to what is wanted.
pub(crate) struct Converge<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) options: &'a Options,
    pub(crate) inputs: &'a Inputs,
    pub(crate) installed: &'a BTreeMap<String, Installed>,
    pub(crate) client: &'a Client,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) started: Instant,
}

impl Converge<'_> {
    /// Finds out whether something runs. Returns the claim on the instance when nothing does;
    /// what is left of a killed run is stopped first.
    pub(crate) fn settle(&self) -> anyhow::Result<Option<files::FileLock>> {
        let lock = self.ctx.paths.alive_lock();
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            if let Some(claim) = alive::try_claim(&lock)? {
                let (paths, ui) = (&self.ctx.paths, &self.ctx.ui);
                stop::stop_forgotten(paths, ui, self.client, self.options.timeout)?;
                return Ok(Some(claim));
            }
            if self.client.is_live() {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                break;
            }
            // A short wait for either: the lock that becomes free, the API that comes.
            if let Some(claim) = alive::claim_until(&lock, Instant::now() + SETTLE_POLL)? {
                return Ok(Some(claim));
            }
        }
        self.ctx
            .ui
            .line("something of an earlier run still lives without its supervisor");
        stop::force(&self.ctx.paths, &self.ctx.ui).map(|(claim, _)| Some(claim))
    }

    /// Starts everything. If that fails, everything is stopped again: a failed command leaves what
    /// was there before it.
    pub(crate) fn first_start(
        &self,
        binary: &Path,
        claim: files::FileLock,
        seen: impl FnMut(&States),
    ) -> anyhow::Result<States> {
        let (paths, ui) = (&self.ctx.paths, &self.ctx.ui);
        // Before anything is started: what dies at once has written its last words by then.
        let baseline = Baseline::take(paths, &self.inputs.stack, &States::new());
        let launched = launch::launch(paths, &self.ctx.env, binary, self.client, claim);
        let result = launched
            .and_then(|mut child| {
                self.wait(&baseline, false)
                    .until_ready(Some(&mut child), seen)
            })
            .and_then(|states| {
                self.link().wait_until_joined(self.interrupt)?;
                Ok(states)
            });
        if result.is_err()
            && let Err(error) = stop::stop(paths, ui, self.client, self.options.timeout)
        {
            ui.line(format!("{error:#}"));
        }
        result
    }

    /// Gives a running supervisor the file, changed or not: only it knows what it runs. If what
    /// that changes does not become healthy, the previous file and topology are given back.
    pub(crate) fn reload(
        &self,
        wanted: &Description,
        seen: impl FnMut(&States),
    ) -> anyhow::Result<(Outcome, States)> {
        let changes_topology = self.inputs.topology.changes();
        let previous = Description::read(self.ctx)
            .filter(|previous| previous.compose != wanted.compose || changes_topology);
        let result = self.apply(wanted, seen);
        match (result, previous) {
            (Err(error), Some(previous)) => Err(self.restore(&previous, error)),
            (result, _) => result,
        }
    }

    fn apply(
        &self,
        wanted: &Description,
        seen: impl FnMut(&States),
    ) -> anyhow::Result<(Outcome, States)> {
        let before = self.client.processes()?;
        let mut baseline = Baseline::take(&self.ctx.paths, &self.inputs.stack, &before);
        self.inputs.topology.write(&self.ctx.paths)?;
        let link = self.link();
        // Parted before the hub stops, the server never looks for what is no longer there.
        let parted = link.is_alone() && self.relink(&link)?;
        wanted.write(self.ctx)?;
        let mut changes = self.hand_over(&before).map_err(|error| {
            Failure::new(Exit::ReloadFailed, "the running stack refused the change").source(error)
        })?;
        let stopped = self.stop_outdated()?;
        for name in &stopped {
            changes.insert(name.clone(), NEW_BINARY.to_owned());
        }
        for name in changes.keys() {
            baseline.forget(name);
        }
        let by_user = stops::load(&self.ctx.paths);
        let is_wanted = |name: &&String| {
            let process = self.inputs.stack.processes.get(*name);
            before.contains_key(*name) && process.is_some_and(|process| !process.disabled)
        };
        for name in by_user.iter().filter(is_wanted) {
            changes
                .entry(name.clone())
                .or_insert_with(|| STARTED.to_owned());
        }
        self.start_ended(&stopped.union(&by_user).cloned().collect())?;
        let states = self.wait(&baseline, true).until_ready(None, seen)?;
        stops::forget(&self.ctx.paths);
        if self.relink(&link)? || parted {
            changes.insert(SERVICE.to_owned(), "reloaded".to_owned());
        }
        if !changes.is_empty() {
            link.wait_until_joined(self.interrupt)?;
        }
        let outcome = if changes.is_empty() {
            Outcome::Unchanged
        } else {
            Outcome::Changed(changes)
        };
        Ok((outcome, states))
    }

    /// The link of the first NATS server that is asked for.
    fn link(&self) -> Link<'_> {
        let inputs = self.inputs;
        Link::new(&self.ctx.paths, &inputs.stack, &inputs.topology.now)
    }

    /// Lets the first NATS server take the link if it has another one. Says whether it had.
    fn relink(&self, link: &Link<'_>) -> anyhow::Result<bool> {
        let stale = !link.is_current();
        if stale {
            link.reload(self.client)?;
        }
        Ok(stale)
    }

    /// Gives the supervisor back what it ran, and says so in the error. Does not wait for health:
    /// what ran before was as healthy as it was.
    fn restore(&self, previous: &Description, error: anyhow::Error) -> anyhow::Error {
        let restore = || {
            let facts = self.inputs.topology.write_before(&self.ctx.paths)?;
            previous.write(self.ctx)?;
            self.client.reload(self.reload_timeout())?;
            self.start_ended(&BTreeSet::new())?;
            self.relink(&Link::new(&self.ctx.paths, &self.inputs.stack, &facts))
        };
        let restored = restore();
        let what = match restored {
            Ok(_) => "the change failed and the previous state was restored".to_owned(),
            Err(again) => format!("the change failed, and so did restoring: {again:#}"),
        };
        let failure = Failure::new(Exit::ReloadFailed, what).source(error);
        failure
            .hint(format!(
                "correct what is named above, then run `{}` again",
                self.ctx.paths.command("up")
            ))
            .into()
    }

    /// Lets the supervisor read the file. Returns what it added, updated or removed.
    fn hand_over(&self, before: &States) -> anyhow::Result<BTreeMap<String, String>> {
        match self.client.reload(self.reload_timeout()) {
            Err(error) if Client::missed_an_end(&error) => {
                // All other changes were made, this process is gone: what is missing is its start.
                self.client.reload(self.reload_timeout())?;
                Ok(changes(before, &self.client.processes()?))
            }
            answer => answer,
        }
    }

    /// Stops what runs another program than is installed by now: the same path is no change for
    /// the supervisor. Its own restart would wait for the backoff of at least a second.
    fn stop_outdated(&self) -> anyhow::Result<BTreeSet<String>> {
        let (stack, states) = (&self.inputs.stack, self.client.processes()?);
        let outdated = programs::outdated(stack, self.installed, &states)?;
        for name in &outdated {
            match self.client.stop(name, self.reload_timeout()) {
                Err(error) if !Client::missed_an_end(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(outdated)
    }

    /// Starts what `stopped` names, and again each process whose dependency had just crashed, or
    /// that a user stopped.
    fn start_ended(&self, stopped: &BTreeSet<String>) -> anyhow::Result<()> {
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

    fn deadline(&self) -> Instant {
        self.started + self.options.timeout
    }

    fn reload_timeout(&self) -> Duration {
        let processes = self.inputs.stack.processes.values();
        let stopping = processes.map(|process| u64::from(process.shutdown.timeout_seconds));
        RELOAD_MARGIN + Duration::from_secs(stopping.sum())
    }

    fn wait<'b>(&'b self, baseline: &'b Baseline, ask: bool) -> Wait<'b> {
        Wait {
            paths: &self.ctx.paths,
            stack: &self.inputs.stack,
            client: self.client,
            ask,
            interrupt: self.interrupt,
            baseline,
            deadline: self.deadline(),
            timeout: self.options.timeout,
        }
    }
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
