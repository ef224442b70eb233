//! PURE: a specification of the topology, from a manifest or from its own JSON, strictly checked.
//!
//! All errors are reported at once, each with its place.

use std::collections::BTreeSet;

use kit::manifest::{Config, Lines, Problem};
use kit::names;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The fewest hub nodes: with two, the loss of one stops the hub.
pub const HUB_NODES_MIN: u32 = 3;
/// The most hub nodes: each write waits for a majority of them.
const HUB_NODES_MAX: u32 = 9;
/// The most nodes of one region, all of them on this machine.
const LEAF_NODES_MAX: u32 = 9;
/// The most regions: their ports come from one range.
const REGIONS_MAX: usize = 32;
/// The hub's region by default.
const REGION_DEFAULT: &str = "local";
/// The JetStream domains of `nats` and of the hub, which no region may use as its name.
const RESERVED: [&str; 2] = ["core", "hub"];
/// The two topologies.
const TOPOLOGIES: [&str; 2] = ["single-node", "hub-spoke"];

/// The servers of a topology.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "topology", rename_all = "kebab-case")]
pub enum Spec {
    /// One server alone.
    #[default]
    SingleNode,
    /// That server, a clustered hub, and leaf nodes in regions.
    HubSpoke(HubSpoke),
}

/// A hub and its leaf nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSpoke {
    /// The region of the hub.
    pub hub_region: String,
    /// The number of its nodes; odd, and at least [`HUB_NODES_MIN`].
    pub hub_nodes: u32,
    /// Regions with leaf nodes.
    pub leaf_regions: Vec<String>,
    /// The number of leaf nodes in each of them.
    pub leaf_nodes_per_region: u32,
}

/// The part of a manifest's `config.deployment` that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `topology` and `deployment.local`.
    Local,
    /// `deployment.production`, which is always a hub with leaf nodes.
    Production,
}

impl Profile {
    /// Returns the names of all profiles.
    pub const NAMES: [&str; 2] = ["local", "production"];

    /// Returns the profile of a name.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "local" => Some(Self::Local),
            "production" => Some(Self::Production),
            _ => None,
        }
    }
}

/// Reads the topology from the `config` of a manifest. Both profiles are checked, whichever
/// applies.
pub fn from_config(config: &Config, profile: Profile, lines: &Lines) -> Result<Spec, Vec<Problem>> {
    let mut found = Found::new(lines);
    let root = Section::new("config", config);
    found.check_keys(&root, &["jetstream", "topology", "deployment"]);
    let deployment = found.section(&root, "deployment");
    found.check_keys(&deployment, &["local", "production"]);
    let local = found.section(&deployment, "local");
    let keys = [
        "nodes",
        "hub_region",
        "leaf_regions",
        "leaf_nodes_per_region",
    ];
    found.check_keys(&local, &keys);
    let production = found.section(&deployment, "production");
    let keys = [
        "hub_region",
        "leaf_regions",
        "min_hub_nodes",
        "leaf_nodes_per_region",
    ];
    found.check_keys(&production, &keys);

    let hub_spoke = found.topology(&root).unwrap_or(false);
    let nodes_min = found
        .hub_nodes(&production, "min_hub_nodes", HUB_NODES_MIN)
        .unwrap_or(HUB_NODES_MIN);
    let there = found.hub_and_leaves(&production, nodes_min, REGION_DEFAULT);
    let nodes = if hub_spoke {
        found.hub_nodes(&local, "nodes", nodes_min)
    } else {
        found.one_node(&local);
        None
    };
    let here = found.hub_and_leaves(&local, nodes.unwrap_or(nodes_min), &there.hub_region);
    if hub_spoke && nodes.is_none() && !local.has("nodes") {
        let message = format!("is missing: a hub has {nodes_min} nodes or more, an odd number");
        found.add(&local, "nodes", message);
    }
    let spec = match (profile, hub_spoke) {
        (Profile::Production, _) => Spec::HubSpoke(there),
        (Profile::Local, true) => Spec::HubSpoke(here),
        (Profile::Local, false) => Spec::SingleNode,
    };
    found.finish(spec)
}

/// Parses a specification in its own format, `{"topology": "hub-spoke", "hub_nodes": 3, ...}`. `at`
/// is the prefix of the paths of problems.
pub fn from_json(text: &str, at: &str) -> Result<Spec, Vec<Problem>> {
    let lines = Lines::default();
    let mut found = Found::new(&lines);
    let whole = |message: String| {
        vec![Problem {
            line: 0,
            path: at.to_owned(),
            message,
        }]
    };
    let value: Value =
        serde_json::from_str(text).map_err(|error| whole(format!("is not valid JSON: {error}")))?;
    let Value::Object(object) = value else {
        return Err(whole("must be a JSON object".to_owned()));
    };
    let root = Section::new(at, &object);
    let Some(hub_spoke) = found.topology(&root) else {
        if !root.has("topology") {
            found.add(&root, "topology", "is missing");
        }
        return found.finish(Spec::SingleNode);
    };
    if !hub_spoke {
        found.check_keys(&root, &["topology"]);
        return found.finish(Spec::SingleNode);
    }
    let keys = [
        "topology",
        "hub_region",
        "hub_nodes",
        "leaf_regions",
        "leaf_nodes_per_region",
    ];
    found.check_keys(&root, &keys);
    let nodes = found.hub_nodes(&root, "hub_nodes", HUB_NODES_MIN);
    if nodes.is_none() && !root.has("hub_nodes") {
        found.add(&root, "hub_nodes", "is missing");
    }
    let spec = found.hub_and_leaves(&root, nodes.unwrap_or(HUB_NODES_MIN), REGION_DEFAULT);
    found.finish(Spec::HubSpoke(spec))
}

/// An object and its place.
struct Section<'a> {
    path: String,
    object: Option<&'a Map<String, Value>>,
}

impl<'a> Section<'a> {
    fn new(path: &str, object: &'a Map<String, Value>) -> Self {
        Self {
            path: path.to_owned(),
            object: Some(object),
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object?.get(key)
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }
}

/// Collects problems.
struct Found<'a> {
    lines: &'a Lines,
    problems: Vec<Problem>,
}

impl<'a> Found<'a> {
    fn new(lines: &'a Lines) -> Self {
        Self {
            lines,
            problems: Vec::new(),
        }
    }

    fn finish(self, spec: Spec) -> Result<Spec, Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(spec)
        } else {
            Err(self.problems)
        }
    }

    fn add(&mut self, section: &Section<'_>, key: &str, message: impl Into<String>) {
        let problem = self.lines.problem(section.at(key), message);
        self.problems.push(problem);
    }

    fn check_keys(&mut self, section: &Section<'_>, allowed: &[&str]) {
        for key in section.object.into_iter().flat_map(Map::keys) {
            if !allowed.contains(&key.as_str()) {
                let message = match names::nearest(key, allowed.iter().copied()) {
                    Some(meant) => format!("is unknown; did you mean `{meant}`?"),
                    None => format!("is unknown; there are `{}`", allowed.join("`, `")),
                };
                self.add(section, key, message);
            }
        }
    }

    fn section<'s>(&mut self, parent: &Section<'s>, key: &str) -> Section<'s> {
        let object = match parent.get(key) {
            None => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => {
                self.add(parent, key, "must be an object");
                None
            }
        };
        Section {
            path: parent.at(key),
            object,
        }
    }

    /// Whether the topology is `hub-spoke`; `None` when it is missing or invalid.
    fn topology(&mut self, section: &Section<'_>) -> Option<bool> {
        let value = section.get("topology")?;
        match value.as_str() {
            Some("single-node") => Some(false),
            Some("hub-spoke") => Some(true),
            other => {
                let meant = other.and_then(|name| names::nearest(name, TOPOLOGIES));
                let message = meant.map_or_else(
                    || "must be `single-node` or `hub-spoke`".to_owned(),
                    |meant| format!("is unknown; did you mean `{meant}`?"),
                );
                self.add(section, "topology", message);
                None
            }
        }
    }

    fn count(&mut self, section: &Section<'_>, key: &str, max: u32) -> Option<u32> {
        let value = section.get(key)?;
        let count = value
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| (1..=max).contains(count));
        if count.is_none() {
            let message = format!("is {value}, but must be a whole number, 1 to {max}");
            self.add(section, key, message);
        }
        count
    }

    fn hub_nodes(&mut self, section: &Section<'_>, key: &str, min: u32) -> Option<u32> {
        let count = self.count(section, key, HUB_NODES_MAX)?;
        if count >= min && count % 2 == 1 {
            return Some(count);
        }
        let message = format!("is {count}, but a hub has {min} nodes or more, an odd number");
        self.add(section, key, message);
        None
    }

    fn one_node(&mut self, local: &Section<'_>) {
        if let Some(count) = self.count(local, "nodes", HUB_NODES_MAX)
            && count != 1
        {
            let message = format!("is {count}, but `topology` `single-node` has one node");
            self.add(local, "nodes", message);
        }
    }

    fn hub_and_leaves(&mut self, section: &Section<'_>, nodes: u32, default: &str) -> HubSpoke {
        let hub_region = match section.get("hub_region") {
            None => default.to_owned(),
            Some(value) => self
                .region(section, "hub_region", value)
                .unwrap_or_default(),
        };
        let mut regions = Vec::new();
        match section.get("leaf_regions") {
            None => {}
            Some(Value::Array(values)) if values.len() > REGIONS_MAX => {
                let message = format!("names more than {REGIONS_MAX} regions");
                self.add(section, "leaf_regions", message);
            }
            Some(Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    let key = format!("leaf_regions[{index}]");
                    let region = self.region(section, &key, value);
                    let Some(region) = region else { continue };
                    if region == hub_region {
                        let message = format!("is `{region}`, which is the region of the hub");
                        self.add(section, &key, message);
                    } else if regions.contains(&region) {
                        self.add(section, &key, format!("names `{region}` again"));
                    } else {
                        regions.push(region);
                    }
                }
            }
            Some(_) => self.add(section, "leaf_regions", "must be a list of names"),
        }
        let per_region = self
            .count(section, "leaf_nodes_per_region", LEAF_NODES_MAX)
            .unwrap_or(1);
        let spec = HubSpoke {
            hub_region,
            hub_nodes: nodes,
            leaf_regions: regions,
            leaf_nodes_per_region: per_region,
        };
        self.check_twins(section, &spec);
        spec
    }

    /// The second node of `a` and the first of `a-2` would be the same process.
    fn check_twins(&mut self, section: &Section<'_>, spec: &HubSpoke) {
        let mut seen = BTreeSet::new();
        for name in spec.leaf_names() {
            if !seen.insert(name.clone()) {
                let message = format!("would give two nodes the name `{name}`");
                self.add(section, "leaf_regions", message);
            }
        }
    }

    fn region(&mut self, section: &Section<'_>, key: &str, value: &Value) -> Option<String> {
        let Some(name) = value.as_str() else {
            self.add(section, key, "must be a name");
            return None;
        };
        let problem = names::problem(name).map(str::to_owned).or_else(|| {
            let reserved = RESERVED.contains(&name) && key != "hub_region";
            reserved.then(|| "is a name that Core uses itself".to_owned())
        });
        match problem {
            None => Some(name.to_owned()),
            Some(problem) => {
                self.add(section, key, format!("is `{name}`, which {problem}"));
                None
            }
        }
    }
}

impl Spec {
    /// Returns the arguments of `topology set` that request it.
    pub fn arguments(&self) -> String {
        let Self::HubSpoke(hub) = self else {
            return "--single-node".to_owned();
        };
        let leaf = if hub.leaf_regions.is_empty() {
            "--no-leaf".to_owned()
        } else {
            format!("--leaf {}", hub.leaf_regions.join(","))
        };
        format!(
            "--hub-nodes {} --hub-region {} {leaf} --leaf-nodes {}",
            hub.hub_nodes, hub.hub_region, hub.leaf_nodes_per_region
        )
    }
}

impl HubSpoke {
    /// Returns the names of the leaf nodes: the first in a region has its name, the others a number
    /// after it.
    pub fn leaf_names(&self) -> Vec<String> {
        let of_region = |region: &String| {
            let name = |node: u32| match node {
                1 => region.clone(),
                _ => format!("{region}-{node}"),
            };
            (1..=self.leaf_nodes_per_region)
                .map(name)
                .collect::<Vec<_>>()
        };
        self.leaf_regions.iter().flat_map(of_region).collect()
    }
}

#[cfg(test)]
mod tests;
