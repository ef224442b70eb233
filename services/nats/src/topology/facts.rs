//! PURE: the durable facts of a topology, and the nodes and addresses that follow from them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::SERVICE;
use super::spec::Spec;

/// The user that hub nodes greet each other as.
pub(crate) const ROUTE_USER: &str = "route";
/// The user that leaf nodes come to the hub as.
pub(crate) const LEAF_USER: &str = "leaf";
/// How many hub nodes others begin with: they learn of the rest from them. A constant number, so
/// that a hub that grows changes nothing for others.
const SEEDS: u32 = super::spec::HUB_NODES_MIN;

/// Who decides about the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The manifest, or the variable that takes its place.
    #[default]
    Manifest,
    /// A user, by the record in the database: the manifest does not count until it is given back.
    User,
}

/// What must outlive every process: kept beside the data, with mode 0600.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The topology that was applied last.
    pub spec: Spec,
    /// Who asked for it.
    #[serde(default)]
    pub origin: Origin,
    /// Counts the hubs that there were: a new one begins with new names and empty directories.
    pub hub_generation: u32,
    /// Ports by process and name. Once given, a port is kept, also while its node is away.
    #[serde(default)]
    pub ports: BTreeMap<String, BTreeMap<String, u16>>,
    /// The password of hub nodes among each other; empty before the first hub.
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
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is one of the clustered hub.
    Hub,
    /// It serves a region and is joined to the hub.
    Leaf,
}

impl Role {
    /// The word for it, as `NATS_CLUSTER` has it.
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
    /// What it does.
    pub role: Role,
    /// The name of its server: `hub-1`, `leaf-lhr`.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// The name of its data directory.
    pub directory: String,
}

impl Facts {
    /// The same with another topology. When the hub goes, the next one is a new generation.
    #[must_use]
    pub fn with_spec(&self, spec: Spec) -> Self {
        let hub_goes = matches!(self.spec, Spec::HubSpoke(_)) && spec == Spec::SingleNode;
        Self {
            hub_generation: self.hub_generation + u32::from(hub_goes),
            spec,
            ..self.clone()
        }
    }

    /// All nodes besides the first server: those of the hub, then the leaves.
    pub fn nodes(&self) -> Vec<Node> {
        let Spec::HubSpoke(spec) = &self.spec else {
            return Vec::new();
        };
        let generation = match self.hub_generation {
            1 => String::new(),
            generation => format!("-g{generation}"),
        };
        let hub = |number: u32| Node {
            process: hub_process(number),
            role: Role::Hub,
            name: format!("hub-{number}{generation}"),
            region: spec.hub_region.clone(),
            directory: format!("{}{generation}", hub_process(number)),
        };
        let mut nodes: Vec<Node> = (1..=spec.hub_nodes).map(hub).collect();
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

    /// The processes of the hub that others begin with.
    pub fn seeds(&self) -> Vec<String> {
        match &self.spec {
            Spec::SingleNode => Vec::new(),
            Spec::HubSpoke(_) => (1..=SEEDS).map(hub_process).collect(),
        }
    }

    /// One port of a process, if it was given one.
    pub fn port(&self, process: &str, name: &str) -> Option<u16> {
        self.ports.get(process)?.get(name).copied()
    }

    /// The addresses by which hub nodes find each other. They hold the password.
    pub(crate) fn route_urls(&self) -> Vec<String> {
        let nodes = self.nodes().into_iter();
        let hub = nodes.filter(|node| node.role == Role::Hub);
        let ports = hub.filter_map(|node| self.port(&node.process, "cluster"));
        let url = |port| {
            let password = &self.route_password;
            format!("nats-route://{ROUTE_USER}:{password}@127.0.0.1:{port}")
        };
        ports.map(url).collect()
    }

    /// The addresses by which leaf nodes find the hub; none without a hub. They hold the password.
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

fn hub_process(number: u32) -> String {
    format!("{SERVICE}-hub-{number}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::topology::HubSpoke;

    /// A hub of three and one region, with ports.
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
    fn facts_read_back() {
        let text = serde_json::to_string(&hub_of_three()).unwrap();
        let again: Facts = serde_json::from_str(&text).unwrap();
        assert_eq!(again, hub_of_three());
    }
}
