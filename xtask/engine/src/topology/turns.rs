//! The order in which nodes of the hub are restarted one by one: each only when the hub is complete
//! again, since with two of three nodes away no server answers for a stream.
//!
//! Must not restart anything.

use std::collections::BTreeSet;
use std::time::Duration;

use service_nats::topology::Facts;

use super::hub::{Hub, Look};
use crate::base::interrupt::Interrupt;

/// How long the hub may take to be complete again after the restart of one node. Most of it is the
/// election of new leaders, 4 to 9 s; the rest is the node's catching up.
const COMPLETE_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a hub without a leader may take to elect one: it takes up to 9 s.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(12);
/// How long to wait per node during a rollback, which continues in any case.
const BACK_TIMEOUT: Duration = Duration::from_secs(30);

/// The hub as it was before the first restart.
#[derive(Debug)]
pub(crate) struct Turns<'a> {
    facts: &'a Facts,
    hub: Hub<'a>,
    look: Look,
    /// Streams without a leader: they are not waited for.
    lost: BTreeSet<String>,
    /// Whether the hub has a leader. Without one there is no service to interrupt, and no reason to
    /// wait between two restarts.
    works: bool,
}

impl<'a> Turns<'a> {
    /// Waits for a leader of the hub of `facts`, and reads its state.
    pub(super) fn begin(facts: &'a Facts, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let hub = Hub::new(facts)?;
        let what = "the hub of NATS has no leader";
        let has_leader = |look: &Look| Ok(!look.has_jetstream() || look.leader().is_some());
        let led = hub.wait(what, ELECTION_TIMEOUT, interrupt, has_leader);
        let works = led.is_ok();
        let look = led.unwrap_or_else(|_| hub.look());
        Ok(Self::of(facts, hub, look, works))
    }

    /// Reads the present state of the hub, for a change that is rolled back.
    pub(super) fn begin_back(facts: &'a Facts) -> anyhow::Result<Self> {
        let hub = Hub::new(facts)?;
        let look = hub.look();
        Ok(Self::of(facts, hub, look, true))
    }

    fn of(facts: &'a Facts, hub: Hub<'a>, look: Look, works: bool) -> Self {
        Self {
            facts,
            hub,
            lost: look.leaderless(),
            look,
            works,
        }
    }

    /// Returns the processes and server names of the hub.
    pub(super) fn members(facts: &Facts) -> Vec<(String, String)> {
        let hub = facts.staying().into_iter().chain(facts.leaving());
        hub.map(|node| (node.process, node.name)).collect()
    }

    /// Returns those that are `restarted`, in order: nodes that are away first, as that costs
    /// nothing, and the leader last, as it costs an election.
    pub(crate) fn order(&self, restarted: impl Fn(&str) -> bool) -> Vec<String> {
        let (away, leader) = (self.look.away(), self.look.leader());
        let mut order: Vec<(u8, String)> = Vec::new();
        for (process, server) in Self::members(self.facts) {
            if restarted(&process) {
                let rank = match server.as_str() {
                    server if away.contains(&server) => 0,
                    server if Some(server) == leader => 2,
                    _ => 1,
                };
                order.push((rank, process));
            }
        }
        order.sort();
        order.into_iter().map(|(_, process)| process).collect()
    }

    /// Waits until the hub can lose the next node.
    pub(crate) fn wait(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        if !self.works {
            return Ok(());
        }
        self.wait_settled(COMPLETE_TIMEOUT, interrupt)
    }

    /// Waits like [`Turns::wait`] during a rollback, and ignores failures.
    pub(crate) fn wait_back(&self) {
        let _ = self.wait_settled(BACK_TIMEOUT, &Interrupt::default());
    }

    /// Waits until every node is up to date, and every stream has a leader and current copies.
    fn wait_settled(&self, limit: Duration, interrupt: &Interrupt) -> anyhow::Result<()> {
        let what = "the hub of NATS was not complete";
        let is_settled = |look: &Look| {
            let settled = look.is_complete() && look.unsettled().is_subset(&self.lost);
            // Lost streams make the nodes unhealthy, too.
            Ok(settled && (!self.lost.is_empty() || self.hub.is_healthy()))
        };
        self.hub.wait(what, limit, interrupt, is_settled).map(drop)
    }
}
