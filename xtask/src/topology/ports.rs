//! Ports for nodes: given once, and kept.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::Path;

use kit::{Exit, Failure};
use service_nats::topology::Facts;

use crate::env::Env;

/// The variable with another range: `FIRST-LAST`.
const RANGE_VARIABLE: &str = "CORE_TOPOLOGY_PORTS";
/// Where ports are taken from: below those that Linux (32768) and macOS (49152) give to outgoing
/// connections, and above most others.
const RANGE: RangeInclusive<u16> = 30_000..=32_699;
/// Checkouts begin at multiples of this, so that two of them rarely look at the same ports.
const STRIDE: u16 = 50;

/// Gives every node a port of each name. Those it has, it keeps.
pub(super) fn allocate(
    facts: &mut Facts,
    names: &[&String],
    declared: &BTreeSet<u16>,
    candidates: impl Iterator<Item = u16>,
) -> anyhow::Result<()> {
    let mut used = declared.clone();
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

/// All ports that may be given: those of the variable in their order, else those of our own range
/// from a place that depends on the checkout.
pub(super) fn candidates(env: &Env, root: &Path) -> anyhow::Result<Box<dyn Iterator<Item = u16>>> {
    let Some(text) = env.non_empty(RANGE_VARIABLE) else {
        return Ok(Box::new(own_range(root)));
    };
    let range = text.split_once('-').and_then(|(first, last)| {
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        Some(port(first)?..=port(last)?)
    });
    if let Some(range) = range.filter(|range| !range.is_empty()) {
        return Ok(Box::new(range));
    }
    let message = format!("`{RANGE_VARIABLE}` must be two ports, such as 30000-30099");
    Err(Failure::new(Exit::Invalid, message).into())
}

fn own_range(root: &Path) -> impl Iterator<Item = u16> + use<> {
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    let count = RANGE.end() - RANGE.start() + 1;
    let steps = hasher.finish() % u64::from(count / STRIDE);
    let offset = u16::try_from(steps).unwrap_or(0) * STRIDE;
    (0..count).map(move |index| RANGE.start() + (offset + index) % count)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_the_range_is_looked_at_once() {
        for root in ["/a", "/b"] {
            let ports: BTreeSet<u16> = own_range(Path::new(root)).collect();
            assert_eq!(ports.len(), RANGE.len());
            assert!(ports.iter().all(|port| RANGE.contains(port)));
        }
    }

    #[test]
    fn a_range_can_be_given() {
        let given = |text: &str| {
            let env = Env::from_pairs([(RANGE_VARIABLE, text)]);
            candidates(&env, Path::new("/")).map(Iterator::collect::<Vec<u16>>)
        };
        assert_eq!(given("7-9").unwrap(), [7, 8, 9]);
        for bad in ["7", "9-7", "0-3", "a-b", "1-70000"] {
            let error = given(bad).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Invalid, "{bad}");
        }
    }
}
