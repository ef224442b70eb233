//! The state of the hub according to its nodes: its members, the streams of each, and whether
//! everything has a leader and is up to date. Must not change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kit::http::{self, Endpoint};
use kit::{Exit, Failure};
use serde_json::Value;
use service_nats::topology::{Facts, Node, Role};
use tokio::runtime::Runtime;

use crate::base::interrupt::Interrupt;
use crate::base::poll::{Waited, wait_until};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the hub is polled.
const POLL: Duration = Duration::from_millis(20);
/// The document with everything that a node knows of its streams.
const STATE: &str = "/jsz?accounts=true&streams=true&consumers=true&config=true";

/// The check whether a node has recovered everything.
const HEALTH: &str = "/healthz";

/// The hub that the facts describe.
#[derive(Debug)]
pub struct Hub<'a> {
    facts: &'a Facts,
    runtime: Runtime,
}

/// The answers of all nodes at one time.
#[derive(Debug)]
pub struct Look {
    /// The names of the servers that belong to the hub and stay there.
    staying: Vec<String>,
    /// The answer of each server, by its name; `Null` without an answer.
    answers: BTreeMap<String, Value>,
}

impl<'a> Hub<'a> {
    /// Creates the hub of `facts`.
    pub fn new(facts: &'a Facts) -> anyhow::Result<Self> {
        Ok(Self {
            facts,
            runtime: kit::runtime::current_thread()?,
        })
    }

    /// Returns the runtime for requests to the hub.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Asks every node for its state.
    pub fn look(&self) -> Look {
        let staying = self.facts.staying().into_iter();
        Look {
            staying: staying.map(|node| node.name).collect(),
            answers: self.ask(STATE),
        }
    }

    /// Requests a monitoring document from every node of the hub; returns it by server name.
    pub fn ask(&self, path: &str) -> BTreeMap<String, Value> {
        let nodes = self.facts.nodes().into_iter();
        let hub = nodes.filter(|node| node.role == Role::Hub);
        hub.map(|node| {
            let answer = self.document(&node, path);
            (node.name, answer.unwrap_or_default())
        })
        .collect()
    }

    /// Whether every node that stays reports that it and its streams are up to date.
    pub fn is_healthy(&self) -> bool {
        let mut staying = self.facts.staying().into_iter();
        staying.all(|node| {
            self.get(&node, HEALTH)
                .is_some_and(|(status, _)| status == 200)
        })
    }

    fn document(&self, node: &Node, path: &str) -> Option<Value> {
        let (_, body) = self.get(node, path)?;
        serde_json::from_slice(&body).ok()
    }

    fn get(&self, node: &Node, path: &str) -> Option<(u16, Vec<u8>)> {
        let monitor = Endpoint::tcp("127.0.0.1", self.facts.port(&node.process, "http")?);
        let answer = http::get(&monitor, path, ANSWER_TIMEOUT);
        let answer = self.runtime.block_on(answer).ok()?;
        Some((answer.status, answer.body))
    }

    /// Polls until `is_so` holds, and returns the state at that time. `what` describes the unmet
    /// condition, as part of a sentence.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        interrupt: &Interrupt,
        mut is_so: impl FnMut(&Look) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Look> {
        let deadline = Instant::now() + limit;
        let mut last = String::new();
        let seen = || {
            let look = self.look();
            if is_so(&look)? {
                return Ok(Some(look));
            }
            last = look.describe();
            Ok::<_, anyhow::Error>(None)
        };
        match wait_until(deadline, POLL, interrupt, seen)? {
            Waited::Done(look) => Ok(look),
            Waited::Interrupted(interrupted) => Err(interrupted.into()),
            Waited::Deadline => {
                let message = format!("{what} within {} s: {last}", limit.as_secs());
                Err(Failure::new(Exit::Timeout, message).into())
            }
        }
    }
}

impl Look {
    /// Whether the hub stores streams at all. Without an answer this is assumed.
    pub fn has_jetstream(&self) -> bool {
        let staying = self.staying.iter();
        let mut answers = staying.filter_map(|name| self.answers.get(name));
        answers.any(|answer| answer["disabled"] != true)
    }

    /// Returns the leader of the hub, as it reports itself.
    pub fn leader(&self) -> Option<&str> {
        let mut answers = self.answers.iter();
        let leader = answers.find(|(name, answer)| {
            answer["meta_cluster"]["leader"].as_str() == Some(name.as_str())
        });
        leader.map(|(name, _)| name.as_str())
    }

    /// Returns the servers in the hub according to its leader; empty without a leader.
    pub fn members(&self) -> BTreeSet<&str> {
        let Some(leader) = self.leader() else {
            return BTreeSet::new();
        };
        let peers = self.peers(leader).filter_map(|peer| peer["name"].as_str());
        peers.chain([leader]).collect()
    }

    fn peers(&self, leader: &str) -> impl Iterator<Item = &Value> {
        let replicas = self.answers[leader]["meta_cluster"]["replicas"].as_array();
        replicas.into_iter().flatten()
    }

    /// Returns the servers that stay and that the leader does not report as up to date.
    pub fn away(&self) -> Vec<&str> {
        let leader = self.leader();
        let is_current = |name: &str| {
            let Some(leader) = leader else { return false };
            let mut peers = self.peers(leader);
            name == leader || peers.any(|peer| peer["name"] == name && peer["current"] == true)
        };
        let staying = self.staying.iter().map(String::as_str);
        staying.filter(|name| !is_current(name)).collect()
    }

    /// Whether the hub has a leader that reports every staying server as up to date, or stores no
    /// streams.
    pub fn is_complete(&self) -> bool {
        !self.has_jetstream() || self.away().is_empty()
    }

    /// Returns the streams and consumers without a leader: no server answers for them.
    pub fn leaderless(&self) -> BTreeSet<String> {
        let groups = self.groups();
        let leaderless = groups.into_iter().filter(|(_, copies)| {
            let mut copies = copies.iter();
            !copies.any(|(name, group)| group["leader"].as_str() == Some(name))
        });
        leaderless.map(|(name, _)| name).collect()
    }

    /// Returns the streams and consumers without a leader, or with a copy that is not up to date.
    pub fn unsettled(&self) -> BTreeSet<String> {
        let groups = self.groups();
        let unsettled = groups.into_iter().filter(|(_, copies)| {
            let mut copies = copies.iter();
            !copies.any(|(name, group)| {
                let mut replicas = group["replicas"].as_array().into_iter().flatten();
                group["leader"].as_str() == Some(name)
                    && replicas.all(|peer| peer["current"] == true && peer["offline"] != true)
            })
        });
        unsettled.map(|(name, _)| name).collect()
    }

    /// Returns `STREAM` and `STREAM/CONSUMER` names, with each server's view of their Raft groups.
    fn groups(&self) -> BTreeMap<String, Vec<(&str, &Value)>> {
        let mut groups: BTreeMap<String, Vec<(&str, &Value)>> = BTreeMap::new();
        for (server, answer) in &self.answers {
            for stream in streams(answer) {
                let name = stream["name"].as_str().unwrap_or_default();
                let mut add = |name: String, group| {
                    groups.entry(name).or_default().push((server, group));
                };
                add(name.to_owned(), &stream["cluster"]);
                for consumer in stream["consumer_detail"].as_array().into_iter().flatten() {
                    let consumer_name = consumer["name"].as_str().unwrap_or_default();
                    add(format!("{name}/{consumer_name}"), &consumer["cluster"]);
                }
            }
        }
        groups
    }

    /// Returns the streams with more replicas than `nodes`, and their configured number.
    pub fn with_more_replicas_than(&self, nodes: u32) -> BTreeMap<String, u64> {
        let all = self.answers.values().flat_map(streams);
        let named = all.filter_map(|stream| {
            let replicas = stream["config"]["num_replicas"].as_u64()?;
            Some((stream["name"].as_str()?.to_owned(), replicas))
        });
        named
            .filter(|(_, replicas)| *replicas > u64::from(nodes))
            .collect()
    }

    /// Returns the streams of which a server has a copy; `None` if it does not answer.
    pub fn held_by(&self, server: &str) -> Option<BTreeSet<String>> {
        let answer = self
            .answers
            .get(server)
            .filter(|answer| answer.is_object())?;
        let names = streams(answer).filter_map(|stream| stream["name"].as_str());
        Some(names.map(str::to_owned).collect())
    }

    /// Describes what is not in order.
    pub fn describe(&self) -> String {
        let Some(leader) = self.leader() else {
            return "it has no leader".to_owned();
        };
        let unsettled = self.unsettled();
        match (self.away().as_slice(), unsettled.first()) {
            ([], None) => format!("`{leader}` leads it, and all are there"),
            ([], Some(first)) => format!(
                "{} of its streams and consumers are not up to date, such as `{first}`",
                unsettled.len()
            ),
            (away, _) => format!("`{}` are not up to date", away.join("`, `")),
        }
    }
}

/// Returns the streams in an answer, of all accounts.
fn streams(answer: &Value) -> impl Iterator<Item = &Value> {
    let accounts = answer["account_details"].as_array().into_iter().flatten();
    accounts
        .filter_map(|account| account["stream_detail"].as_array())
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(answers: &[(&str, Value)]) -> Look {
        let answers = answers.iter();
        Look {
            staying: ["hub-1", "hub-2", "hub-3"].map(str::to_owned).into(),
            answers: answers
                .map(|(name, answer)| ((*name).to_owned(), answer.clone()))
                .collect(),
        }
    }

    fn meta(leader: &str, replicas: &Value) -> Value {
        json!({"meta_cluster": {"leader": leader, "replicas": replicas}})
    }

    fn peer(name: &str, current: bool) -> Value {
        json!({"name": name, "current": current})
    }

    #[test]
    fn a_hub_is_complete_when_its_leader_says_so() {
        let seen = |replicas: Value| look(&[("hub-1", meta("hub-1", &replicas))]);
        let complete = seen(json!([peer("hub-2", true), peer("hub-3", true)]));
        assert!(complete.is_complete());
        assert_eq!(complete.leader(), Some("hub-1"));
        let lagging = seen(json!([peer("hub-2", true), peer("hub-3", false)]));
        assert_eq!(lagging.away(), ["hub-3"]);
        assert!(!seen(json!([peer("hub-2", true)])).is_complete());
        let leaving = seen(json!([
            peer("hub-2", true),
            peer("hub-3", true),
            peer("hub-5", false)
        ]));
        assert!(leaving.is_complete(), "who leaves does not count");
        assert!(leaving.members().contains("hub-5"));
        let follower = look(&[("hub-2", meta("hub-1", &json!([peer("hub-1", true)])))]);
        assert!(!follower.is_complete(), "only the leader knows");
        assert!(!look(&[("hub-1", Value::Null)]).is_complete(), "no answer");
        assert!(look(&[("hub-1", json!({"disabled": true}))]).is_complete());
    }

    #[test]
    fn a_stream_needs_a_leader_and_copies_that_are_up_to_date() {
        let holding = |cluster: Value| {
            let stream = json!({"name": "A", "cluster": cluster, "config": {"num_replicas": 5}});
            let app = json!({"name": "APP", "stream_detail": [stream]});
            json!({"account_details": [{"name": "SYS"}, app]})
        };
        let follower = holding(json!({"leader": "hub-1", "replicas": [peer("hub-1", true)]}));
        let led = |replicas: Value| {
            let leader = holding(json!({"leader": "hub-1", "replicas": replicas}));
            look(&[("hub-1", leader), ("hub-2", follower.clone())])
        };
        assert!(led(json!([peer("hub-2", true)])).unsettled().is_empty());
        let lagging = led(json!([peer("hub-2", false)]));
        assert_eq!(lagging.unsettled().first().unwrap(), "A");
        assert!(lagging.leaderless().is_empty());
        let alone = look(&[("hub-2", follower.clone())]);
        assert_eq!(alone.leaderless().first().unwrap(), "A");
        assert_eq!(alone.held_by("hub-2").unwrap(), ["A".to_owned()].into());
        assert_eq!(alone.held_by("hub-1"), None);
        assert_eq!(alone.with_more_replicas_than(3)["A"], 5);
        assert!(alone.with_more_replicas_than(5).is_empty());
    }

    #[test]
    fn consumers_have_leaders_of_their_own() {
        let consumer = json!({"name": "c", "cluster": {"leader": "hub-2"}});
        let stream = json!({"name": "A", "cluster": {"leader": "hub-1"},
            "consumer_detail": [consumer]});
        let answer = json!({"account_details": [{"stream_detail": [stream]}]});
        let seen = look(&[("hub-1", answer)]);
        assert_eq!(seen.unsettled(), ["A/c".to_owned()].into());
    }
}
