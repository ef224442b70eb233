//! PURE: which number each port receives, from requested numbers, held ones and those of others.

use std::collections::{BTreeMap, BTreeSet};

use kit::{Exit, Failure};

use super::range::RANGE_VARIABLE;
use crate::plan::env::Env;

/// The variable that selects the policy.
pub const POLICY_VARIABLE: &str = "CORE_PORTS";

/// How the ports of an instance that starts are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The requested ones, or an error.
    Fixed,
    /// The requested ones; if another instance has one, a free one, the same at each start.
    Sticky,
    /// Free ones, chosen again at each start.
    Auto,
}

impl Policy {
    /// Their names in the variable.
    pub const NAMES: [&str; 3] = ["fixed", "auto", "sticky"];

    /// Returns the policy that the variable selects.
    pub(super) fn of(env: &Env) -> anyhow::Result<Self> {
        match env.non_empty(POLICY_VARIABLE) {
            None | Some("sticky") => Ok(Self::Sticky),
            Some("fixed") => Ok(Self::Fixed),
            Some("auto") => Ok(Self::Auto),
            Some(_) => {
                let names = Self::NAMES.join("`, `");
                let message = format!("`{POLICY_VARIABLE}` must be one of `{names}`");
                Err(Failure::new(Exit::Invalid, message)
                    .hint(format!("leave it out, or {POLICY_VARIABLE}=sticky"))
                    .into())
            }
        }
    }
}

/// A port that requests a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// `SERVICE.PORT`.
    pub(super) key: String,
    /// The requested number.
    pub(super) wanted: u16,
    /// Whether the user requires this number.
    pub(super) pinned: bool,
}

/// The number of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    /// The requested number.
    pub(super) wanted: u16,
    /// The assigned number.
    pub(super) given: u16,
}

/// The present assignments.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// The ports of this instance, while it is running. They stay: to move one would restart every
    /// process that uses it.
    pub(super) held: BTreeMap<String, Lease>,
    /// The last ports of this instance.
    pub(super) last: BTreeMap<String, u16>,
    /// The ports of other instances that are alive.
    pub(super) living: BTreeSet<u16>,
    /// The last ports of other instances.
    pub(super) resting: BTreeSet<u16>,
    /// The ports that the topology reserves for nodes of this checkout, whether they exist or not.
    pub(super) kept: BTreeSet<u16>,
}

/// Assigns a number to each port. A requested one that a foreign program holds is assigned
/// nevertheless: the start then reports the conflict to the user.
pub(super) fn assign(
    policy: Policy,
    asks: &[Ask],
    present: &Present,
    candidates: impl Iterator<Item = u16>,
    is_free: impl Fn(u16) -> bool,
) -> anyhow::Result<BTreeMap<String, u16>> {
    let mut given = BTreeMap::new();
    let mut moving = Vec::new();
    for ask in asks {
        let held = present.held.get(&ask.key);
        let held = held.filter(|held| held.wanted == ask.wanted);
        let stays = match policy {
            Policy::Fixed => true,
            Policy::Sticky => !present.living.contains(&ask.wanted),
            Policy::Auto => false,
        };
        match held {
            _ if ask.pinned => given.insert(ask.key.clone(), ask.wanted),
            Some(held) => given.insert(ask.key.clone(), held.given),
            None if stays => given.insert(ask.key.clone(), ask.wanted),
            None => {
                moving.push(ask);
                None
            }
        };
    }
    // No port receives the requested number of another one, which may return to it.
    let mut used: BTreeSet<u16> = asks.iter().map(|ask| ask.wanted).collect();
    used.extend(given.values());
    used.extend(&present.kept);
    let is_usable = |port: u16| !present.living.contains(&port) && is_free(port);
    if policy == Policy::Sticky {
        moving.retain(|ask| match present.last.get(&ask.key) {
            Some(last) if !used.contains(last) && is_usable(*last) => {
                used.insert(*last);
                given.insert(ask.key.clone(), *last);
                false
            }
            _ => true,
        });
    }
    // Numbers without an owner come first, so that other instances find their last ones again.
    let (mut fresh, mut second) = (candidates, Vec::new());
    for ask in moving {
        let next = fresh.find(|port| {
            let rests = present.resting.contains(port);
            if rests {
                second.push(*port);
            }
            !rests && !used.contains(port) && is_usable(*port)
        });
        let reused = || {
            let position = second
                .iter()
                .position(|port| !used.contains(port) && is_usable(*port));
            position.map(|position| second[position])
        };
        let port = next.or_else(reused).ok_or_else(|| {
            let message = "there are not enough free ports for this instance";
            let hint = format!("give it another range: {RANGE_VARIABLE}=FIRST-LAST");
            Failure::new(Exit::PortTaken, message).hint(hint)
        })?;
        used.insert(port);
        given.insert(ask.key.clone(), port);
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(key: &str, wanted: u16) -> Ask {
        Ask {
            key: key.to_owned(),
            wanted,
            pinned: false,
        }
    }

    fn asks() -> [Ask; 2] {
        [ask("nats.client", 4222), ask("caddy.http", 2015)]
    }

    fn leases(pairs: &[(&str, u16)]) -> BTreeMap<String, u16> {
        let pair = |(key, port): &(&str, u16)| ((*key).to_owned(), *port);
        pairs.iter().map(pair).collect()
    }

    /// Assigns from the candidates 10 to 14, of which 11 is not free, nor is 4222.
    fn assigned(policy: Policy, asks: &[Ask], present: &Present) -> BTreeMap<String, u16> {
        assign(policy, asks, present, 10..=14, |port| {
            ![11, 4222].contains(&port)
        })
        .unwrap()
    }

    #[test]
    fn the_first_instance_gets_what_it_wishes() {
        // Also a number that a foreign program holds.
        let expected = leases(&[("caddy.http", 2015), ("nats.client", 4222)]);
        for policy in [Policy::Sticky, Policy::Fixed] {
            assert_eq!(assigned(policy, &asks(), &Present::default()), expected);
        }
    }

    #[test]
    fn what_another_instance_has_moves() {
        let mut present = Present {
            living: [4222, 10].into(),
            ..Present::default()
        };
        let moved = leases(&[("caddy.http", 2015), ("nats.client", 12)]);
        assert_eq!(assigned(Policy::Sticky, &asks(), &present), moved);
        let fixed = assigned(Policy::Fixed, &asks(), &present);
        assert_eq!(fixed["nats.client"], 4222);
        // The same number at the next start.
        present.last = leases(&[("caddy.http", 2015), ("nats.client", 14)]);
        let again = assigned(Policy::Sticky, &asks(), &present);
        assert_eq!(again["nats.client"], 14);
        // It returns to the requested number as soon as the other instance is gone.
        present.living.clear();
        let back = assigned(Policy::Sticky, &asks(), &present);
        assert_eq!(back["nats.client"], 4222);
    }

    #[test]
    fn a_number_that_was_had_last_is_left_when_it_is_taken() {
        for (last, because) in [
            (11, "not free"),
            (13, "leased"),
            (2015, "wished by another"),
        ] {
            let present = Present {
                living: [4222, 13].into(),
                last: leases(&[("nats.client", last)]),
                ..Present::default()
            };
            let given = assigned(Policy::Sticky, &asks(), &present);
            assert_eq!(given["nats.client"], 10, "{because}");
        }
    }

    #[test]
    fn what_others_had_last_is_given_only_when_nothing_else_is_left() {
        let mut present = Present {
            living: [4222, 2015].into(),
            resting: [10, 12, 14].into(),
            ..Present::default()
        };
        let given = assigned(Policy::Sticky, &asks(), &present);
        assert_eq!(given, leases(&[("caddy.http", 10), ("nats.client", 13)]));
        present.resting.extend([11, 13]);
        let given = assigned(Policy::Sticky, &asks(), &present);
        assert_eq!(given, leases(&[("caddy.http", 12), ("nats.client", 10)]));
        present.living.extend(10..=13);
        let error = assign(Policy::Sticky, &asks(), &present, 10..=14, |_| true).unwrap_err();
        assert_eq!(kit::failure::exit_of(&error), Exit::PortTaken);
    }

    #[test]
    fn what_the_topology_keeps_for_nodes_is_given_to_no_service() {
        // The ports have no listener while the nodes are away.
        let mut present = Present {
            living: [4222, 2015].into(),
            kept: [10, 12].into(),
            last: leases(&[("nats.client", 12)]),
            ..Present::default()
        };
        for policy in [Policy::Sticky, Policy::Auto] {
            let given = assigned(policy, &asks(), &present);
            assert_eq!(given, leases(&[("caddy.http", 14), ("nats.client", 13)]));
        }
        // Even if all remaining numbers belonged to other instances.
        present.resting = [10, 13, 14].into();
        let given = assigned(Policy::Sticky, &asks(), &present);
        assert_eq!(given, leases(&[("caddy.http", 14), ("nats.client", 13)]));
        // A service receives a number that it requires: the node moves.
        present.living.clear();
        present.kept = [4222].into();
        assert_eq!(
            assigned(Policy::Sticky, &asks(), &present)["nats.client"],
            4222
        );
    }

    #[test]
    fn auto_takes_free_ones_and_leaves_what_is_pinned() {
        let mut asks = asks();
        asks[0].pinned = true;
        let given = assigned(Policy::Auto, &asks, &Present::default());
        assert_eq!(given, leases(&[("caddy.http", 10), ("nats.client", 4222)]));
    }

    #[test]
    fn a_running_instance_keeps_its_ports_until_other_ones_are_wished() {
        let held = |wanted, given| Lease { wanted, given };
        let present = Present {
            held: [
                ("nats.client".to_owned(), held(4222, 13)),
                ("caddy.http".to_owned(), held(2015, 2015)),
            ]
            .into(),
            ..Present::default()
        };
        for policy in [Policy::Fixed, Policy::Sticky, Policy::Auto] {
            let given = assigned(policy, &asks(), &present);
            assert_eq!(given, leases(&[("caddy.http", 2015), ("nats.client", 13)]));
        }
        let wished = [ask("nats.client", 5000), ask("caddy.http", 2015)];
        let given = assigned(Policy::Sticky, &wished, &present);
        assert_eq!(given["nats.client"], 5000);
    }
}
