//! Requests for a topology: a refusal names a command that works, and earlier requests leave
//! nothing.

use std::fs;

use serde_json::{Value, json};

use crate::harness::nats::Nats;
use crate::harness::{SOON, Sandbox, eventually, same};

/// Number of ports for the nodes of a test.
const PORTS_OF_NODES: u16 = 25;

/// Returns the command in a hint after `nothing was changed`.
#[track_caller]
fn hinted(stderr: &str) -> Vec<String> {
    let hint = stderr
        .lines()
        .rfind(|line| line.starts_with("hint: "))
        .expect("a hint");
    let commands = hint
        .split('`')
        .filter_map(|part| part.strip_prefix("cargo xtask "));
    commands.map(str::to_owned).collect()
}

/// Returns the directories of hub nodes.
fn hub_directories(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.path(".data")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("nats-hub-")).collect();
    names.sort();
    names
}

#[test]
fn a_hub_that_comes_and_goes_is_backed_up_at_once_and_leaves_nothing() {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(PORTS_OF_NODES);
    sandbox.up();
    for round in 0..5 {
        sandbox.run("topology set nats --hub-nodes 3").succeeds();
        // Right after the hub has started, as a script would.
        let file = sandbox.path("a.tar").display().to_string();
        sandbox.run(&format!("backup {file} --force")).succeeds();
        same("directories", hub_directories(&sandbox).len(), 3);
        let name = format!("R{round}");
        let port = sandbox.run("status --json").json();
        let port = port["services"]["nats"]["processes"]["nats-hub-1"]["ports"]["client"].clone();
        let port = port["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        let mut hub = Nats::connect(port.expect("the hub has a port"));
        let stream = json!({"name": name, "subjects": [format!("{name}.>")], "num_replicas": 3,
            "allow_direct": true});
        hub.api(&format!("STREAM.CREATE.{name}"), &stream);
        hub.publish(&format!("{name}.new"), "kept");
        // A refusal names the command that makes this change.
        let refused = sandbox.run("topology set nats --single-node").ends(16);
        let commands = hinted(&refused.stderr);
        same(
            "the hint",
            commands.clone(),
            vec!["topology set nats --single-node --move-streams".to_owned()],
        );
        sandbox.run(&commands[0]).succeeds();
        let mut client = Nats::connect(sandbox.port("nats.client"));
        same("message", client.stored(&name, 1).as_str(), "kept");
        same("directories", hub_directories(&sandbox), Vec::new());
    }
}

#[test]
fn what_is_given_back_to_the_manifest_is_refused_with_what_works() {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(PORTS_OF_NODES);
    sandbox.up();
    sandbox
        .run("topology set nats --hub-nodes 3 --leaf lhr")
        .succeeds();
    let facts: Value = serde_json::from_str(&sandbox.read(".data/nats/topology.json")).unwrap();
    let port = facts["ports"]["nats-leaf-lhr"]["client"].as_u64().unwrap();
    Nats::connect(u16::try_from(port).unwrap()).make_stream("LOCAL");
    let refused = sandbox.run("topology reset").ends(16);
    let commands = hinted(&refused.stderr);
    same("commands", commands.len(), 2);
    for command in commands {
        sandbox.run(&command).succeeds();
    }
    let shown = sandbox.run("topology show --json").succeeds().json();
    same(
        "spec",
        &shown["applied"]["spec"],
        &json!({"topology": "single-node"}),
    );
    same("origin", &shown["applied"]["origin"], &json!("manifest"));
}

#[test]
fn nobody_is_kept_waiting_for_a_controller_that_is_stopped() {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(PORTS_OF_NODES);
    sandbox.up();
    let generation = || {
        let shown = sandbox.run("topology show --json").succeeds().json();
        shown["record"]["generation"].clone()
    };
    let before = generation();
    sandbox.run("stop controller").succeeds();
    // Far below the time that it would wait for an answer.
    for line in ["topology set nats --hub-nodes 3", "topology reset"] {
        let refused = sandbox.run(&format!("{line} --timeout 600")).ends(4);
        assert!(
            refused.stderr.contains("`controller`"),
            "{}",
            refused.stderr
        );
        same("generation", generation(), before.clone());
        same(
            "hint",
            hinted(&refused.stderr.replace("hint: ", "hint: `")),
            vec!["start controller".to_owned()],
        );
    }
    let asked = sandbox
        .run("topology set nats --hub-nodes 3 --no-wait")
        .succeeds();
    assert!(asked.stderr.contains("`controller`"), "{}", asked.stderr);
    sandbox.run("start controller").succeeds();
    eventually("applied", SOON, || {
        let shown = sandbox.run("topology show --json").succeeds().json();
        (shown["applied"]["spec"]["hub_nodes"] == 3).then_some(())
    });
    sandbox.run("topology reset").succeeds();

    // Nor for one that is not part of the running stack.
    sandbox.down();
    sandbox.run("up pocketbase nats").succeeds();
    let refused = sandbox
        .run("topology set nats --hub-nodes 3 --timeout 600")
        .ends(4);
    assert!(
        refused.stderr.contains("`controller`"),
        "{}",
        refused.stderr
    );
}
