//! PURE: the durable facts of a topology, and the nodes and addresses that follow from them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::SERVICE;
use super::spec::Spec;

/// The user by which hub nodes connect to each other.
pub(crate) const ROUTE_USER: &str = "route";
/// The user by which leaf nodes connect to the hub.
pub(crate) const LEAF_USER: &str = "leaf";
/// How many hub nodes are given to others as seeds: they learn the rest from them. A constant
/// number, so that a hub that grows changes nothing for others.
const SEEDS: u32 = super::spec::HUB_NODES_MIN;

/// Who decides about the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The manifest, or the variable that replaces it.
    #[default]
    Manifest,
    /// A user, by the record in the database: the manifest is ignored until that changes.
    User,
}

/// Facts that must outlive every process: stored beside the data, with mode 0600.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The topology that was applied last.
    pub spec: Spec,
    /// Who requested it.
    #[serde(default)]
    pub origin: Origin,
    /// Counts the hubs so far: a new one starts with new names and empty directories.
    pub hub_generation: u32,
    /// How many nodes the hub still has while it shrinks to `spec`; 0 otherwise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hub_held: u32,
    /// How often each process of the hub left one that continued. A server that left may not join
    /// under its name for five minutes, so its next one gets a new name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retired: BTreeMap<String, u32>,
    /// Ports by process and name. An assigned port is kept, also while its node is away.
    #[serde(default)]
    pub ports: BTreeMap<String, BTreeMap<String, u16>>,
    /// The password between hub nodes; empty before the first hub.
    #[serde(default)]
    pub route_password: String,
    /// The password of leaf nodes; empty before the first hub.
    #[serde(default)]
    pub leaf_password: String,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            spec: Spec::SingleNode,
            origin: Origin::Manifest,
            hub_generation: 1,
            hub_held: 0,
            retired: BTreeMap::new(),
            ports: BTreeMap::new(),
            route_password: String::new(),
            leaf_password: String::new(),
        }
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("spec", &self.spec)
            .field("origin", &self.origin)
            .field("hub_generation", &self.hub_generation)
            .field("hub_held", &self.hub_held)
            .field("retired", &self.retired)
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

/// The role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A node of the clustered hub.
    Hub,
    /// Serves a region and is connected to the hub.
    Leaf,
}

impl Role {
    /// Returns its word in `NATS_CLUSTER`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Leaf => "leaf",
        }
    }
}

/// A server besides the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The name of its process: `nats-hub-1`, `nats-leaf-lhr`.
    pub process: String,
    /// Its role.
    pub role: Role,
    /// The name of its server: `hub-1`, `leaf-lhr`.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The name of its data directory.
    pub directory: String,
}

impl Facts {
    /// Returns the facts with another topology. After a hub ends, the next one is a new generation.
    /// The nodes of a hub that shrinks stay: they leave one by one, see [`Self::leaving`].
    #[must_use]
    pub fn with_spec(&self, spec: Spec) -> Self {
        let hub_goes = matches!(self.spec, Spec::HubSpoke(_)) && spec == Spec::SingleNode;
        let hub_held = match &spec {
            Spec::HubSpoke(spec) if self.hub_nodes() > spec.hub_nodes => self.hub_nodes(),
            _ => 0,
        };
        Self {
            hub_generation: self.hub_generation + u32::from(hub_goes),
            hub_held,
            spec,
            ..self.clone()
        }
    }

    /// Returns how many nodes the hub has now; 0 without a hub.
    pub fn hub_nodes(&self) -> u32 {
        match &self.spec {
            Spec::SingleNode => 0,
            Spec::HubSpoke(spec) => spec.hub_nodes.max(self.hub_held),
        }
    }

    /// Returns the hub nodes that will leave, in that order.
    pub fn leaving(&self) -> Vec<Node> {
        let Spec::HubSpoke(spec) = &self.spec else {
            return Vec::new();
        };
        let staying = usize::try_from(spec.hub_nodes).unwrap_or(usize::MAX);
        let hub = self.nodes().into_iter();
        let mut leaving: Vec<Node> = hub
            .filter(|node| node.role == Role::Hub)
            .skip(staying)
            .collect();
        leaving.reverse();
        leaving
    }

    /// Returns the hub nodes that will stay.
    pub fn staying(&self) -> Vec<Node> {
        let leaving = self.leaving();
        let nodes = self.nodes().into_iter();
        nodes
            .filter(|node| node.role == Role::Hub && !leaving.contains(node))
            .collect()
    }

    /// Returns the facts after the first leaving node has left.
    #[must_use]
    pub fn without_first_leaving(&self) -> Self {
        let mut facts = self.clone();
        if let (Some(node), Spec::HubSpoke(spec)) = (self.leaving().first(), &self.spec) {
            *facts.retired.entry(node.process.clone()).or_default() += 1;
            let nodes = self.hub_nodes() - 1;
            facts.hub_held = if nodes > spec.hub_nodes { nodes } else { 0 };
        }
        facts
    }

    /// Returns all nodes besides the first server: those of the hub, then the leaves.
    pub fn nodes(&self) -> Vec<Node> {
        let Spec::HubSpoke(spec) = &self.spec else {
            return Vec::new();
        };
        let hub = |number: u32| {
            let process = hub_process(number);
            let retired = self.retired.get(&process).copied().unwrap_or(0);
            let generation = match self.hub_generation + retired {
                1 => String::new(),
                generation => format!("-g{generation}"),
            };
            Node {
                directory: format!("{process}{generation}"),
                process,
                role: Role::Hub,
                name: format!("hub-{number}{generation}"),
                region: spec.hub_region.clone(),
            }
        };
        let mut nodes: Vec<Node> = (1..=self.hub_nodes()).map(hub).collect();
        let regions = spec.leaf_regions.iter();
        let per_region = usize::try_from(spec.leaf_nodes_per_region).unwrap_or(1);
        let regions = regions.flat_map(|region| std::iter::repeat_n(region, per_region));
        nodes.extend(regions.zip(spec.leaf_names()).map(|(region, name)| {
            let process = format!("{SERVICE}-leaf-{name}");
            Node {
                directory: process.clone(),
                process,
                role: Role::Leaf,
                name: format!("leaf-{name}"),
                region: region.clone(),
            }
        }));
        nodes
    }

    /// Returns the processes of the hub nodes that are seeds.
    pub fn seeds(&self) -> Vec<String> {
        match &self.spec {
            Spec::SingleNode => Vec::new(),
            Spec::HubSpoke(_) => (1..=SEEDS).map(hub_process).collect(),
        }
    }

    /// Returns one port of a process, if it is assigned.
    pub fn port(&self, process: &str, name: &str) -> Option<u16> {
        self.ports.get(process)?.get(name).copied()
    }

    /// Returns the addresses by which hub nodes find each other. They contain the password.
    pub fn route_urls(&self) -> Vec<String> {
        let nodes = self.nodes().into_iter();
        let hub = nodes.filter(|node| node.role == Role::Hub);
        let ports = hub.filter_map(|node| self.port(&node.process, "cluster"));
        let url = |port| {
            let password = &self.route_password;
            format!("nats-route://{ROUTE_USER}:{password}@127.0.0.1:{port}")
        };
        ports.map(url).collect()
    }

    /// Returns the addresses by which leaf nodes find the hub, if any. They contain the password.
    pub fn leaf_urls(&self) -> Vec<String> {
        let seeds = self.seeds().into_iter();
        let ports = seeds.filter_map(|process| self.port(&process, "leaf"));
        let url = |port| {
            let password = &self.leaf_password;
            format!("nats-leaf://{LEAF_USER}:{password}@127.0.0.1:{port}")
        };
        ports.map(url).collect()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn hub_process(number: u32) -> String {
    format!("{SERVICE}-hub-{number}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::topology::HubSpoke;

    /// Returns a hub of three and one region, with ports.
    pub(crate) fn hub_of_three() -> Facts {
        let spec = HubSpoke {
            hub_region: "iad".to_owned(),
            hub_nodes: 3,
            leaf_regions: vec!["lhr".to_owned()],
            leaf_nodes_per_region: 1,
        };
        let mut facts = Facts {
            spec: Spec::HubSpoke(spec),
            route_password: "croute".to_owned(),
            leaf_password: "cleaf".to_owned(),
            ..Facts::default()
        };
        for (node, base) in facts.nodes().iter().zip([100, 200, 300, 400]) {
            let ports = [
                ("cluster".to_owned(), base + 1),
                ("leaf".to_owned(), base + 2),
            ];
            facts.ports.insert(node.process.clone(), ports.into());
        }
        facts
    }

    #[test]
    fn nodes_and_addresses() {
        let facts = hub_of_three();
        let names = |facts: &Facts| facts.nodes().into_iter().map(|node| node.name).collect();
        let nodes: Vec<String> = names(&facts);
        assert_eq!(nodes, ["hub-1", "hub-2", "hub-3", "leaf-lhr"]);
        assert_eq!(facts.leaf_urls()[2], "nats-leaf://leaf:cleaf@127.0.0.1:302");
        assert_eq!(
            facts.route_urls()[0],
            "nats-route://route:croute@127.0.0.1:101"
        );
        assert_eq!(facts.route_urls().len(), 3);
        assert!(!format!("{facts:?}").contains("croute"));
    }

    #[test]
    fn a_hub_that_went_comes_back_under_new_names() {
        let gone = hub_of_three().with_spec(Spec::SingleNode);
        assert_eq!(gone.nodes(), []);
        assert_eq!(gone.leaf_urls(), [""; 0]);
        let again = gone.with_spec(hub_of_three().spec);
        assert_eq!(again.nodes()[0].name, "hub-1-g2");
        assert_eq!(again.nodes()[0].directory, "nats-hub-1-g2");
        assert_eq!(again.nodes()[0].process, "nats-hub-1");
        assert_eq!(again.ports, hub_of_three().ports, "ports are kept");
    }

    #[test]
    fn a_hub_shrinks_node_by_node_and_grows_again_under_new_names() {
        let sized = |facts: &Facts, hub_nodes: u32| {
            let Spec::HubSpoke(spec) = hub_of_three().spec else {
                unreachable!()
            };
            facts.with_spec(Spec::HubSpoke(HubSpoke { hub_nodes, ..spec }))
        };
        let names =
            |nodes: Vec<Node>| -> Vec<String> { nodes.into_iter().map(|node| node.name).collect() };
        let five = sized(&hub_of_three(), 5);
        assert_eq!(five.leaving(), []);
        let shrinking = sized(&five, 3);
        assert_eq!(shrinking.nodes(), five.nodes(), "all are there at first");
        assert_eq!(names(shrinking.leaving()), ["hub-5", "hub-4"]);
        assert_eq!(names(shrinking.staying()), ["hub-1", "hub-2", "hub-3"]);
        let four = shrinking.without_first_leaving();
        assert_eq!(names(four.leaving()), ["hub-4"]);
        assert_eq!(four.nodes().len(), 5, "four of the hub and a leaf");
        let three = four.without_first_leaving();
        assert_eq!((three.leaving(), three.hub_held), (Vec::new(), 0));
        assert_eq!(three.without_first_leaving(), three);
        let again = sized(&three, 5);
        let expected = [
            "hub-1", "hub-2", "hub-3", "hub-4-g2", "hub-5-g2", "leaf-lhr",
        ];
        assert_eq!(names(again.nodes()), expected);
        assert_eq!(again.nodes()[4].directory, "nats-hub-5-g2");
        let gone = sized(&again.with_spec(Spec::SingleNode), 5);
        assert_eq!(gone.nodes()[0].name, "hub-1-g2");
        assert_eq!(gone.nodes()[4].name, "hub-5-g3", "never a name twice");
        assert_eq!(shrinking.with_spec(Spec::SingleNode).hub_held, 0);
    }

    #[test]
    fn facts_read_back() {
        let text = serde_json::to_string(&hub_of_three()).unwrap();
        let again: Facts = serde_json::from_str(&text).unwrap();
        assert_eq!(again, hub_of_three());
    }
}
