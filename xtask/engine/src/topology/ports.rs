//! Ports for nodes: assigned once, and kept.

use std::collections::{BTreeMap, BTreeSet};

use kit::{Exit, Failure};
use service_nats::topology::Facts;

use crate::instances::range::is_free;

/// The variable that sets another range for nodes only: `FIRST-LAST`.
pub(super) const RANGE_VARIABLE: &str = "CORE_TOPOLOGY_PORTS";

/// The ports of everything else.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Ports that no node receives.
    pub(super) refused: BTreeSet<u16>,
    /// Those of them that a service of this stack or a living instance has: a node that returns and
    /// had one of them receives another one.
    pub(super) claimed: BTreeSet<u16>,
    /// Running processes of nodes: their ports stay, and a service that requests one is an error.
    pub(super) running: BTreeSet<String>,
}

/// Assigns every node a port of each name. A node keeps its ports, unless something else has
/// claimed them.
pub(super) fn allocate(
    facts: &mut Facts,
    names: &[&String],
    others: &Taken,
    candidates: impl Iterator<Item = u16>,
) -> anyhow::Result<()> {
    for node in facts.nodes() {
        if !others.running.contains(&node.process)
            && let Some(ports) = facts.ports.get_mut(&node.process)
        {
            ports.retain(|_, port| !others.claimed.contains(port));
        }
    }
    let mut used = others.refused.clone();
    used.extend(facts.ports.values().flat_map(BTreeMap::values));
    let mut free = candidates.filter(|port| !used.contains(port) && is_free(*port));
    for node in facts.nodes() {
        let ports = facts.ports.entry(node.process).or_default();
        for name in names {
            if ports.contains_key(*name) {
                continue;
            }
            let Some(port) = free.next() else {
                let message = "there are not enough free ports for the nodes of NATS";
                let hint = format!("give them another range: {RANGE_VARIABLE}=FIRST-LAST");
                return Err(Failure::new(Exit::PortTaken, message).hint(hint).into());
            };
            ports.insert((*name).clone(), port);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use service_nats::topology::{HubSpoke, Spec};

    use super::*;

    fn hub() -> Facts {
        let spec = Spec::HubSpoke(HubSpoke {
            hub_region: "iad".to_owned(),
            hub_nodes: 3,
            leaf_regions: Vec::new(),
            leaf_nodes_per_region: 1,
        });
        Facts::default().with_spec(spec)
    }

    /// Returns ports without a listener.
    fn free_ports() -> Vec<u16> {
        let listen = |_| TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let listeners: Vec<TcpListener> = (0..9).map(listen).collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        listeners.iter().map(port).collect()
    }

    fn given(facts: &mut Facts, others: &Taken, candidates: &[u16]) -> Vec<u16> {
        let name = "client".to_owned();
        let candidates = candidates.iter().copied();
        allocate(facts, &[&name], others, candidates).unwrap();
        facts.ports.values().map(|ports| ports["client"]).collect()
    }

    #[test]
    fn a_node_keeps_its_port_unless_somebody_else_has_it_by_now() {
        let free = free_ports();
        let given = |facts: &mut Facts, others: &Taken| given(facts, others, &free);
        let mut facts = hub();
        let first = given(&mut facts, &Taken::default());
        assert_eq!(given(&mut facts.clone(), &Taken::default()), first);
        let mut others = Taken {
            refused: [first[1]].into(),
            ..Taken::default()
        };
        let kept = given(&mut facts.clone(), &others);
        assert_eq!(kept, first, "another instance had it last");
        others.claimed = [first[1]].into();
        let moved = given(&mut facts.clone(), &others);
        assert_eq!((moved[0], moved[2]), (first[0], first[2]));
        assert!(!first.contains(&moved[1]), "{moved:?}");
        others.running = ["nats-hub-2".to_owned()].into();
        assert_eq!(given(&mut facts, &others), first, "it runs");
    }
}
