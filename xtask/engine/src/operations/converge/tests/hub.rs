//! Hub nodes that are restarted one by one, and nodes that leave. The servers are only simulated
//! monitoring: a hub without streams, in which all nodes are connected.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use kit::Exit;
use kit::failure::exit_of;

use super::*;
use crate::supervisor::fake::{Fault, Script};

const VARIABLE: &str = "CORE_TOPOLOGY_NATS";

fn spec(nodes: u32) -> String {
    let spec = json!({
        "topology": "hub-spoke", "hub_region": "iad", "hub_nodes": nodes, "leaf_regions": ["lhr"],
    });
    spec.to_string()
}

/// Returns the manifest of NATS with free ports.
fn manifest() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = root.ancestors().nth(2).unwrap();
    let text = fs::read_to_string(root.join("services/nats/service.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    let ports = manifest["ports"].as_object_mut().unwrap();
    let held = ports.values_mut().map(|port| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        port["port"] = json!(listener.local_addr().unwrap().port());
        listener
    });
    // Bound at the same time, so that they differ.
    drop(held.collect::<Vec<_>>());
    let env = manifest["process"]["env"].as_object_mut().unwrap();
    env.retain(|_, value| !value.to_string().contains("caddy"));
    // The reloadable settings concern only Caddy.
    manifest["process"]["reloadable"] = json!([]);
    manifest
}

/// Answers as the monitoring of a server until the tests end.
fn monitor(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let size = stream.read(&mut request).unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..size]).into_owned();
            let body = if request.contains("/leafz") {
                json!({"leafs": [{"name": "nats"}, {"name": "leaf-lhr"}]})
            } else {
                json!({"disabled": true})
            };
            let (body, size) = (body.to_string(), body.to_string().len());
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
            let _ = write!(stream, "{head} {size}\r\n\r\n{body}");
        }
    });
}

/// Returns a running stack with a hub of this many nodes.
fn bed(nodes: u32) -> Bed {
    let mut bed = Bed::spawning(&[]);
    bed.manifest("nats", &manifest());
    bed.ctx.env.set(VARIABLE, &spec(nodes));
    let inputs = bed.boot();
    for process in inputs.stack.processes.values() {
        monitor(process.ports["http"].port);
    }
    bed
}

#[test]
fn nodes_of_the_hub_are_restarted_one_after_the_other() {
    let bed = bed(3);
    let mut changed_manifest = manifest();
    let text = fs::read_to_string(bed.ctx.paths.root().join("services/nats/service.json")).unwrap();
    let old: Value = serde_json::from_str(&text).unwrap();
    changed_manifest["ports"] = old["ports"].clone();
    changed_manifest["process"]["env"]["CHANGED"] = json!("yes");
    bed.manifest("nats", &changed_manifest);
    let report = bed.up().unwrap();
    let names: BTreeSet<&str> = changed(&report).into_keys().collect();
    assert_eq!(
        names,
        [
            "nats",
            "nats-hub-1",
            "nats-hub-2",
            "nats-hub-3",
            "nats-leaf-lhr"
        ]
        .into()
    );
    assert!(bed.fake.lost().is_empty());
    let orders = bed.fake.orders();
    let stops: Vec<usize> = (1..=3)
        .map(|node| {
            let stop = format!("stop nats-hub-{node}");
            orders.iter().position(|order| *order == stop).unwrap()
        })
        .collect();
    for stop in stops {
        assert_eq!(orders[stop + 1], "reload", "one at a time: {orders:?}");
    }
    assert_eq!(bed.up().unwrap().outcome, Outcome::Unchanged);
}

#[test]
fn nodes_leave_one_after_the_other() {
    let mut bed = bed(5);
    let retires = Script {
        signal_ends_it: Some(0),
        ..Script::default()
    };
    for node in ["nats-hub-4", "nats-hub-5"] {
        bed.fake.script(node, retires.clone());
    }
    bed.ctx.env.set(VARIABLE, &spec(3));
    let report = bed.up().unwrap();
    let changes = changed(&report);
    assert_eq!(changes["nats-hub-4"], "removed");
    assert_eq!(changes["nats-hub-5"], "removed");
    assert!(bed.fake.lost().is_empty());
    let orders = bed.fake.orders();
    let position = |order: &str| orders.iter().position(|other| other == order);
    assert!(
        position("signal nats-hub-5 1") < position("signal nats-hub-4 1"),
        "{orders:?}"
    );
    assert_eq!(bed.up().unwrap().outcome, Outcome::Unchanged);
}

/// One command fails in the middle of shrinking a hub, another one at its end.
#[test]
fn what_was_not_finished_is_finished_by_the_next_command() {
    let mut bed = bed(5);
    let config = bed.ctx.paths.state().join("nats-hub-1/nats.conf");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let stale = json!({"cluster": {"routes": ["nats://127.0.0.1:1"]}});
    fs::write(&config, stale.to_string()).unwrap();
    bed.ctx.env.set(VARIABLE, &spec(3));
    let refused = |order| (order, Fault::Refuse(500, "no idea"));
    let faults = [
        // It is stopped instead.
        refused("PATCH /process/signal/nats-hub-5"),
        refused("PATCH /process/signal/nats-hub-4"),
        // The first reload changes the nodes that stay.
        ("POST /project/configuration", Fault::Not),
        refused("POST /project/configuration"),
        refused("PATCH /process/signal/nats-hub-1"),
    ];
    for (order, fault) in faults {
        bed.fake.fault(order, fault);
    }
    for stopped_at in ["nats-hub-5", "nats-hub-1"] {
        let error = bed.up().unwrap_err();
        assert_eq!(exit_of(&error), Exit::ReloadFailed, "{error:#}");
        let text = format!("{error:#}");
        assert!(text.contains(&format!("`{stopped_at}` is where")), "{text}");
    }
    let left = bed.ctx.client().unwrap().processes().unwrap();
    assert!(!left.contains_key("nats-hub-4") && !left.contains_key("nats-hub-5"));
    assert!(bed.fake.lost().is_empty());
    fs::remove_file(&config).unwrap();
    assert_eq!(bed.up().unwrap().outcome, Outcome::Unchanged);
}
