//! PURE: the further processes of NATS, one per node of its topology.
//!
//! A node is the manifest's process with ports, directories and a name of its own. No entry has
//! another node's address: a change of the topology leaves the entries of other nodes unchanged.

use std::collections::BTreeMap;

use kit::manifest::Condition;
use service_nats::topology::{Facts, Node, Profile, Role, SERVICE, Spec, spec};

use super::hosts::Hosts;
use super::ports::Ports;
use super::process::Resolver;
use super::routes::Routes;
use super::{ENVIRONMENT, Finding, Places, Process, ReadinessCheck, Service, Value, located};
use crate::plan::env::Env;

/// The variable whose specification replaces that of the manifest.
pub const TOPOLOGY_VARIABLE: &str = "CORE_TOPOLOGY_NATS";
/// The variable that selects the profile.
pub const PROFILE_VARIABLE: &str = "CORE_PROFILE";
/// A hub node is ready before it has found the others; plain `/healthz` waits for a majority of
/// nodes.
const HUB_HEALTH: &str = "js-server-only=true";

/// Returns the topology that the inputs request, or what is wrong with it.
pub fn topology(services: &[Service], env: &Env) -> Result<Spec, Vec<Finding>> {
    let mut findings = Vec::new();
    let profile = env.non_empty(PROFILE_VARIABLE).unwrap_or("local");
    let profile = Profile::of(profile).unwrap_or_else(|| {
        let message = format!("must be one of `{}`", Profile::NAMES.join("`, `"));
        findings.push(Finding::of_variable(PROFILE_VARIABLE, message));
        Profile::Local
    });
    let nats = services.iter().find(|service| service.name == SERVICE);
    let declared = nats.map_or(Ok(Spec::SingleNode), |service| {
        let document = &service.document;
        spec::from_config(&document.manifest.config, profile, &document.lines)
            .map_err(|problems| located(&service.file, problems))
    });
    let asked = match env.non_empty(TOPOLOGY_VARIABLE).filter(|_| nats.is_some()) {
        Some(text) => spec::from_json(text, TOPOLOGY_VARIABLE)
            .map(Some)
            .map_err(|mut problems| {
                for problem in &mut problems {
                    problem.line = 0;
                }

                located(ENVIRONMENT, problems)
            }),
        None => Ok(None),
    };
    match (declared, asked) {
        (Ok(declared), Ok(asked)) if findings.is_empty() => Ok(asked.unwrap_or(declared)),
        (declared, asked) => {
            findings.extend(declared.err().into_iter().flatten());
            findings.extend(asked.err().into_iter().flatten());
            Err(findings)
        }
    }
}

/// Adds the name of a node to the names of its variables: `NATS_URL_HUB_1`.
fn exports(process: &str, exports: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let name = process.strip_prefix(SERVICE).unwrap_or(process);
    let suffix = name.to_ascii_uppercase().replace('-', "_");
    let of_node = |(name, text)| (format!("{name}{suffix}"), text);
    exports.into_iter().map(of_node).collect()
}

/// The inputs from which the nodes are resolved.
pub(super) struct Expansion<'a> {
    pub(super) service: &'a Service,
    pub(super) env: &'a Env,
    pub(super) places: &'a Places,
    pub(super) hosts: &'a Hosts,
    pub(super) ports: &'a Ports,
    pub(super) routes: &'a Routes,
    pub(super) facts: &'a Facts,
}

impl Expansion<'_> {
    /// Returns the processes of all nodes. Problems of the manifest itself are reported where the
    /// first process is resolved.
    pub(super) fn processes(&self) -> BTreeMap<String, Process> {
        let nodes = self.facts.nodes().into_iter();
        nodes
            .map(|node| (node.process.clone(), self.process(&node)))
            .collect()
    }

    fn process(&self, node: &Node) -> Process {
        let mut ports = self.ports.clone();
        let own = ports.get(&node.process).cloned().unwrap_or_default();
        ports.insert(SERVICE.to_owned(), own);
        let (env, places, hosts) = (self.env, self.places, self.hosts);
        let mut resolver = Resolver::new(self.service, env, places, hosts, &ports, self.routes);
        let mut process = resolver.process();
        let data = resolver.path(&format!("{}/{}", self.places.data, node.directory));
        let state = resolver.path(&format!("{}/{}", self.places.state, node.process));
        let own = [
            ("NATS_CLUSTER", node.role.word()),
            ("NATS_NODE_ID", &node.name),
            ("NATS_REGION", &node.region),
            ("NATS_DATA_DIR", &data),
            ("NATS_STATE_DIR", &state),
        ];
        for (name, text) in own {
            let value = Value {
                text: text.to_owned(),
                secret: false,
            };
            process.env.insert(name.to_owned(), value);
        }
        process.exports = exports(&node.process, process.exports);
        // The secrets are those of the service, whose first process exports them.
        process.secret_exports.clear();
        // The same settings are checked for the first process.
        process.check = None;
        let (what, depends_on) = match node.role {
            Role::Hub => ("node of the hub", Vec::new()),
            Role::Leaf => ("leaf node", self.facts.seeds()),
        };
        process.description = Some(format!("messaging: {what} in the region {}", node.region));
        process.depends_on = depends_on
            .into_iter()
            .map(|name| (name, Condition::ProcessHealthy))
            .collect();
        if let (Role::Hub, Some(readiness)) = (node.role, &mut process.readiness)
            && let ReadinessCheck::Http { url, .. } = &mut readiness.check
        {
            let base = url.split('?').next().unwrap_or_default();
            *url = format!("{base}?{HUB_HEALTH}");
        }
        process
    }
}
