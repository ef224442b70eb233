//! Joins the first server to the hub and disconnects it again, by a verified reload in place.
//!
//! The server reads the hub from the durable facts; its process keeps running. Must not write the
//! facts or the server's files.

use std::collections::BTreeSet;
use std::time::Duration;

use kit::{Exit, Failure};
use serde_json::Value;
use service_nats::topology::{Facts, Role, SERVICE, Spec, remotes_in};

use super::hub::{Hub, Look};
use super::wrapper;
use crate::base::interrupt::Interrupt;
use crate::checkout::paths::Paths;
use crate::plan::stack::Stack;
use crate::supervisor::client::Client;

/// How long the hub and its leaf nodes may take to connect. A hub whose nodes were all restarted
/// elects its leader after 4 to 9 s.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The link between the first server of a stack and the hub.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    paths: &'a Paths,
    stack: &'a Stack,
    facts: &'a Facts,
}

impl<'a> Link<'a> {
    /// Creates the link that `facts` define.
    pub fn new(paths: &'a Paths, stack: &'a Stack, facts: &'a Facts) -> Self {
        Self {
            paths,
            stack,
            facts,
        }
    }

    /// Whether there is no link, or NATS is not among the selected services.
    pub fn is_alone(&self) -> bool {
        let mut processes = self.stack.processes.values();
        self.facts.spec == Spec::SingleNode || processes.all(|p| p.service != SERVICE)
    }

    /// Whether the server runs with the wanted link. A server without a configuration will start
    /// with it.
    pub fn is_current(&self) -> bool {
        let config = wrapper::config(self.paths, self.stack, SERVICE);
        config.is_none_or(|config| remotes_in(&config) == self.facts.leaf_urls())
    }

    /// Reloads the server's configuration and waits until it is in effect.
    pub fn reload(&self, client: &Client) -> anyhow::Result<()> {
        let limit = wrapper::RELOAD_TIMEOUT;
        wrapper::reload(client, self.paths, self.stack, SERVICE, limit)
    }

    /// Waits until the hub has a leader that reports every node as current, until every leaf node,
    /// also the first server, is joined to it, and until its streams have leaders.
    pub fn wait_until_joined(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let hub = Hub::new(self.facts)?;
        let mut missing = Vec::new();
        let mut recovered = false;
        let waited = hub.wait("", JOIN_TIMEOUT, interrupt, |look| {
            missing = self.missing(&hub, look);
            recovered = look.leaderless().is_empty();
            Ok(missing.is_empty() && recovered)
        });
        match waited {
            // A stream that never has a leader again must not block everything else.
            Err(error) if kit::failure::exit_of(&error) == Exit::Timeout => {
                if missing.is_empty() {
                    return Ok(());
                }
                let message = format!(
                    "the hub of NATS was not complete within {} s: {}",
                    JOIN_TIMEOUT.as_secs(),
                    missing.join(", ")
                );
                let log = self.paths.process_log("nats-hub-1");
                let log = if log.exists() { log } else { self.paths.logs() };
                let hint = format!("look into `{}`", self.paths.shown(&log));
                Err(Failure::new(Exit::Timeout, message).hint(hint).into())
            }
            waited => waited.map(drop),
        }
    }

    /// Describes what is not joined yet.
    fn missing(&self, hub: &Hub<'_>, look: &Look) -> Vec<String> {
        let mut missing = Vec::new();
        if !look.is_complete() {
            missing.push("its nodes have not found each other".to_owned());
        }
        let joined: BTreeSet<String> = hub.ask("/leafz").values().flat_map(leaves).collect();
        let nodes = self.facts.nodes().into_iter();
        let leaf_nodes = nodes.filter(|node| node.role == Role::Leaf);
        let mut wanted: Vec<String> = leaf_nodes.map(|node| node.name).collect();
        if wrapper::state_dir(self.paths, self.stack, SERVICE).is_some() {
            wanted.push(SERVICE.to_owned());
        }
        let away = wanted.into_iter().filter(|name| !joined.contains(name));
        missing.extend(away.map(|name| format!("`{name}` is not joined")));
        missing
    }
}

/// Returns the names of the servers that are joined as leaf nodes.
fn leaves(leafz: &Value) -> Vec<String> {
    let leaves = leafz["leafs"].as_array().into_iter().flatten();
    let names = leaves.filter_map(|leaf| leaf["name"].as_str());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_are_named() {
        let leafz = json!({"leafs": [{"name": "nats"}, {"name": "leaf-lhr"}]});
        assert_eq!(leaves(&leafz), ["nats", "leaf-lhr"]);
        assert_eq!(leaves(&Value::Null), [""; 0]);
    }
}
