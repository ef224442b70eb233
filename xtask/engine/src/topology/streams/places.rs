//! The places of streams: the first server, the hub, each leaf node; and how to connect to them.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, anyhow};
use service_nats::client::Client;
use service_nats::jetstream::JetStream;
use service_nats::topology::{CONFIG_FILE, Facts, Node, Role, SERVICE, Spec, entrance};

use crate::checkout::paths::Paths;

/// Our name in the monitoring of a server.
const CLIENT_NAME: &str = "core";
/// The account of users' streams.
const ACCOUNT: &str = "APP";

/// One JetStream domain: a single server, or the hub as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The first server, which always exists.
    First,
    /// The hub.
    Hub,
    /// A leaf node, by its process.
    Leaf(String),
}

/// All places of a topology.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) facts: &'a Facts,
}

impl Place {
    /// Returns the place with this name.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            SERVICE => Self::First,
            "hub" => Self::Hub,
            leaf => Self::Leaf(leaf.to_owned()),
        }
    }

    /// Returns its name: `nats`, `hub`, or that of a process.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::First => SERVICE,
            Self::Hub => "hub",
            Self::Leaf(process) => process,
        }
    }

    /// Returns its name for people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Hub => "the hub".to_owned(),
            _ => format!("`{}`", self.name()),
        }
    }

    /// Returns its JetStream domain.
    pub(crate) fn domain(&self) -> &str {
        match self {
            Self::First => "core",
            Self::Hub => "hub",
            Self::Leaf(process) => process.trim_start_matches("nats-leaf-"),
        }
    }

    /// Returns the API prefix by which other streams refer to it.
    pub(crate) fn api(&self) -> String {
        format!("$JS.{}.API", self.domain())
    }
}

impl Places<'_> {
    /// Returns every place of the topology.
    pub(crate) fn all(&self) -> BTreeSet<Place> {
        let mut places: BTreeSet<Place> = [Place::First].into();
        for node in self.facts.nodes() {
            places.insert(match node.role {
                Role::Hub => Place::Hub,
                Role::Leaf => Place::Leaf(node.process),
            });
        }
        places
    }

    /// Returns the maximum of replicas of a stream there.
    pub(crate) fn replicas_max(&self, place: &Place) -> u64 {
        match (place, &self.facts.spec) {
            (Place::Hub, Spec::HubSpoke(hub)) => u64::from(hub.hub_nodes.min(5)),
            _ => 1,
        }
    }

    /// Connects to JetStream of a place, by the first of its servers that accepts us.
    pub(crate) async fn connect(&self, place: &Place) -> anyhow::Result<JetStream> {
        let mut last = anyhow!("none of its servers has run");
        for process in self.servers(place) {
            let config = self.paths.state().join(&process).join(CONFIG_FILE);
            let config = fs::read_to_string(config).unwrap_or_default();
            let Some((address, login)) = entrance(&config) else {
                continue;
            };
            match Client::connect_to(address, Some(&login), CLIENT_NAME).await {
                Ok(client) => return Ok(JetStream::new(client)),
                Err(error) => last = error.into(),
            }
        }
        Err(last).with_context(|| format!("cannot ask {}", place.shown()))
    }

    /// Returns the names of the streams in the data directories of a place.
    pub(crate) fn on_disk(&self, place: &Place) -> BTreeSet<String> {
        let mut directories = vec![SERVICE.to_owned()];
        if *place != Place::First {
            directories = self.nodes(place).map(|node| node.directory).collect();
        }
        let streams = directories.into_iter().flat_map(|directory| {
            let store = self.paths.data().join(directory).join("jetstream");
            let entries = fs::read_dir(store.join(ACCOUNT).join("streams"));
            entries.into_iter().flatten().flatten()
        });
        streams
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Returns the processes of a place.
    fn servers(&self, place: &Place) -> Vec<String> {
        match place {
            Place::First => vec![SERVICE.to_owned()],
            _ => self.nodes(place).map(|node| node.process).collect(),
        }
    }

    fn nodes(&self, place: &Place) -> impl Iterator<Item = Node> {
        let nodes = self.facts.nodes().into_iter();
        nodes.filter(move |node| match place {
            Place::Hub => node.role == Role::Hub,
            _ => node.process == place.name(),
        })
    }
}
