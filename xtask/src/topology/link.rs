//! Joining the first server to the hub and parting it again, by a reload in place, with proof.
//!
//! The server learns of the hub from the durable facts; its process keeps running. Must not write
//! the facts or the server's files.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kit::http::{self, Endpoint};
use kit::{Exit, Failure};
use serde::Deserialize;
use serde_json::Value;
use service_nats::topology::{CONFIG_FILE, Facts, RELOAD_REPORT, Role, SERVICE, Spec, remotes_in};
use tokio::runtime::Runtime;

use super::RELOAD_SIGNAL;
use crate::interrupt::Interrupt;
use crate::paths::Paths;
use crate::stack::Stack;
use crate::supervisor::client::Client;

/// How long the wrapper may take: two limits of 5 s of its own, and some room.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(12);
/// How often its report is looked at; a reload takes some 20 ms.
const RELOAD_POLL: Duration = Duration::from_millis(2);
/// How long the hub and its leaves may take to find each other. A hub whose nodes all start
/// again elects its leader after 4 to 9 s.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the hub is looked at.
const JOIN_POLL: Duration = Duration::from_millis(20);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The first server of a stack and what it is to be joined to.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    paths: &'a Paths,
    stack: &'a Stack,
    facts: &'a Facts,
}

/// The outcome of a reload, as the wrapper writes it.
#[derive(Debug, Default, Deserialize)]
struct Report {
    wrapper: i64,
    count: u64,
    error: Option<String>,
}

/// What a look at the hub found.
struct Seen {
    /// What is not joined yet, in words.
    missing: Vec<String>,
    /// Whether every stream has a leader.
    recovered: bool,
}

impl<'a> Link<'a> {
    /// The link that `facts` ask for.
    pub fn new(paths: &'a Paths, stack: &'a Stack, facts: &'a Facts) -> Self {
        Self {
            paths,
            stack,
            facts,
        }
    }

    /// Whether no link is wanted, or NATS is not among the services that were chosen.
    pub fn is_alone(&self) -> bool {
        let mut processes = self.stack.processes.values();
        self.facts.spec == Spec::SingleNode || processes.all(|p| p.service != SERVICE)
    }

    /// Whether the server runs with the link that is wanted. One that has no configuration yet
    /// will begin with it.
    pub fn is_current(&self) -> bool {
        let Some(directory) = self.state_dir() else {
            return true;
        };
        match fs::read_to_string(directory.join(CONFIG_FILE)) {
            Ok(config) => remotes_in(&config) == self.facts.leaf_urls(),
            Err(_) => true,
        }
    }

    /// Lets the server read its configuration anew and waits until it has.
    pub fn reload(&self, client: &Client) -> anyhow::Result<()> {
        let directory = self
            .state_dir()
            .context("the manifest of `nats` names no NATS_STATE_DIR")?;
        let report = || -> Report {
            let bytes = fs::read(directory.join(RELOAD_REPORT)).unwrap_or_default();
            serde_json::from_slice(&bytes).unwrap_or_default()
        };
        let states = client.processes()?;
        let wrapper = states.get(SERVICE).map_or(0, |state| i64::from(state.pid));
        let count = |report: &Report| {
            if report.wrapper == wrapper {
                report.count
            } else {
                0
            }
        };
        let before = count(&report());
        client.signal(SERVICE, RELOAD_SIGNAL)?;
        let deadline = Instant::now() + RELOAD_TIMEOUT;
        loop {
            let report = report();
            if count(&report) > before {
                return match report.error {
                    None => Ok(()),
                    Some(error) => bail!("`nats` did not take its new remotes: {error}"),
                };
            }
            if Instant::now() >= deadline {
                let message = format!(
                    "`nats` did not reload within {} s",
                    RELOAD_TIMEOUT.as_secs()
                );
                return Err(Failure::new(Exit::Timeout, message).into());
            }
            thread::sleep(RELOAD_POLL);
        }
    }

    /// Waits until the hub has a leader that counts every node as current, until every leaf, the
    /// first server among them, is joined to it, and until its streams have leaders.
    pub fn wait_until_joined(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let runtime = kit::runtime::current_thread()?;
        let deadline = Instant::now() + JOIN_TIMEOUT;
        loop {
            let Seen { missing, recovered } = self.look(&runtime);
            // A stream that never gets a leader again must not keep everything else down.
            if missing.is_empty() && (recovered || Instant::now() >= deadline) {
                return Ok(());
            }
            if let Some(interrupted) = interrupt.signal() {
                return Err(interrupted.into());
            }
            if Instant::now() >= deadline {
                let message = format!(
                    "the hub of NATS was not complete within {} s: {}",
                    JOIN_TIMEOUT.as_secs(),
                    missing.join(", ")
                );
                let log = self.paths.process_log("nats-hub-1");
                let hint = format!("look into `{}`", self.paths.shown(&log));
                return Err(Failure::new(Exit::Timeout, message).hint(hint).into());
            }
            thread::sleep(JOIN_POLL);
        }
    }

    /// Looks once at the hub.
    fn look(&self, runtime: &Runtime) -> Seen {
        let nodes = self.facts.nodes();
        let monitors = self.monitors();
        let ask = |path: &str| -> Vec<Value> {
            let answers = monitors.iter().map(|monitor| {
                let answer = runtime.block_on(http::get(monitor, path, ANSWER_TIMEOUT));
                answer.map_or(Value::Null, |answer| {
                    serde_json::from_slice(&answer.body).unwrap_or_default()
                })
            });
            answers.collect()
        };
        let mut missing = Vec::new();
        let states = ask("/jsz?accounts=true&streams=true");
        let is_complete = |jsz| is_complete(jsz, monitors.len());
        if !states.iter().any(is_complete) {
            missing.push("its nodes have not found each other".to_owned());
        }
        let joined: BTreeSet<String> = ask("/leafz").iter().flat_map(leaves).collect();
        let leaf_nodes = nodes.iter().filter(|node| node.role == Role::Leaf);
        let mut wanted: Vec<&str> = leaf_nodes.map(|node| node.name.as_str()).collect();
        if self.state_dir().is_some() {
            wanted.push(SERVICE);
        }
        let away = wanted.into_iter().filter(|name| !joined.contains(*name));
        missing.extend(away.map(|name| format!("`{name}` is not joined")));
        Seen {
            missing,
            recovered: states.iter().all(streams_are_led),
        }
    }

    /// Where each hub node tells about itself.
    fn monitors(&self) -> Vec<Endpoint> {
        let nodes = self.facts.nodes().into_iter();
        let hub = nodes.filter(|node| node.role == Role::Hub);
        hub.filter_map(|node| self.facts.port(&node.process, "http"))
            .map(|port| Endpoint::tcp("127.0.0.1", port))
            .collect()
    }

    /// Where the first server's files are; `None` when it does not run in this stack.
    fn state_dir(&self) -> Option<PathBuf> {
        let process = self.stack.processes.get(SERVICE)?;
        let directory = process.env.get("NATS_STATE_DIR")?;
        (!process.disabled).then(|| self.paths.root().join(&directory.text))
    }
}

/// Whether a server is the leader and all its peers are up to date, or has no JetStream.
fn is_complete(jsz: &Value, nodes: usize) -> bool {
    if jsz["disabled"] == true {
        return true;
    }
    let replicas = jsz["meta_cluster"]["replicas"].as_array();
    replicas.is_some_and(|replicas| {
        replicas.len() + 1 >= nodes && replicas.iter().all(|peer| peer["current"] == true)
    })
}

/// Whether every stream that a server holds has a leader: without one, nobody answers for it.
fn streams_are_led(jsz: &Value) -> bool {
    let accounts = jsz["account_details"].as_array().into_iter().flatten();
    let mut streams = accounts
        .filter_map(|account| account["stream_detail"].as_array())
        .flatten();
    streams.all(|stream| {
        stream["cluster"]["leader"]
            .as_str()
            .is_some_and(|leader| !leader.is_empty())
    })
}

/// The names of the servers that are joined as leaves.
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
    fn a_hub_is_complete_when_its_leader_says_so() {
        let jsz = |replicas: Value| json!({"meta_cluster": {"replicas": replicas}});
        let peer = |current: bool| json!({"name": "x", "current": current});
        assert!(is_complete(&jsz(json!([peer(true), peer(true)])), 3));
        assert!(!is_complete(&jsz(json!([peer(true), peer(false)])), 3));
        assert!(!is_complete(&jsz(json!([peer(true)])), 3));
        assert!(!is_complete(&json!({"meta_cluster": {}}), 3), "no leader");
        assert!(!is_complete(&Value::Null, 3), "no answer");
        assert!(is_complete(&json!({"disabled": true}), 3));
    }

    #[test]
    fn a_stream_needs_a_leader() {
        let jsz = |cluster: Value| {
            let streams = json!([{"name": "A", "cluster": cluster}]);
            json!({"account_details": [{"name": "SYS"}, {"name": "APP", "stream_detail": streams}]})
        };
        assert!(streams_are_led(&jsz(
            json!({"name": "hub", "leader": "hub-1"})
        )));
        assert!(!streams_are_led(&jsz(json!({"name": "hub"}))));
        assert!(streams_are_led(&json!({})), "no stream");
    }

    #[test]
    fn leaves_are_named() {
        let leafz = json!({"leafs": [{"name": "nats"}, {"name": "leaf-lhr"}]});
        assert_eq!(leaves(&leafz), ["nats", "leaf-lhr"]);
        assert_eq!(leaves(&Value::Null), [""; 0]);
    }
}
