//! The topology of NATS: a hub and regions from a first start, and on a running stack.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::nats::Nats;
use crate::harness::{SOON, Sandbox, eventually, same};

/// The variable that requests a topology.
pub(crate) const VARIABLE: &str = "CORE_TOPOLOGY_NATS";
/// Its value for a hub of three and one region.
pub(crate) const HUB_AND_REGION: &str =
    r#"{"topology": "hub-spoke", "hub_region": "iad", "hub_nodes": 3, "leaf_regions": ["lhr"]}"#;
/// Most nodes of a test, and the ports of each.
const NODES: u16 = 7;
const PORTS_OF_A_NODE: u16 = 5;
/// Its value for one server alone.
pub(crate) const ALONE: &str = r#"{"topology": "single-node"}"#;
/// Pause between two messages to a subscriber that other servers learn of after a moment.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) fn sandbox(spec: &str) -> Sandbox {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(NODES * PORTS_OF_A_NODE);
    sandbox.dotenv(VARIABLE, spec);
    sandbox
}

/// Returns a port of a further node.
#[track_caller]
pub(crate) fn port(sandbox: &Sandbox, process: &str, name: &str) -> u16 {
    let facts: Value = serde_json::from_str(&sandbox.read(".data/nats/topology.json")).unwrap();
    let port = facts["ports"][process][name].as_u64();
    u16::try_from(port.expect("the node has the port")).unwrap()
}

/// Checks that a message published at one server is received at another one.
#[track_caller]
fn is_heard(from: u16, at: u16) {
    let mut listener = Nats::connect(at);
    listener.subscribe("news");
    let heard = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut teller = Nats::connect(from);
            while !heard.load(Ordering::Relaxed) {
                teller.tell("news", "hello");
                thread::sleep(PAUSE);
            }
        });
        same("message", listener.message().as_str(), "hello");
        heard.store(true, Ordering::Relaxed);
    });
}

fn pids(sandbox: &Sandbox) -> [i32; 3] {
    ["nats", "pocketbase", "caddy"].map(|name| sandbox.pid(name))
}

#[test]
fn a_hub_and_a_region_from_nothing() {
    let sandbox = sandbox(HUB_AND_REGION);
    let report = sandbox.up();
    same("outcome", &report["outcome"], &json!("started"));
    let own = sandbox.port("nats.client");
    is_heard(own, port(&sandbox, "nats-hub-2", "client"));
    is_heard(port(&sandbox, "nats-leaf-lhr", "client"), own);
    let node = port(&sandbox, "nats-hub-1", "client");
    let process = &sandbox.status()["services"]["nats"]["processes"]["nats-hub-1"];
    let url = format!("nats://127.0.0.1:{node}");
    same("address", &process["url"], &json!(url));
    let mut hub = Nats::connect(node);
    let body = json!({"name": "SAFE", "subjects": ["SAFE.>"], "num_replicas": 3});
    let made = hub.api("STREAM.CREATE.SAFE", &body);
    same("replicas", &made["config"]["num_replicas"], &json!(3));

    sandbox.down();
    sandbox.up();
    let mut hub = Nats::connect(port(&sandbox, "nats-hub-3", "client"));
    hub.api("STREAM.INFO.SAFE", &json!({}));
}

#[test]
fn a_running_stack_gets_a_hub_and_loses_it_again() {
    let mut sandbox = sandbox(ALONE);
    sandbox.up();
    assert!(!sandbox.path(".data/nats/topology.json").exists());
    let before = pids(&sandbox);
    let mut client = Nats::connect(sandbox.port("nats.client"));
    client.make_stream("ORDERS");
    client.publish("ORDERS.new", "first");

    sandbox.dotenv(VARIABLE, HUB_AND_REGION);
    let plan = sandbox.run("plan --json").succeeds().json();
    let step = json!({"action": "reload", "because": ["topology"]});
    same("plan of nats", &plan["processes"]["nats"], &step);
    let add = json!({"action": "add"});
    same("plan of a node", &plan["processes"]["nats-hub-1"], &add);
    let none = json!({"action": "none"});
    same("plan of caddy", &plan["processes"]["caddy"], &none);

    let report = sandbox.run("reload --json").succeeds().json();
    same("nats", &report["changes"]["nats"], &json!("reloaded"));
    same("a node", &report["changes"]["nats-hub-1"], &json!("added"));
    same("process ids with the hub", pids(&sandbox), before);
    is_heard(
        sandbox.port("nats.client"),
        port(&sandbox, "nats-hub-3", "client"),
    );
    same("again", &sandbox.up()["outcome"], &json!("unchanged"));

    let mut hub = Nats::connect(port(&sandbox, "nats-hub-1", "client"));
    hub.make_stream("KEPT");
    sandbox.dotenv(VARIABLE, ALONE);
    let refused = sandbox.run("reload").ends(10);
    let message = "error: the hub would be removed and holds the streams `KEPT`\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    hub.api("STREAM.DELETE.KEPT", &json!({}));

    let report = sandbox.run("reload --json").succeeds().json();
    same("nats", &report["changes"]["nats"], &json!("reloaded"));
    same(
        "a node",
        &report["changes"]["nats-hub-1"],
        &json!("removed"),
    );
    same("process ids without the hub", pids(&sandbox), before);
    // The same connection as before all changes.
    same("sequence", client.publish("ORDERS.new", "second"), 2);
    same("message", client.stored("ORDERS", 1).as_str(), "first");
}

#[test]
fn nodes_and_regions_come_and_go_by_themselves() {
    let mut sandbox = sandbox(
        r#"{"topology": "hub-spoke", "hub_region": "iad", "hub_nodes": 3,
        "leaf_regions": ["nrt"]}"#,
    );
    let before = sandbox.up();
    let more = r#"{"topology": "hub-spoke", "hub_region": "iad", "hub_nodes": 5,
        "leaf_regions": ["lhr"]}"#;
    let mut leaf = Nats::connect(port(&sandbox, "nats-leaf-nrt", "client"));
    leaf.make_stream("KEPT");
    sandbox.dotenv(VARIABLE, more);
    let refused = sandbox.run("plan").ends(10);
    let message = "error: `nats-leaf-nrt` would be removed and holds the streams `KEPT`\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    leaf.api("STREAM.DELETE.KEPT", &json!({}));

    let after = sandbox.up();
    let changes = json!({"nats-hub-4": "added", "nats-hub-5": "added", "nats-leaf-lhr": "added",
        "nats-leaf-nrt": "removed"});
    same("changes", &after["changes"], &changes);
    for name in ["nats", "nats-hub-1", "nats-hub-2", "nats-hub-3", "caddy"] {
        let [before, after] = [&before, &after].map(|report| &report["processes"][name]["pid"]);
        same(name, after, before);
    }
}

#[test]
fn a_change_that_was_killed_is_finished_by_the_next() {
    let mut sandbox = sandbox(ALONE);
    sandbox.up();
    let before = pids(&sandbox);
    sandbox.dotenv(VARIABLE, HUB_AND_REGION);
    let reload = sandbox.start("reload");
    let facts = sandbox.path(".data/nats/topology.json");
    eventually("the topology file", SOON, || facts.exists().then_some(()));
    reload.signal(Signal::KILL);
    same("exit code", reload.wait().code, 128 + 9);
    sandbox.up();
    same("process ids", pids(&sandbox), before);
    is_heard(
        sandbox.port("nats.client"),
        port(&sandbox, "nats-hub-1", "client"),
    );
}

#[test]
fn a_hub_that_cannot_start_leaves_everything_as_it_was() {
    let mut sandbox = sandbox(ALONE);
    sandbox.up();
    let before = pids(&sandbox);
    // A file is in the place of its data directory.
    fs::write(sandbox.path(".data/nats-hub-2"), "").unwrap();
    sandbox.dotenv(VARIABLE, HUB_AND_REGION);
    let failed = sandbox.run("reload").ends(16);
    assert!(failed.stderr.contains("`nats-hub-2`"), "{}", failed.stderr);
    same("process ids", pids(&sandbox), before);
    sandbox.dotenv(VARIABLE, ALONE);
    same("outcome", &sandbox.up()["outcome"], &json!("unchanged"));
    sandbox.wait_healthy();
}

#[test]
fn a_bad_topology_changes_nothing() {
    let mut sandbox = sandbox(ALONE);
    let bad = [
        (
            r#"{"topology": "hub-spoke", "hub_nodes": 4}"#,
            "is 4, but a hub has 3 nodes or more",
        ),
        (
            r#"{"topology": "hub-spoke", "hub_nodes": 3, "hub_region": "a",
                "leaf_regions": ["a"]}"#,
            "which is the region of the hub",
        ),
        (
            r#"{"topology": "ring"}"#,
            "must be `single-node` or `hub-spoke`",
        ),
    ];
    for (spec, expected) in bad {
        sandbox.dotenv(VARIABLE, spec);
        let refused = sandbox.run("up").ends(10);
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    sandbox.nothing_was_started();
    assert!(!sandbox.path(".data").exists());
}
