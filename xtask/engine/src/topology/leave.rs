//! Removes a node from the hub: the checks before, moving its streams away, and the removal.
//!
//! Until [`Leaving::remove`] everything can be rolled back. The progress is always read from the
//! hub and never recorded, so that the steps can be repeated after a kill at any point. Must not
//! write facts or stop processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use kit::server::reachable;
use kit::{Exit, Failure};
use serde_json::Value;
use service_nats::cluster::Cluster;
use service_nats::topology::{Facts, Node, Role, Spec, routes_in};

use super::hub::{Hub, Look};
use super::{Topology, wrapper};
use crate::base::interrupt::Interrupt;
use crate::checkout::paths::Paths;
use crate::plan::stack::Stack;
use crate::supervisor::client::Client;

/// The directory of users' streams in a store.
const STREAMS: &str = "jetstream/APP/streams";
/// How long a hub that should shrink may be without a leader: an election takes up to 9 s.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a transfer of the leadership may take; measured: 0.1 s.
const STEP_DOWN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long copying the streams of one node elsewhere may take. Small ones take 1 to 7 s; the limit
/// is for large ones, and the command can be interrupted.
const EVACUATE_TIMEOUT: Duration = Duration::from_mins(30);
/// How long the hub may take to be complete without the node; measured: 0.1 s.
const REMOVE_TIMEOUT: Duration = Duration::from_mins(1);

/// Refuses to shrink the hub if that is impossible, before anything is changed. `running` says
/// whether its nodes can be asked; otherwise their stores are read.
pub fn check(paths: &Paths, topology: &Topology, running: bool) -> anyhow::Result<()> {
    let (before, now) = (&topology.before, &topology.now);
    refuse_return(before, now)?;
    let Spec::HubSpoke(spec) = &now.spec else {
        return Ok(());
    };
    if now.leaving().is_empty() {
        return Ok(());
    }
    if !running {
        return refuse_streams(&stored(paths, now, spec.hub_nodes), spec.hub_nodes);
    }
    let hub = Hub::new(now)?;
    let is_usable = |look: &Look| Ok(look.is_complete());
    let look = hub
        .wait("", ELECTION_TIMEOUT, &Interrupt::default(), is_usable)
        .map_err(|_| unhealthy(&hub.look()))?;
    refuse_streams(
        &look.with_more_replicas_than(spec.hub_nodes),
        spec.hub_nodes,
    )
}

/// Refuses to enlarge a hub that is being shrunk: it may have lost nodes already, which only
/// finishing the change detects.
fn refuse_return(before: &Facts, now: &Facts) -> anyhow::Result<()> {
    let (leaving, staying) = (before.leaving(), now.staying());
    if !leaving.iter().any(|node| staying.contains(node)) {
        return Ok(());
    }
    let message = format!(
        "the hub is on its way from {} to {} nodes",
        before.hub_nodes(),
        before.staying().len()
    );
    let hint = "apply the smaller number once more, and the larger one then";
    Err(Failure::new(Exit::Invalid, message).hint(hint).into())
}

fn refuse_streams(streams: &BTreeMap<String, u64>, nodes: u32) -> anyhow::Result<()> {
    let Some(first) = streams.keys().next() else {
        return Ok(());
    };
    let lines = streams.iter().map(|(name, replicas)| {
        format!("the stream `{name}` has {replicas} replicas, and the hub would have {nodes} nodes")
    });
    let message = lines.collect::<Vec<_>>().join("\n");
    let hint = format!("nothing was changed; `nats stream edit {first} --replicas {nodes}`");
    Err(Failure::new(Exit::Invalid, message).hint(hint).into())
}

fn unhealthy(look: &Look) -> anyhow::Error {
    let message = format!("the hub cannot shrink now: {}", look.describe());
    let hint = "nothing was changed; see what is wrong with `cargo xtask status`";
    Failure::new(Exit::Unhealthy, message).hint(hint).into()
}

/// Returns the streams with too many replicas in the stores of the hub's nodes.
fn stored(paths: &Paths, facts: &Facts, nodes: u32) -> BTreeMap<String, u64> {
    let hub = facts.nodes().into_iter();
    let hub = hub.filter(|node| node.role == Role::Hub);
    let streams = hub.flat_map(|node| stores(paths, &node));
    let replicas = streams.filter_map(|stream| {
        let text = fs::read(stream.join("meta.inf")).ok()?;
        let config: Value = serde_json::from_slice(&text).ok()?;
        let name = stream.file_name()?.to_string_lossy().into_owned();
        Some((name, config["num_replicas"].as_u64()?))
    });
    replicas
        .filter(|(_, replicas)| *replicas > u64::from(nodes))
        .collect()
}

/// Returns the directories of the streams in the store of a node, each named like its stream.
fn stores(paths: &Paths, node: &Node) -> Vec<PathBuf> {
    let streams = paths.data().join(&node.directory).join(STREAMS);
    let entries = fs::read_dir(streams).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Stops the server of a node that was removed: its clients have time to connect elsewhere.
pub fn retire(paths: &Paths, stack: &Stack, client: &Client, process: &str) -> anyhow::Result<()> {
    wrapper::reload(client, paths, stack, process, wrapper::RETIRE_TIMEOUT)
}

/// Reloads staying nodes that have addresses of nodes that left: they would try to connect for
/// ever. Returns those that had such addresses.
pub fn forget_routes(
    paths: &Paths,
    stack: &Stack,
    facts: &Facts,
    client: &Client,
) -> anyhow::Result<Vec<String>> {
    let routes = facts.route_urls();
    let mut forgot = Vec::new();
    let hub = facts.nodes().into_iter();
    for node in hub.filter(|node| node.role == Role::Hub) {
        let config = wrapper::config(paths, stack, &node.process).unwrap_or_default();
        if routes_in(&config)
            .iter()
            .any(|route| !routes.contains(route))
        {
            let limit = wrapper::RELOAD_TIMEOUT;
            wrapper::reload(client, paths, stack, &node.process, limit)?;
            forgot.push(node.process);
        }
    }
    Ok(forgot)
}

/// The node that leaves the hub next.
#[derive(Debug)]
pub struct Leaving<'a> {
    paths: &'a Paths,
    stack: &'a Stack,
    facts: &'a Facts,
    hub: Hub<'a>,
    node: Node,
    interrupt: &'a Interrupt,
    /// Streams and consumers without a leader from the start: waiting for them would never end.
    lost: BTreeSet<String>,
}

impl<'a> Leaving<'a> {
    /// Returns the first node that leaves by `facts`; `None` if none does.
    pub fn first(
        paths: &'a Paths,
        stack: &'a Stack,
        facts: &'a Facts,
        interrupt: &'a Interrupt,
    ) -> anyhow::Result<Option<Self>> {
        let Some(node) = facts.leaving().into_iter().next() else {
            return Ok(None);
        };
        let hub = Hub::new(facts)?;
        let lost = hub.look().leaderless();
        Ok(Some(Self {
            paths,
            stack,
            facts,
            hub,
            node,
            interrupt,
            lost,
        }))
    }

    /// Returns the node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Moves all streams of the node to others, and makes sure that it is not the leader. Streams
    /// go where there is room, also to nodes that leave later. Can be rolled back: the node stays
    /// in the hub.
    pub fn empty(&self) -> anyhow::Result<()> {
        self.emptied().map(drop)
    }

    /// Removes the node from the hub for good once it is empty; waits until the hub is complete.
    pub fn remove(&self) -> anyhow::Result<()> {
        let name = self.node.name.as_str();
        // Streams may have been created there since.
        let look = self.emptied()?;
        if look.members().contains(name) {
            let cluster = self.connect(&look)?;
            let removed = self.hub.runtime().block_on(cluster.remove(name));
            removed.with_context(|| format!("cannot remove `{name}` from the hub"))?;
        }
        let what = format!("the hub did not go on without `{name}`");
        self.wait(&what, REMOVE_TIMEOUT, |look| {
            let goes_on = look.is_complete() && !look.members().contains(name);
            Ok(goes_on && look.unsettled().is_subset(&self.lost))
        })
        .map(drop)
    }

    /// Waits until the node has no streams and is not the leader, or is no longer a member.
    fn emptied(&self) -> anyhow::Result<Look> {
        let complete = "the hub was not complete";
        let look = self.wait(complete, ELECTION_TIMEOUT, |look| Ok(look.is_complete()))?;
        let look = self.step_down(look)?;
        let name = self.node.name.as_str();
        let mut asked = BTreeSet::new();
        let what = format!("`{name}` could not give away what it holds");
        self.wait(&what, EVACUATE_TIMEOUT, |look| {
            if !look.has_jetstream() || (look.is_complete() && !look.members().contains(name)) {
                return Ok(true);
            }
            let Some(held) = look.held_by(name) else {
                return Ok(false);
            };
            // A second request would restart moves that are in progress. Only streams that were
            // created meanwhile need one.
            if !held.is_subset(&asked) {
                self.evacuate(look)?;
                asked.extend(held);
                return Ok(false);
            }
            Ok(held.is_empty() && look.is_complete())
        })
        .map_err(|error| match look.held_by(name) {
            None => error.context(format!("`{name}` does not answer")),
            Some(_) => error,
        })
    }

    fn evacuate(&self, look: &Look) -> anyhow::Result<()> {
        let name = self.node.name.as_str();
        let cluster = self.connect(look)?;
        let evacuated = self.hub.runtime().block_on(cluster.evacuate(name));
        evacuated.with_context(|| format!("cannot move the streams of `{name}`"))
    }

    /// Transfers the leadership of the hub to a node that stays.
    fn step_down(&self, look: Look) -> anyhow::Result<Look> {
        let leaving = self.facts.leaving().into_iter();
        let leaving: BTreeSet<String> = leaving.map(|node| node.name).collect();
        if !look.leader().is_some_and(|leader| leaving.contains(leader)) {
            return Ok(look);
        }
        let preferred = self.facts.staying().into_iter().next();
        let preferred = preferred.map(|node| node.name);
        let cluster = self.connect(&look)?;
        let order = cluster.step_down_meta(preferred.as_deref());
        let ordered = self.hub.runtime().block_on(order);
        ordered.context("cannot give the leadership of the hub to another node")?;
        let what = "no node that stays became the leader of the hub";
        self.wait(what, STEP_DOWN_TIMEOUT, |look| {
            let leader = look.leader();
            Ok(leader.is_some_and(|leader| !leaving.contains(leader)) && look.is_complete())
        })
    }

    /// Connects to the leader, else to the first node that stays.
    fn connect(&self, look: &Look) -> anyhow::Result<Cluster> {
        let staying = self.facts.staying();
        let leads = |node: &&Node| Some(node.name.as_str()) == look.leader();
        let node = staying.iter().find(leads).or(staying.first());
        let node = node.context("the hub has no node that stays")?;
        let port = self.facts.port(&node.process, "client");
        let port = port.with_context(|| format!("`{}` has no port", node.process))?;
        let data = self.paths.data().join(&node.directory);
        let host = self.stack.processes.get(&node.process);
        let host = host.and_then(|process| process.env.get("NATS_HOST")?.text.parse().ok());
        let host = host.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let connecting = Cluster::connect_to(reachable(host, port), &data);
        let connected = self.hub.runtime().block_on(connecting);
        connected.with_context(|| format!("cannot give orders to `{}`", node.process))
    }

    fn wait(
        &self,
        what: &str,
        limit: Duration,
        is_so: impl FnMut(&Look) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Look> {
        self.hub.wait(what, limit, self.interrupt, is_so)
    }
}
