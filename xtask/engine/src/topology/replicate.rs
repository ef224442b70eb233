//! Copies of the first server's streams in the hub, which the hub's nodes keep up to date.
//!
//! Each is a mirror under the same name with three replicas. Must not change any other stream.

use std::time::Duration;

use kit::names;
use kit::{Exit, Failure};
use serde::Serialize;
use serde_json::{Value, json};
use service_nats::jetstream::{JetStream, StreamInfo};
use service_nats::topology::Spec;
use tokio::time::Instant;

use super::streams::places::{Place, Places};
use crate::SCHEMA_VERSION;
use crate::checkout::context::Ctx;
use crate::supervisor::alive;
use crate::topology::Topology;
use crate::topology::events;

/// How many hub nodes store each copy, so that the loss of one is survived.
const REPLICAS: u64 = 3;
/// How often the progress of the copies is polled.
const POLL: Duration = Duration::from_millis(20);
/// Settings that a copy has in common with its origin: what it keeps, and how.
const INHERITED: [&str; 9] = [
    "storage",
    "compression",
    "max_age",
    "max_msgs",
    "max_bytes",
    "max_msgs_per_subject",
    "max_msg_size",
    "allow_direct",
    "allow_msg_ttl",
];
/// Retention that removes consumed messages: a copy is a consumer, too.
const CONSUMED: [&str; 2] = ["workqueue", "interest"];

/// The report of `nats replicate`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this document.
    pub schema_version: u32,
    /// The copies, by name.
    pub streams: Vec<Replica>,
    /// Streams that were not named and cannot have a copy, with the reason.
    pub skipped: Vec<Skipped>,
}

/// One copy.
#[derive(Debug, Serialize)]
pub struct Replica {
    /// The name of the stream and of its copy.
    pub name: String,
    /// What was done.
    pub outcome: Outcome,
    /// How many messages the copy holds.
    pub messages: u64,
    /// How many messages are still missing.
    pub lag: u64,
}

/// The result for a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was created.
    Created,
    /// It existed.
    Exists,
}

/// A stream that has no copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// The reason.
    pub reason: String,
}

/// Copies the named streams, or all possible ones if `names` is empty, and waits at most `timeout`
/// until the copies are complete. The caller holds the operation lock.
pub fn replicate(
    ctx: &Ctx,
    topology: &Topology,
    names: &[String],
    timeout: Duration,
) -> anyhow::Result<Report> {
    if !alive::is_held(&ctx.paths.alive_lock())? {
        let failure = Failure::new(Exit::NotRunning, "there is no running stack");
        return Err(failure.hint("cargo xtask up").into());
    }
    let facts = &topology.before;
    if facts.spec == Spec::SingleNode {
        let failure = Failure::new(Exit::Invalid, "there is no hub that could keep copies");
        let hint = "cargo xtask topology set --hub-nodes 3";
        return Err(failure.hint(hint).into());
    }
    let places = Places {
        paths: &ctx.paths,
        facts,
    };
    kit::runtime::current_thread()?.block_on(async {
        let own = places.connect(&Place::First).await?;
        let hub = places.connect(&Place::Hub).await?;
        let choice = choose(own.streams().await?, &hub.streams().await?, names)?;
        let deadline = Instant::now() + timeout;
        for (origin, outcome) in &choice.wanted {
            if *outcome == Outcome::Created {
                hub.create_stream(&mirror_of(&origin.config)).await?;
            }
        }
        let mut streams = Vec::new();
        for (origin, outcome) in &choice.wanted {
            streams.push(wait(&hub, origin, *outcome, deadline, timeout).await?);
        }
        Ok(Report {
            schema_version: SCHEMA_VERSION,
            streams,
            skipped: choice.skipped,
        })
    })
}

/// The streams to copy, and those that cannot have a copy.
#[derive(Debug, Default)]
struct Choice {
    wanted: Vec<(StreamInfo, Outcome)>,
    skipped: Vec<Skipped>,
}

/// Chooses among the streams of the first server; an error if a named one cannot have a copy.
fn choose(own: Vec<StreamInfo>, hub: &[StreamInfo], names: &[String]) -> anyhow::Result<Choice> {
    let known: Vec<String> = own.iter().map(|stream| stream.name().to_owned()).collect();
    let unknown = names.iter().filter(|name| !known.contains(name));
    let mut problems: Vec<String> = unknown.map(|name| not_there(name, &known)).collect();
    let mut choice = Choice::default();
    for stream in own {
        let name = stream.name().to_owned();
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        let there = hub.iter().find(|other| other.name() == name);
        match (unfit(&stream, there), names.is_empty()) {
            (None, _) if there.is_some() => choice.wanted.push((stream, Outcome::Exists)),
            (None, _) => choice.wanted.push((stream, Outcome::Created)),
            (Some(reason), true) => choice.skipped.push(Skipped { name, reason }),
            (Some(reason), false) => problems.push(format!("cannot copy `{name}`: {reason}")),
        }
    }
    if problems.is_empty() {
        return Ok(choice);
    }
    let failure = Failure::new(Exit::Invalid, problems.join("\n"));
    Err(failure
        .hint("nothing was changed; name other streams")
        .into())
}

fn not_there(name: &str, known: &[String]) -> String {
    let known = known.iter().map(String::as_str);
    format!(
        "`nats` has no stream `{name}`{}",
        names::or_meant(name, known)
    )
}

/// Returns why a stream cannot have a copy. `there` is the hub's stream of the same name.
fn unfit(stream: &StreamInfo, there: Option<&StreamInfo>) -> Option<String> {
    if stream.name() == events::STREAM {
        return Some("it is kept for this stack alone".to_owned());
    }
    if let Some(origin) = stream.config["mirror"]["name"].as_str() {
        return Some(format!("it is itself a mirror, of `{origin}`"));
    }
    let retention = stream.config["retention"].as_str().unwrap_or_default();
    if CONSUMED.contains(&retention) {
        return Some(format!("its retention is `{retention}`"));
    }
    let is_other = there.is_some_and(|there| {
        let mirror = &there.config["mirror"];
        let api = mirror["external"]["api"].as_str();
        mirror["name"].as_str() != Some(stream.name()) || api != Some(Place::First.api().as_str())
    });
    is_other.then(|| "the hub has another stream of that name".to_owned())
}

fn mirror_of(origin: &Value) -> Value {
    let mut config = json!({
        "name": origin["name"],
        "description": "copy of the stream of `nats`",
        "num_replicas": REPLICAS,
        "mirror": {"name": origin["name"], "external": {"api": Place::First.api()}},
    });
    for key in INHERITED {
        if !origin[key].is_null() {
            config[key] = origin[key].clone();
        }
    }
    config
}

/// Waits until a copy has the messages that its origin had when it was read.
async fn wait(
    hub: &JetStream,
    origin: &StreamInfo,
    outcome: Outcome,
    deadline: Instant,
    timeout: Duration,
) -> anyhow::Result<Replica> {
    let name = origin.name();
    loop {
        let info = hub.stream(name).await?;
        let mirror = info.as_ref().and_then(|info| info.mirror.as_ref());
        let lag = mirror.map_or(origin.state.messages, |mirror| mirror.lag);
        if let Some(info) = &info
            && mirror.is_some_and(|mirror| mirror.lag == 0)
            && info.state.last_seq >= origin.state.last_seq
        {
            return Ok(Replica {
                name: name.to_owned(),
                outcome,
                messages: info.state.messages,
                lag,
            });
        }
        if Instant::now() >= deadline {
            let seconds = timeout.as_secs();
            let message = format!("the copy of `{name}` was not complete within {seconds} s");
            let hint = "it goes on by itself; run the same command again to wait for it";
            return Err(Failure::new(Exit::Timeout, message).hint(hint).into());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::streams::safe::tests::stream;
    use super::*;

    fn chosen(own: &[Value], hub: &[Value], names: &[&str]) -> anyhow::Result<Choice> {
        let own = own.iter().map(|config| stream(config, 1)).collect();
        let hub: Vec<StreamInfo> = hub.iter().map(|config| stream(config, 1)).collect();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        choose(own, &hub, &names)
    }

    #[test]
    fn what_can_be_copied_is() {
        let own = [
            json!({"name": "A", "retention": "limits"}),
            json!({"name": "B"}),
            json!({"name": "Q", "retention": "workqueue"}),
            json!({"name": "M", "mirror": {"name": "X"}}),
        ];
        let choice = chosen(&own, &[mirror_of(&own[0])], &[]).unwrap();
        let wanted = choice.wanted.iter();
        let wanted: Vec<_> = wanted
            .map(|(stream, outcome)| (stream.name(), *outcome))
            .collect();
        assert_eq!(wanted, [("A", Outcome::Exists), ("B", Outcome::Created)]);
        assert_eq!(choice.skipped.len(), 2);
        let choice = chosen(&own, &[], &["B"]).unwrap();
        assert_eq!((choice.wanted.len(), choice.skipped.len()), (1, 0));
    }

    #[test]
    fn what_was_named_and_cannot_be_copied_is_an_error() {
        let own = [
            json!({"name": "ORDERS"}),
            json!({"name": "Q", "retention": "interest"}),
        ];
        let other = json!({"name": "ORDERS", "subjects": ["x"]});
        let error = chosen(&own, &[other], &["ORDER", "ORDERS", "Q"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("did you mean `ORDERS`?"), "{text}");
        assert!(
            text.contains("`ORDERS`: the hub has another stream"),
            "{text}"
        );
        assert!(text.contains("`Q`: its retention is `interest`"), "{text}");
    }

    #[test]
    fn a_copy_keeps_what_its_origin_keeps() {
        let origin = json!({"name": "A", "subjects": ["a"], "storage": "file", "max_age": 5,
            "num_replicas": 1, "metadata": {"x": "y"}});
        let mirror = mirror_of(&origin);
        assert_eq!(
            (&mirror["max_age"], &mirror["num_replicas"]),
            (&json!(5), &json!(3))
        );
        assert_eq!(
            (&mirror["subjects"], &mirror["metadata"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(mirror["mirror"]["external"]["api"], "$JS.core.API");
    }
}
