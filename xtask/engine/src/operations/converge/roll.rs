//! Restarts processes that replace each other, the nodes of the hub, one by one.
//!
//! The seam of NATS determines the order, and when the next one may be restarted.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Converge, Description, under_way};
use crate::base::interrupt::Interrupt;
use crate::plan::render::difference::Difference;
use crate::supervisor::state::{Change, Changes, Phase, States};
use crate::supervisor::wait::{Baseline, Wait};

/// The hub nodes that are restarted one by one, and their new description.
pub(super) struct Rolling<'a> {
    wanted: &'a Description,
    /// The running stack; if known, nodes whose entries change keep the old ones until their turn.
    running: Option<&'a Description>,
    kept: BTreeSet<String>,
    /// Nodes that run another program than is installed, and may keep their entries.
    outdated: BTreeSet<String>,
    /// All nodes that stay in the hub.
    hub: BTreeSet<String>,
}

impl Rolling<'_> {
    /// Returns the file at the present stage.
    pub(super) fn file(&self) -> anyhow::Result<Description> {
        match self.running {
            Some(running) if !self.kept.is_empty() => self.wanted.with_kept(running, &self.kept),
            _ => Ok(self.wanted.clone()),
        }
    }

    /// Adds the outdated nodes of the hub. Returns the other processes.
    pub(super) fn add_outdated(&mut self, names: BTreeSet<String>) -> BTreeSet<String> {
        let (hub, others) = names.into_iter().partition(|name| self.hub.contains(name));
        self.outdated = hub;
        others
    }

    /// Whether there is nothing to restart.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.outdated.is_empty()
    }

    /// Whether a process is restarted in turn.
    fn restarts(&self, name: &str) -> bool {
        self.kept.contains(name) || self.outdated.contains(name)
    }
}

impl Converge<'_> {
    /// Returns the nodes that are restarted one by one because their entries change.
    pub(super) fn rolling<'a>(
        &self,
        wanted: &'a Description,
        running: Option<&'a Description>,
        states: &States,
    ) -> anyhow::Result<Rolling<'a>> {
        let hub = self.seam().one_by_one();
        let mut kept = match running {
            Some(running) => changed(running, wanted, &hub)?,
            None => BTreeSet::new(),
        };
        // Restarting an unhealthy node costs nothing, and it may need its new entry.
        kept.retain(|name| {
            let state = states.get(name);
            state.is_some_and(|state| state.phase() == Phase::Ready)
        });
        Ok(Rolling {
            wanted,
            running,
            kept,
            outdated: BTreeSet::new(),
            hub,
        })
    }

    /// Restarts the nodes.
    pub(super) fn roll(
        &self,
        rolling: &mut Rolling<'_>,
        baseline: &mut Baseline,
        changes: &mut Changes,
        mut seen: impl FnMut(&States),
    ) -> anyhow::Result<States> {
        let seam = self.seam();
        let turns = seam.turns()?;
        let mut states = self.client.processes()?;
        for name in turns.order(|name| rolling.restarts(name)) {
            turns.wait(self.interrupt)?;
            let what = if rolling.kept.remove(&name) {
                self.hand_over().run(&rolling.file()?)?;
                baseline.forget(&name);
                Change::Updated
            } else {
                let one = BTreeSet::from([name.clone()]);
                self.hand_over().stop_to_start(&one)?;
                Change::NewBinary
            };
            changes.insert(name.clone(), what);
            let wait = Wait {
                deadline: Instant::now() + self.options.timeout,
                ..self.wait(baseline, true)
            };
            let stopped = under_way::load(&self.ctx.paths);
            let mut starts = self.starts(stopped, [&name].into_iter())?;
            states = wait.until_started(None, &mut starts, &mut seen)?;
            under_way::forget(&self.ctx.paths);
        }
        turns.wait(self.interrupt)?;
        Ok(states)
    }

    /// Gives hub nodes their `previous` entries again, where these have been changed. The last one
    /// is left to the caller, which hands over the whole file.
    pub(super) fn roll_back(&self, previous: &Description) -> anyhow::Result<()> {
        let Some(running) = previous.read_running(self.ctx) else {
            return Ok(());
        };
        let states = self.client.processes()?;
        let mut rolling = self.rolling(previous, Some(&running), &states)?;
        let seam = self.seam();
        let turns = seam.turns_back()?;
        let never = Interrupt::default();
        for name in turns.order(|name| rolling.restarts(name)) {
            if rolling.kept.len() == 1 {
                break;
            }
            rolling.kept.remove(&name);
            self.hand_back(&never).run(&rolling.file()?)?;
            let stopped = under_way::load(&self.ctx.paths);
            self.start_again(self.starts(stopped, [&name].into_iter())?)?;
            under_way::forget(&self.ctx.paths);
            turns.wait_back();
        }
        Ok(())
    }
}

/// Returns the nodes of the hub whose entries differ.
fn changed(
    running: &Description,
    wanted: &Description,
    hub: &BTreeSet<String>,
) -> anyhow::Result<BTreeSet<String>> {
    let differences = wanted.since(running)?.into_iter();
    let changed = differences.filter(|(name, difference)| {
        hub.contains(name) && matches!(difference, Difference::Changed(_))
    });
    Ok(changed.map(|(name, _)| name).collect())
}
