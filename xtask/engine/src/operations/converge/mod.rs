//! Leads from the running stack to the wanted one: a first start, or a change of a running stack.
//!
//! Owns the order of steps and the rollback. Must not read inputs or report to the user: `up` does.

mod description;
mod hand_over;
mod roll;
pub(crate) mod shrink;
#[cfg(test)]
mod tests;
mod under_way;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use kit::files;
use kit::{Exit, Failure};

use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;
use crate::checkout::paths::Paths;
use crate::operations::asked::{Outcome, UpOptions};
use crate::operations::inputs::Inputs;
use crate::plan::binaries::Installed;
use crate::supervisor::BINARY;
use crate::supervisor::client::Client;
use crate::supervisor::launch;
use crate::supervisor::lost::{self, Lost};
use crate::supervisor::settings::Settings;
use crate::supervisor::state::{Change, States};
use crate::supervisor::wait::{Baseline, Wait};
use crate::supervisor::{alive, own_log, stop, stops};
use crate::topology::seam::Seam;
pub(crate) use description::Description;
use hand_over::lost_track;

/// How long to wait for a supervisor that holds the alive lock and does not answer: it may be
/// starting or stopping. Wrappers without one need up to 5 s to stop by themselves.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(6);

/// How long one try of the alive lock waits before the API is asked again.
const CLAIM_POLL: Duration = Duration::from_millis(20);

/// Returns processes that a user or a command stopped: a change starts them.
pub(crate) fn stopped(paths: &Paths) -> BTreeSet<String> {
    &stops::load(paths) | &under_way::load(paths)
}

/// The change from the running stack to the wanted one.
pub(crate) struct Converge<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) options: &'a UpOptions,
    pub(crate) inputs: &'a Inputs,
    pub(crate) installed: &'a BTreeMap<String, Installed>,
    pub(crate) client: &'a Client,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) started: Instant,
}

impl Converge<'_> {
    /// Determines whether a stack is running. If none is, returns the claim on the instance, after
    /// stopping what is left of a killed run.
    pub(crate) fn claim(&self) -> anyhow::Result<Option<files::FileLock>> {
        let lock = self.ctx.paths.alive_lock();
        let deadline = Instant::now() + CLAIM_TIMEOUT;
        loop {
            if let Some(claim) = alive::try_claim(&lock)? {
                let (paths, ui) = (&self.ctx.paths, &self.ctx.ui);
                stop::stop_forgotten(paths, ui, self.client, self.options.timeout)?;
                stop::end_leftovers(paths, ui)?;
                return Ok(Some(claim));
            }
            if self.client.is_live() {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                break;
            }
            // A short wait for either a free lock or an answer of the API.
            if let Some(claim) = alive::claim_until(&lock, Instant::now() + CLAIM_POLL)? {
                stop::end_leftovers(&self.ctx.paths, &self.ctx.ui)?;
                return Ok(Some(claim));
            }
        }
        let (paths, ui) = (&self.ctx.paths, &self.ctx.ui);
        ui.line("something of an earlier run still lives without its supervisor");
        let (claim, _) = stop::force(paths, ui)?;
        stop::end_leftovers(paths, ui)?;
        Ok(Some(claim))
    }

    /// Starts everything. If that fails, everything is stopped again: a failed command leaves the
    /// earlier state.
    pub(crate) fn first_start(
        &self,
        binary: &Path,
        claim: files::FileLock,
        seen: impl FnMut(&States),
    ) -> anyhow::Result<States> {
        let (paths, ui) = (&self.ctx.paths, &self.ctx.ui);
        under_way::forget(paths);
        // Before the start: a process that dies at once has written its last output by then.
        let baseline = Baseline::take(paths, &self.inputs.stack, &States::new());
        let launched = launch::launch(paths, &self.ctx.env, binary, self.client, claim);
        let result = launched
            .and_then(|mut child| {
                self.wait(&baseline, false)
                    .until_ready(Some(&mut child), seen)
            })
            .and_then(|states| {
                self.seam().wait_until_joined()?;
                Ok(states)
            });
        if result.is_err() {
            match stop::stop(self.ctx, self.client, self.options.timeout) {
                Ok(_) if self.interrupt.signal().is_some() => {
                    ui.line("what was started is stopped again; nothing is left running");
                }
                Ok(_) => {}
                Err(error) => ui.line(format!("{error:#}")),
            }
        }
        result
    }

    /// Gives a running supervisor the file, changed or not: only it knows its processes. If a
    /// changed process does not become healthy, the previous file and topology are restored.
    pub(crate) fn reload(
        &self,
        wanted: &Description,
        mut seen: impl FnMut(&States),
    ) -> anyhow::Result<(Outcome, States)> {
        let lost = lost::find(self.client);
        if !lost.is_empty() {
            return self.start_anew(wanted, &lost, seen);
        }
        let changes_topology = self.inputs.topology.changes();
        let running = wanted.read_running(self.ctx);
        let result = self.apply(wanted, running.as_ref(), &mut seen);
        let result = result.and_then(|done| self.seam().empty_first_leaving().map(|()| done));
        let Err(error) = result else {
            return result;
        };
        let lost = lost::find(self.client);
        if !lost.is_empty() {
            return self.start_anew(wanted, &lost, seen);
        }
        let previous = running.filter(|running| !running.runs_as(wanted) || changes_topology);
        if let Some(previous) = previous {
            return Err(self.restore(wanted, &previous, error));
        }
        // The file is the same: processes that were stopped for another program are started again.
        let again = self.starts(under_way::load(&self.ctx.paths), [].into_iter());
        match again.and_then(|again| self.start_again(again)) {
            Ok(()) => {
                under_way::forget(&self.ctx.paths);
                if self.interrupt.signal().is_some() {
                    self.ctx.ui.line("nothing was changed: what ran runs on");
                }
            }
            Err(again) => self.ctx.ui.line(format!("{again:#}")),
        }
        Err(error)
    }

    /// Stops and starts everything, because the supervisor has lost track of its processes.
    fn start_anew(
        &self,
        wanted: &Description,
        lost: &[Lost],
        seen: impl FnMut(&States),
    ) -> anyhow::Result<(Outcome, States)> {
        let (paths, ui) = (&self.ctx.paths, &self.ctx.ui);
        let error = lost_track(lost);
        let Some(binary) = self.installed.get(BINARY) else {
            return Err(error);
        };
        if lost::runs_us(self.client) {
            return Err(error);
        }
        ui.line(format!("{error}: everything is started again"));
        for lost in lost {
            lost.end(ui)?;
        }
        stop::stop(self.ctx, self.client, self.options.timeout)?;
        let claim = alive::try_claim(&paths.alive_lock())?.ok_or(error)?;
        self.inputs.topology.write(paths)?;
        wanted.write(self.ctx)?;
        let states = self.first_start(&binary.path, claim, seen)?;
        Ok((Outcome::Started, states))
    }

    fn apply(
        &self,
        wanted: &Description,
        running: Option<&Description>,
        mut seen: impl FnMut(&States),
    ) -> anyhow::Result<(Outcome, States)> {
        let paths = &self.ctx.paths;
        own_log::bound(paths);
        let before = self.client.processes()?;
        let mut baseline = Baseline::take(paths, &self.inputs.stack, &before);
        let seam = self.seam();
        let left = seam.before_stops()?;
        let mut rolling = self.rolling(wanted, running, &before)?;
        let in_place = match running {
            Some(running) => wanted.reloads(self.ctx, running, &before)?,
            None => Vec::new(),
        };
        let file = rolling.file()?;
        file.write_settings(self.ctx)?;
        // Before the restarts: a process that forwards requests then uses the new address already.
        self.take_settings(&in_place)?;
        let mut changes = self.hand_over().run(&file)?;
        // A process that was stopped and started keeps its count; a reload resets it.
        for name in changes.keys() {
            baseline.forget(name);
        }
        let outdated = rolling.add_outdated(self.outdated()?);
        self.hand_over().stop_to_start(&outdated)?;
        for name in outdated {
            changes.insert(name, Change::NewBinary);
        }
        let stopped = stopped(paths);
        let is_wanted = |name: &&String| {
            let process = self.inputs.stack.processes.get(*name);
            before.contains_key(*name) && process.is_some_and(|process| !process.disabled)
        };
        for name in stopped.iter().filter(is_wanted) {
            changes.entry(name.clone()).or_insert(Change::Started);
        }
        let mut starts = self.starts(stopped, changes.keys())?;
        // Crashed processes are started, too.
        for name in starts.ended() {
            changes.entry(name.clone()).or_insert(Change::Started);
        }
        let wait = self.wait(&baseline, true);
        let mut states = wait.until_started(None, &mut starts, &mut seen)?;
        stops::forget(paths);
        under_way::forget(paths);
        if !rolling.is_empty() {
            states = self.roll(&mut rolling, &mut baseline, &mut changes, &mut seen)?;
        }
        for name in in_place.into_iter().chain(seam.after_ready(left)?) {
            changes.entry(name).or_insert(Change::Reloaded);
        }
        if !changes.is_empty() {
            seam.wait_until_joined()?;
        }
        let outcome = if changes.is_empty() {
            Outcome::Unchanged
        } else {
            Outcome::Changed(changes)
        };
        Ok((outcome, states))
    }

    /// Returns the steps of NATS around these steps.
    fn seam(&self) -> Seam<'_> {
        Seam {
            paths: &self.ctx.paths,
            stack: &self.inputs.stack,
            topology: &self.inputs.topology,
            client: self.client,
            interrupt: self.interrupt,
        }
    }

    /// Makes running processes reload the settings of their files.
    fn take_settings(&self, names: &[String]) -> anyhow::Result<()> {
        let mut names = names.iter();
        names.try_for_each(|name| Settings::reload(&self.ctx.paths, self.client, name))
    }

    /// Restores what the supervisor ran before, and says so in the error. Does not wait for health:
    /// the earlier health is unknown.
    fn restore(
        &self,
        wanted: &Description,
        previous: &Description,
        error: anyhow::Error,
    ) -> anyhow::Error {
        let restore = || {
            let before = self.seam().undo()?;
            self.roll_back(previous)?;
            previous.write_settings(self.ctx)?;
            let never = Interrupt::default();
            let changes = self.hand_back(&never).run(previous)?;
            let stopped = under_way::load(&self.ctx.paths);
            self.start_again(self.starts(stopped, changes.keys())?)?;
            under_way::forget(&self.ctx.paths);
            let states = self.client.processes()?;
            self.take_settings(&previous.reloads(self.ctx, wanted, &states)?)?;
            self.seam().after_undo(&before)
        };
        let restored = restore();
        let what = match restored {
            Ok(()) => "the change failed and the previous state was restored".to_owned(),
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

    /// Returns the deadline for everything to be healthy.
    fn deadline(&self) -> Instant {
        self.started + self.options.timeout
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
