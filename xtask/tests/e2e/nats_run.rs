//! A separate topology of NATS, in the foreground.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::nats::Nats;
use crate::harness::{Running, Sandbox, processes, same};

/// Most nodes of a test, and the ports of each.
const NODES: u16 = 5;
const PORTS_OF_A_NODE: u16 = 5;
/// Limit for wrappers without their parent: they promise 4 s, and the machine is busy.
const ORPHANS: Duration = Duration::from_secs(8);
/// The line that is printed when all nodes are joined.
const JOINED: &str = "JOINED: 3 hub nodes, 1 leaf nodes";

fn sandbox() -> Sandbox {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(NODES * PORTS_OF_A_NODE);
    sandbox
}

#[track_caller]
fn start(sandbox: &Sandbox) -> Running {
    let mut running = sandbox.start("nats run --nodes 3 --leaf lhr");
    running.wait_for_stdout(JOINED);
    running
}

fn port(sandbox: &Sandbox, process: &str) -> u16 {
    let facts = sandbox.read(".data/nats-run/nats/topology.json");
    let facts: Value = serde_json::from_str(&facts).unwrap();
    let port = facts["ports"][process]["client"].as_u64();
    u16::try_from(port.unwrap()).unwrap()
}

#[test]
fn a_topology_runs_beside_a_stack_until_it_is_told_to_stop() {
    let sandbox = sandbox();
    sandbox.up();
    let running = start(&sandbox);
    let mut leaf = Nats::connect(port(&sandbox, "nats-leaf-lhr"));
    let body = json!({"name": "SAFE", "subjects": ["SAFE.>"], "num_replicas": 3});
    let made = leaf.request("$JS.hub.API.STREAM.CREATE.SAFE", &body.to_string());
    assert!(!made.contains("error"), "{made}");

    let contexts = sandbox.path(".core-stack/nats-run/cli/nats/context");
    for name in ["core-hub", "core-hub-system", "core-leaf-lhr"] {
        let file = contexts.join(format!("{name}.json"));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        same("mode", mode & 0o777, 0o600);
        let context: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let url = context["url"].as_str().unwrap();
        let first = url.split(',').next().unwrap();
        let port = first.rsplit(':').next().unwrap().parse().unwrap();
        let [user, password] = ["user", "password"].map(|key| context[key].as_str().unwrap());
        Nats::log_in(port, user, password);
    }
    let second = sandbox.run("nats run --nodes 3").ends(15);
    assert!(
        second
            .stderr
            .contains("another `cargo xtask nats run --nodes` runs")
    );
    sandbox.down();
    running.signal(Signal::TERM);
    let ended = running.wait().ends(0);
    for process in ["nats-hub-1", "nats-hub-2", "nats-hub-3", "nats-leaf-lhr"] {
        let ready = format!(
            "READY: {process} tcp://127.0.0.1:{}",
            port(&sandbox, process)
        );
        assert!(ended.stdout.contains(&ready), "{}", ended.stdout);
    }
    assert!(ended.stderr.contains("nats-hub-2 | "), "{}", ended.stderr);
    // Its output ends with the addresses of all nodes, after any output of the servers.
    let (_, end) = ended.stderr.split_once("export XDG_CONFIG_HOME=").unwrap();
    let ready: Vec<&str> = end
        .lines()
        .filter(|line| line.starts_with("READY: "))
        .collect();
    let expected = ["nats-hub-1", "nats-hub-2", "nats-hub-3", "nats-leaf-lhr"];
    let named = ready
        .iter()
        .zip(expected)
        .filter(|(line, name)| line.contains(name));
    same("ready", (ready.len(), named.count()), (4, 4));
    assert!(!contexts.exists(), "contexts of what does not run");
    sandbox.nothing_is_left_within(Duration::ZERO);
    // Ports and streams are preserved.
    let running = start(&sandbox);
    let mut hub = Nats::connect(port(&sandbox, "nats-hub-2"));
    hub.api("STREAM.INFO.SAFE", &json!({}));
    running.signal(Signal::INT);
    running.wait().ends(0);
}

#[test]
fn a_topology_whose_command_is_killed_leaves_nothing() {
    let sandbox = sandbox();
    let running = start(&sandbox);
    running.signal(Signal::KILL);
    running.wait().killed();
    sandbox.nothing_is_left_within(ORPHANS);
    let running = start(&sandbox);
    running.signal(Signal::TERM);
    running.wait().ends(0);
}

#[test]
fn a_server_that_dies_ends_the_whole() {
    let sandbox = sandbox();
    let running = start(&sandbox);
    let wrappers = processes::children(running.pid());
    let servers = wrappers
        .iter()
        .flat_map(|wrapper| processes::children(wrapper.pid));
    let server = servers
        .into_iter()
        .find(|server| server.line.contains("nats-hub-2"));
    processes::signal(server.unwrap().pid, Signal::KILL);
    let ended = running.wait().ends(128 + 9);
    let told = "`nats-hub-2` ended by itself (exit status: 137)\n";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert!(ended.stderr.contains("`nats-server` was ended by signal 9"));
    sandbox.nothing_is_left_within(Duration::ZERO);
}

#[test]
fn a_topology_that_cannot_be_is_refused() {
    let sandbox = sandbox();
    for (line, code, message) in [
        (
            "nats run --nodes 4",
            10,
            "`--nodes` is 4, but a hub has 3 nodes or more",
        ),
        (
            "nats run --nodes 1",
            10,
            "`--nodes` is 1, but a hub has 3 nodes or more",
        ),
        ("nats run --nodes 3 --leaf A", 10, "`--leaf"),
        ("nats run --leaf lhr", 2, "--nodes"),
        ("pocketbase run --nodes 3", 2, "`pocketbase` has no nodes"),
    ] {
        let refused = sandbox.run(line).ends(code);
        assert!(
            refused.stderr.contains(message),
            "{line}: {}",
            refused.stderr
        );
    }
    assert!(!sandbox.path(".data/nats-run").exists());
}
