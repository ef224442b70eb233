//! What refuses a change of the topology before anything is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use kit::http::{self, Endpoint};
use kit::{Exit, Failure};
use serde_json::Value;
use service_nats::topology::{Node, Role, Spec};

use super::{Topology, leave};
use crate::context::Ctx;

/// How long one server may take to name its streams.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The account whose streams are users'.
const ACCOUNT: &str = "APP";

/// Refuses what would put streams out of reach, and what cannot be done. `running` says whether
/// the servers can be asked; otherwise their stores are looked at.
pub fn check(ctx: &Ctx, topology: &Topology, running: bool) -> anyhow::Result<()> {
    if topology.before.spec == Spec::SingleNode {
        return Ok(());
    }
    leave::check(&ctx.paths, topology, running)?;
    let stay: BTreeSet<String> = topology
        .now
        .nodes()
        .into_iter()
        .map(|n| n.process)
        .collect();
    let nodes = topology.before.nodes().into_iter();
    let leaving: Vec<Node> = nodes.filter(|node| !stay.contains(&node.process)).collect();
    let mut held: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in &leaving {
        let streams = streams(ctx, topology, node, running)?;
        if !streams.is_empty() {
            let holder = match node.role {
                Role::Hub => "the hub".to_owned(),
                Role::Leaf => format!("`{}`", node.process),
            };
            held.entry(holder).or_default().extend(streams);
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    let lines = held.iter().map(|(holder, streams)| {
        let names: Vec<&str> = streams.iter().map(String::as_str).collect();
        format!(
            "{holder} would be removed and holds the streams `{}`",
            names.join("`, `")
        )
    });
    let message = lines.collect::<Vec<_>>().join("\n");
    Err(Failure::new(Exit::Invalid, message)
        .hint("nothing was changed; copy them elsewhere, delete them there, and try again")
        .into())
}

fn streams(
    ctx: &Ctx,
    topology: &Topology,
    node: &Node,
    running: bool,
) -> anyhow::Result<BTreeSet<String>> {
    if running
        && let Some(port) = topology.before.port(&node.process, "http")
        && let Some(streams) = asked(port)?
    {
        return Ok(streams);
    }
    let store = ctx.paths.data().join(&node.directory).join("jetstream");
    let entries = fs::read_dir(store.join(ACCOUNT).join("streams"));
    let names = entries.into_iter().flatten().flatten();
    Ok(names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect())
}

/// The streams that a server itself names; `None` when it does not answer.
fn asked(port: u16) -> anyhow::Result<Option<BTreeSet<String>>> {
    let runtime = kit::runtime::current_thread()?;
    let monitor = Endpoint::tcp("127.0.0.1", port);
    let question = http::get(&monitor, "/jsz?accounts=true&streams=true", ANSWER_TIMEOUT);
    let Ok(answer) = runtime.block_on(question) else {
        return Ok(None);
    };
    Ok(serde_json::from_slice(&answer.body)
        .ok()
        .map(|value| named(&value)))
}

fn named(jsz: &Value) -> BTreeSet<String> {
    let accounts = jsz["account_details"].as_array().into_iter().flatten();
    let details = accounts.filter_map(|account| account["stream_detail"].as_array());
    let names = details
        .flatten()
        .filter_map(|stream| stream["name"].as_str());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn streams_are_named_by_account() {
        let jsz = json!({"account_details": [
            {"name": "SYS"},
            {"name": "APP", "stream_detail": [{"name": "ORDERS"}, {"name": "LOG"}]},
        ]});
        let expected: BTreeSet<String> = ["LOG", "ORDERS"].map(str::to_owned).into();
        assert_eq!(named(&jsz), expected);
        assert_eq!(named(&json!({"disabled": true})), BTreeSet::new());
    }
}
