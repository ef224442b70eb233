//! Ports for nodes: given once, and kept.

use std::collections::{BTreeMap, BTreeSet};

use kit::{Exit, Failure};
use service_nats::topology::Facts;

use crate::instances::range::is_free;

/// The variable with another range for nodes alone: `FIRST-LAST`.
pub(super) const RANGE_VARIABLE: &str = "CORE_TOPOLOGY_PORTS";

/// Gives every node a port of each name. Those it has, it keeps. `taken` are those of services
/// and of other instances.
pub(super) fn allocate(
    facts: &mut Facts,
    names: &[&String],
    taken: &BTreeSet<u16>,
    candidates: impl Iterator<Item = u16>,
) -> anyhow::Result<()> {
    let mut used = taken.clone();
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
