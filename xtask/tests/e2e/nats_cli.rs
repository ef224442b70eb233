//! `cargo xtask nats cli`: the real command line of NATS on servers of the running stack.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::nats::Nats;
use crate::harness::{Running, SOON, Sandbox, eventually, fetch, processes, same};
use crate::topology::{HUB_AND_REGION, port, sandbox};

/// Variables of a user who usually works with another server, where nothing is.
const ELSEWHERE: [(&str, &str); 4] = [
    ("NATS_URL", "nats://127.0.0.1:1"),
    ("NATS_TOKEN", "of another server"),
    ("NATS_CREDS", "/nowhere"),
    ("NATS_CONTEXT", "another"),
];

/// How long a subscription may take to end before another message is sent.
const PAUSE: Duration = Duration::from_millis(200);

/// Returns a password of the server.
fn password(sandbox: &Sandbox, user: &str) -> String {
    let text = sandbox.read(".data/nats/credentials.json");
    let logins: serde_json::Value = serde_json::from_str(&text).unwrap();
    logins[user]["password"].as_str().unwrap().to_owned()
}

/// Starts a subscription, and returns it with the arguments of the program that took its place.
fn subscription(sandbox: &Sandbox) -> (Running, String) {
    let running = sandbox.start("nats cli -- subscribe news --count 1 --raw");
    let line = eventually("the program", SOON, || {
        let line = processes::find(running.pid())?.line;
        line.contains(".dep/nats-cli").then_some(line)
    });
    (running, line)
}

#[test]
fn it_asks_the_running_stack_and_nobody_else() {
    fetch("nats-cli");
    let sandbox = Sandbox::core();
    let nothing = sandbox.run("nats cli -- rtt").ends(3);
    assert!(nothing.stderr.contains("hint: "), "{}", nothing.stderr);
    sandbox.nothing_was_started();
    sandbox.up();
    let url = format!("nats://127.0.0.1:{}", sandbox.port("nats.client"));

    let rtt = sandbox.run_with("nats cli -- rtt", &ELSEWHERE).succeeds();
    assert!(rtt.stdout.contains(&url), "{}", rtt.stdout);
    same("stderr", rtt.stderr.as_str(), "");

    let mut nats = Nats::connect(sandbox.port("nats.client"));
    nats.make_stream("ORDERS");
    nats.publish("ORDERS.x", "hello");
    let streams = sandbox.run("nats cli stream ls --names").succeeds();
    same("streams", streams.stdout.as_str(), "CORE_EVENTS\nORDERS\n");

    let (mut running, line) = subscription(&sandbox);
    let login = password(&sandbox, "app");
    assert!(!line.contains(&login), "{line}");
    // Until the subscription is there, nobody hears it.
    eventually("the message", SOON, || {
        let run = sandbox.run("nats cli -- publish news hello").succeeds();
        assert!(!run.stderr.contains(&login), "{}", run.stderr);
        running.ends_within(PAUSE).then_some(())
    });
    same(
        "message",
        running.wait().succeeds().stdout.as_str(),
        "hello\n",
    );

    // Its exit code and its signals are its own.
    sandbox.run("nats cli -- stream info NOTHING").ends(1);
    let (running, _) = subscription(&sandbox);
    running.signal(Signal::TERM);
    running.wait().ends(128 + 15);
    let unknown = sandbox.run("nats cli --node natz -- rtt").ends(2);
    assert!(unknown.stderr.contains("`nats`"), "{}", unknown.stderr);

    let checked = sandbox.run("nats cli -- server check connection");
    checked.succeeds();
    let servers = sandbox.run("nats cli --sys -- server ls 1 --json");
    let servers = servers.succeeds().json();
    same("servers", servers.as_array().map(Vec::len), Some(1));
    sandbox.run("nats cli -- server ls 1").ends(1);
}

#[test]
fn it_asks_a_node_or_a_region() {
    fetch("nats-cli");
    let sandbox = sandbox(HUB_AND_REGION);
    sandbox.up();
    for (option, process) in [
        ("--leaf lhr", "nats-leaf-lhr"),
        ("--node nats-hub-2", "nats-hub-2"),
    ] {
        let run = sandbox.run(&format!("nats cli {option} -- rtt")).succeeds();
        let url = format!("nats://127.0.0.1:{}", port(&sandbox, process, "client"));
        assert!(run.stdout.contains(&url), "{}", run.stdout);
    }
    let servers = sandbox.run("nats cli --sys --node nats-hub-1 -- server ls 3 --json");
    let servers = servers.succeeds().json();
    same("servers", servers.as_array().map(Vec::len), Some(3));
    sandbox.run("nats cli --leaf nrt -- rtt").ends(2);
}
