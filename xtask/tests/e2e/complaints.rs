//! Complaints of users about other tools for local stacks, each as a test.

use std::collections::BTreeSet;
use std::net::TcpListener;

use engine::plan::stack::port_variable;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{SOON, Sandbox, eventually, fake_program, processes, same};

/// Commands that report, and the keys of their documents, which are frozen: within a
/// `schema_version` keys are only added.
const DOCUMENTS: [(&str, &[&str]); 11] = [
    (
        "status --json",
        &["healthy", "running", "services", "supervised"],
    ),
    ("plan --json", &["changes", "processes", "running"]),
    ("ports --json", &["ports", "running"]),
    ("env --format json", &["variables"]),
    ("explain nats --json", &["entries", "file", "service"]),
    ("graph --format json", &["order", "processes"]),
    ("ps --json", &["instances"]),
    ("topology show --json", &["applied", "record", "running"]),
    ("topology history --json", &["history"]),
    ("doctor --offline --json", &["checks", "healthy"]),
    ("dep list --json", &["binaries"]),
];

/// devenv #2619, aspire #5546, supabase: an interrupted stack continues and holds its ports.
#[test]
fn orphans_after_ctrl_c() {
    let sandbox = Sandbox::core();
    let mut attached = sandbox.start("up --attach");
    attached.wait_for_stdout("READY: caddy");
    attached.signal(Signal::INT);
    attached.wait();
    sandbox.nothing_is_left_within(SOON);
    for name in ["nats.client", "pocketbase.http", "caddy.http"] {
        let free = TcpListener::bind(("127.0.0.1", sandbox.port(name)));
        assert!(free.is_ok(), "{name}: {free:?}");
    }
}

/// process-compose, pitchfork #878: a socket or pid of a dead supervisor prevents the next start,
/// or another program's process is signalled.
#[test]
fn stale_sockets_of_a_killed_supervisor() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let supervisor = sandbox.supervisor().pid;
    processes::signal(supervisor, Signal::KILL);
    eventually("the end of all it ran", SOON, || {
        (sandbox.run("status").code == 3).then_some(())
    });
    let run = sandbox.path(".core-stack/supervisor.sock");
    assert!(run.symlink_metadata().is_ok(), "its socket is still told");
    same("outcome", &sandbox.up()["outcome"], &json!("started"));
    assert_ne!(sandbox.supervisor().pid, supervisor);
}

/// devenv #2710, #3063: commands report other ports than those of the listeners.
#[test]
fn port_truth_is_what_runs() {
    let mut sandbox = Sandbox::core();
    let port = sandbox.port("nats.client");
    sandbox.up();
    // Edited, and not applied: the running stack counts.
    let other = sandbox.spare_port("nats.other");
    sandbox.dotenv(&port_variable("nats", "client"), &other.to_string());
    let url = json!(format!("nats://127.0.0.1:{port}"));
    same("status", &sandbox.status()["services"]["nats"]["url"], &url);
    let env = sandbox.run("env --format json").succeeds().json();
    same("env", &env["variables"]["NATS_URL"], &url);
    let ports = sandbox.run("ports --json").succeeds().json();
    let ports = ports["ports"].as_array().unwrap();
    let is_client = |entry: &&Value| entry["process"] == "nats" && entry["name"] == "client";
    let client = ports.iter().find(is_client).unwrap();
    same("ports", &client["port"], &json!(port));
    let report = sandbox.up();
    let url = json!(format!("nats://127.0.0.1:{other}"));
    same("after up", &report["processes"]["nats"]["url"], &url);
    let env = sandbox.run("env --format json").succeeds().json();
    same("env after up", &env["variables"]["NATS_URL"], &url);
}

/// docker compose, aspire #18050: `up` reports success, but a process has already exited.
#[test]
fn waits_that_lie_about_health() {
    let mut sandbox = Sandbox::empty();
    let command = format!("{} --exit 3", fake_program());
    sandbox.service("short", &json!({"process": {"command": command}}));
    let run = sandbox.run("up").ends(13);
    assert!(run.stderr.contains("`short`"), "{}", run.stderr);
    same("status", sandbox.run("status").code, 3);
}

/// docker compose #10958, #13868: JSON that changes its form breaks scripts.
#[test]
fn json_that_changes_breaks_scripts() {
    let sandbox = Sandbox::core();
    sandbox.up();
    for (line, keys) in DOCUMENTS {
        let document = sandbox.run(line).json();
        same(line, &document["schema_version"], &json!(1));
        let object = document.as_object().unwrap();
        let found: BTreeSet<&str> = object.keys().map(String::as_str).collect();
        let missing = keys.iter().find(|key| !found.contains(*key));
        assert_eq!(missing, None, "{line}: {found:?}");
    }
}
