//! Restarts of hub nodes one after the other, each only when the hub is complete again: with two of
//! three nodes away, nobody answers for a stream.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Converge, Description, under_way};
use crate::base::interrupt::Interrupt;
use crate::plan::render::difference::Difference;
use crate::supervisor::state::{Change, Changes, Phase, States};
use crate::supervisor::wait::{Baseline, Wait};
use crate::topology::hub::{Hub, Look};

/// How long the hub may take to be complete again after the restart of one node. Most of it is the
/// election of new leaders, 4 to 9 s; the rest is what the node has to catch up with.
const COMPLETE_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a hub without a leader is given to elect one: it takes up to 9 s.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(12);
/// How long it may take when what was tried is taken back: all of it is, whatever comes of that.
const BACK_TIMEOUT: Duration = Duration::from_secs(30);

/// The hub nodes that are restarted one by one, and what they are given for it.
pub(super) struct Rolling<'a> {
    wanted: &'a Description,
    /// What runs; with it, nodes whose entries change keep them until it is their turn.
    running: Option<&'a Description>,
    kept: BTreeSet<String>,
    /// Nodes that run another program than is installed, and may keep their entries.
    outdated: BTreeSet<String>,
    /// All nodes that stay in the hub.
    hub: BTreeSet<String>,
}

impl Rolling<'_> {
    /// The file of this moment.
    pub(super) fn file(&self) -> anyhow::Result<Description> {
        match self.running {
            Some(running) if !self.kept.is_empty() => self.wanted.with_kept(running, &self.kept),
            _ => Ok(self.wanted.clone()),
        }
    }

    /// Takes over what is outdated in the hub. Returns what is not the hub's.
    pub(super) fn add_outdated(&mut self, names: BTreeSet<String>) -> BTreeSet<String> {
        let (hub, others) = names.into_iter().partition(|name| self.hub.contains(name));
        self.outdated = hub;
        others
    }

    /// Whether there is nothing to restart.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.outdated.is_empty()
    }

    /// All that are to be restarted: those that are away first, as they cost nothing, and the
    /// leader last, as it costs an election.
    fn order(&self, nodes: &[(String, String)], look: &Look) -> Vec<String> {
        let (away, leader) = (look.away(), look.leader());
        let mut order: Vec<(u8, String)> = Vec::new();
        for (process, server) in nodes {
            if self.kept.contains(process) || self.outdated.contains(process) {
                let rank = match server.as_str() {
                    server if away.contains(&server) => 0,
                    server if Some(server) == leader => 2,
                    _ => 1,
                };
                order.push((rank, process.clone()));
            }
        }
        order.sort();
        order.into_iter().map(|(_, process)| process).collect()
    }
}

impl Converge<'_> {
    /// What is to be restarted node by node because its entry changes.
    pub(super) fn rolling<'a>(
        &self,
        wanted: &'a Description,
        running: Option<&'a Description>,
        states: &States,
    ) -> anyhow::Result<Rolling<'a>> {
        let hub: BTreeSet<String> = self.hub_nodes().into_iter().map(|(name, _)| name).collect();
        let mut kept = match running {
            Some(running) => changed(running, wanted, &hub)?,
            None => BTreeSet::new(),
        };
        // One that is not healthy costs nothing, and may need its new entry to become so.
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

    /// Processes and servers of the hub.
    fn hub_nodes(&self) -> Vec<(String, String)> {
        let facts = &self.inputs.topology.now;
        let hub = facts.staying().into_iter().chain(facts.leaving());
        hub.map(|node| (node.process, node.name)).collect()
    }

    /// Restarts them.
    pub(super) fn roll(
        &self,
        rolling: &mut Rolling<'_>,
        baseline: &mut Baseline,
        changes: &mut Changes,
        mut seen: impl FnMut(&States),
    ) -> anyhow::Result<States> {
        let hub = Hub::new(&self.inputs.topology.now)?;
        let what = "the hub of NATS has no leader";
        let has_leader = |look: &Look| Ok(!look.has_jetstream() || look.leader().is_some());
        // Without one there is nothing that could be interrupted.
        let works = hub
            .wait(what, ELECTION_TIMEOUT, self.interrupt, has_leader)
            .is_ok();
        let look = hub.look();
        // What has no leader now is not waited for later.
        let lost = look.leaderless();
        let mut states = self.client.processes()?;
        for name in rolling.order(&self.hub_nodes(), &look) {
            if works {
                wait_settled(&hub, &lost, COMPLETE_TIMEOUT, self.interrupt)?;
            }
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
        if works {
            wait_settled(&hub, &lost, COMPLETE_TIMEOUT, self.interrupt)?;
        }
        Ok(states)
    }

    /// Gives hub nodes their `previous` entries again, as far as they have other ones by now. The
    /// last one is left to whoever hands over the whole file.
    pub(super) fn roll_back(&self, previous: &Description) -> anyhow::Result<()> {
        let Some(running) = previous.read_running(self.ctx) else {
            return Ok(());
        };
        let states = self.client.processes()?;
        let mut rolling = self.rolling(previous, Some(&running), &states)?;
        let hub = Hub::new(&self.inputs.topology.now)?;
        let lost = hub.look().leaderless();
        let never = Interrupt::default();
        for name in rolling.order(&self.hub_nodes(), &hub.look()) {
            if rolling.kept.len() == 1 {
                break;
            }
            rolling.kept.remove(&name);
            self.hand_back(&never).run(&rolling.file()?)?;
            let stopped = under_way::load(&self.ctx.paths);
            self.start_again(self.starts(stopped, [&name].into_iter())?)?;
            under_way::forget(&self.ctx.paths);
            let _ = wait_settled(&hub, &lost, BACK_TIMEOUT, &never);
        }
        Ok(())
    }
}

/// Waits until the hub can do without a node: every node is up to date, and every stream has a
/// leader and copies that are.
fn wait_settled(
    hub: &Hub<'_>,
    lost: &BTreeSet<String>,
    limit: Duration,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let what = "the hub of NATS was not complete";
    let is_settled = |look: &Look| {
        let settled = look.is_complete() && look.unsettled().is_subset(lost);
        // What is lost makes the nodes unhealthy, too.
        Ok(settled && (!lost.is_empty() || hub.is_healthy()))
    };
    hub.wait(what, limit, interrupt, is_settled).map(drop)
}

/// The nodes of the hub whose entries differ.
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
