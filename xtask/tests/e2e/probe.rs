//! `--probe`: the effect of a change on clients, as counted by clients.

use engine::plan::stack::port_variable;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::nats::Nats;
use crate::harness::{SOON, Sandbox, eventually, same};

/// The clients of a whole stack.
const CLIENTS: [&str; 8] = [
    "http /api/health kept connection",
    "http /api/health new connection",
    "http /healthz kept connection",
    "http /healthz new connection",
    "nats consumer",
    "nats publisher",
    "pocketbase reader",
    "pocketbase writer",
];

/// Returns the number of users' streams.
#[track_caller]
fn streams(sandbox: &Sandbox) -> usize {
    Nats::connect(sandbox.port("nats.client"))
        .stream_names()
        .len()
}

fn move_pocketbase(sandbox: &mut Sandbox) {
    let port = sandbox.spare_port("pocketbase.new");
    let variable = port_variable("pocketbase", "http");
    sandbox.dotenv(&variable, &port.to_string());
}

#[test]
fn nobody_notices_that_pocketbase_moves() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    move_pocketbase(&mut sandbox);
    let report = sandbox.run("reload --probe --json").succeeds().json();
    let clients = report["probe"]["clients"].as_object().unwrap();
    let names: Vec<&str> = clients.keys().map(String::as_str).collect();
    same("clients", names, CLIENTS.to_vec());
    for (name, client) in clients {
        assert!(client["operations"].as_u64() > Some(5), "{name}: {client}");
        for key in ["errors", "lost", "duplicated"] {
            same(&format!("{name}: {key}"), &client[key], &json!(0));
        }
    }
    same("streams", streams(&sandbox), 0);
    let again = sandbox.run("up --probe").succeeds();
    assert!(again.stderr.contains("nats publisher"), "{}", again.stderr);
    sandbox.down();
    let first = sandbox.run("up --probe").succeeds();
    let expected = "no stack was running; nothing to measure";
    assert!(first.stderr.contains(expected), "{}", first.stderr);
}

#[test]
fn what_clients_notice_is_told() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    // Caddy itself moves: clients with its old port are refused.
    let port = sandbox.spare_port("caddy.new");
    sandbox.dotenv(&port_variable("caddy", "http"), &port.to_string());
    let run = sandbox.run("reload --probe --json").ends(4);
    let expected = "clients noticed it: `http /api/health kept connection`";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    let clients = &run.json()["probe"]["clients"];
    let errors = &clients["http /healthz new connection"]["errors"];
    assert!(errors.as_u64() > Some(0), "{clients}");
    let writer = &clients["pocketbase writer"];
    same("given up", &writer["errors"], &json!(1));
    same("lost", &writer["lost"], &json!(0));
    let publisher = &clients["nats publisher"];
    assert_eq!(publisher["errors"], 0, "NATS is not concerned: {publisher}");
}

#[test]
fn an_interrupted_probe_leaves_nothing() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    move_pocketbase(&mut sandbox);
    let reload = sandbox.start("reload --probe");
    eventually("a stream", SOON, || (streams(&sandbox) == 1).then_some(()));
    reload.signal(Signal::INT);
    reload.wait();
    same("streams", streams(&sandbox), 0);
}
