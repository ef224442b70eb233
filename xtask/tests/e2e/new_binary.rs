//! A program that is replaced under the same path: the next `up` runs the new one.
//!
//! Linux only: elsewhere a program that was changed by hand may not be allowed to run.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::nats::Nats;
use crate::harness::publisher::Publisher;
use crate::harness::{SOON, Sandbox, eventually, processes, same};

/// Installs another program with the same behaviour: bytes after its end have no meaning.
fn replace(sandbox: &Sandbox, name: &str) {
    let file = sandbox.path(&format!(".dep/{name}"));
    let mut bytes = fs::read(&file).unwrap();
    bytes.push(0);
    let next = sandbox.path(".dep/next");
    fs::write(&next, bytes).unwrap();
    fs::set_permissions(&next, fs::metadata(&file).unwrap().permissions()).unwrap();
    fs::rename(&next, &file).unwrap();
    note(sandbox, name, &file);
}

/// Writes the digest of a binary into its record, as an installation does.
fn note(sandbox: &Sandbox, name: &str, file: &Path) {
    let path = format!(".dep/.records/{name}.json");
    let mut record: Value = serde_json::from_str(&sandbox.read(&path)).unwrap();
    record["sha256"] = json!(engine::base::digest::of_file(file).unwrap());
    fs::write(sandbox.path(&path), record.to_string()).unwrap();
}

/// Returns the process ids by service.
fn pids(report: &Value) -> [Value; 3] {
    ["nats", "pocketbase", "caddy"].map(|name| report["processes"][name]["pid"].clone())
}

#[test]
fn the_next_up_runs_wrappers_that_were_replaced() {
    let sandbox = Sandbox::core();
    sandbox.own_binaries();
    let first = pids(&sandbox.up());

    replace(&sandbox, "nats");
    replace(&sandbox, "caddy");
    let report = sandbox.up();
    let restarted = "restarted (new binary)";
    let expected = json!({"caddy": restarted, "nats": restarted});
    same("changes", &report["changes"], &expected);
    let second = pids(&report);
    assert_ne!(first[0], second[0], "NATS");
    same("PocketBase", &first[1], &second[1]);
    assert_ne!(first[2], second[2], "Caddy");

    let report = sandbox.up();
    same("outcome", &report["outcome"], &json!("unchanged"));
    same("process ids", pids(&report), second);
}

/// The supervisor continues to count restarts: they are no failure of what follows.
#[test]
fn a_crash_before_is_no_failure_of_the_restart() {
    let sandbox = Sandbox::core();
    sandbox.own_binaries();
    sandbox.up();
    let old = sandbox.pid("caddy");
    processes::kill(old);
    eventually("another wrapper", SOON, || {
        let status = sandbox.status();
        let process = &status["services"]["caddy"]["processes"]["caddy"];
        (process["restarts"] == json!(1) && process["pid"] != json!(old)).then_some(())
    });
    sandbox.wait_healthy();
    replace(&sandbox, "caddy");
    let report = sandbox.up();
    let expected = json!({"caddy": "restarted (new binary)"});
    same("changes", &report["changes"], &expected);
    sandbox.run("restart caddy").succeeds();
}

#[test]
fn the_same_program_in_another_file_is_left_alone() {
    let sandbox = Sandbox::core();
    sandbox.own_binaries();
    let first = pids(&sandbox.up());
    for name in ["nats", "nats-server"] {
        let file = sandbox.path(&format!(".dep/{name}"));
        let bytes = fs::read(&file).unwrap();
        let mode = fs::metadata(&file).unwrap().permissions();
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        fs::set_permissions(&file, mode).unwrap();
    }
    let report = sandbox.up();
    same("outcome", &report["outcome"], &json!("unchanged"));
    same("process ids", pids(&report), first);
}

#[test]
fn the_nodes_of_a_hub_run_a_new_wrapper_one_after_the_other() {
    let mut sandbox = Sandbox::core();
    sandbox.own_binaries();
    sandbox.ports_of_nodes(15);
    let hub = r#"{"topology": "hub-spoke", "hub_nodes": 3}"#;
    sandbox.dotenv("CORE_TOPOLOGY_NATS", hub);
    sandbox.up();
    let facts: Value = serde_json::from_str(&sandbox.read(".data/nats/topology.json")).unwrap();
    let ports = ["nats-hub-1", "nats-hub-2", "nats-hub-3"].map(|process| {
        let port = facts["ports"][process]["client"].as_u64();
        u16::try_from(port.unwrap()).unwrap()
    });
    let body = json!({"name": "SAFE", "subjects": ["SAFE.>"], "num_replicas": 3});
    Nats::connect(ports[0]).api("STREAM.CREATE.SAFE", &body);
    let publisher = Publisher::start(&ports, &["SAFE"]);
    replace(&sandbox, "nats");
    let changes = sandbox.up()["changes"].clone();
    for name in ["nats", "nats-hub-1", "nats-hub-2", "nats-hub-3"] {
        same(name, &changes[name], &json!("restarted (new binary)"));
    }
    publisher.nothing_was_lost(&mut Nats::connect(ports[0]));
    same("again", &sandbox.up()["outcome"], &json!("unchanged"));
}
