//! Events: changes of processes and topology are published once, in order, and can be followed.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::nats::Nats;
use crate::harness::{Running, SOON, Sandbox, eventually, processes, same};

const SERVICES: [&str; 4] = ["nats", "pocketbase", "caddy", "controller"];
/// The controller's health is polled every 10 s, and it is restarted after 1 s.
const CONTROLLER_LIMIT: Duration = Duration::from_mins(1);

/// A command that follows all events from the first one.
struct Follower(Running);

impl Follower {
    #[track_caller]
    fn start(sandbox: &Sandbox) -> Self {
        let mut follower = sandbox.start("observe --json --since 1h");
        follower.wait_for_stderr("following `core.>`");
        Self(follower)
    }

    /// Returns everything it has printed.
    #[track_caller]
    fn events(&self) -> Vec<Value> {
        events(&self.0.stdout())
    }

    /// Returns the events of a process, in order.
    fn of(&self, process: &str) -> Vec<Value> {
        let events = self.events().into_iter();
        events.filter(|event| event["process"] == process).collect()
    }

    /// Waits until the events of a process are exactly these.
    #[track_caller]
    fn wait_for(&self, process: &str, expected: &[&str], limit: Duration) {
        let mut seen = Vec::new();
        let found = crate::harness::within(limit, || {
            seen = names(&self.of(process));
            (seen == expected).then_some(())
        });
        assert!(
            found.is_some(),
            "{process}: {seen:?} instead of {expected:?}"
        );
    }

    /// Stops it as a user would.
    #[track_caller]
    fn end(self) -> Vec<Value> {
        self.0.signal(Signal::INT);
        events(&self.0.wait().succeeds().stdout)
    }
}

#[track_caller]
fn events(stdout: &str) -> Vec<Value> {
    // The last line may be incomplete.
    let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
    let lines = whole.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("each line is JSON")).collect()
}

fn names(events: &[Value]) -> Vec<String> {
    let names = events.iter().filter_map(|event| event["event"].as_str());
    names.map(str::to_owned).collect()
}

#[test]
fn what_happens_is_told_once_and_in_order() {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(30);
    sandbox.up();
    let follower = Follower::start(&sandbox);
    for name in SERVICES {
        follower.wait_for(name, &["started", "ready"], SOON);
        let (pid, ready) = (sandbox.pid(name), &follower.of(name)[1]);
        same(name, &ready["pid"], &json!(pid));
        same(name, &ready["schema_version"], &json!(1));
        same(
            name,
            &ready["subject"],
            &json!(format!("core.process.{name}.ready")),
        );
    }

    // The server with the events is killed: its own crash waits for it, and so do we.
    let wrapper = sandbox.pid("nats");
    processes::kill(sandbox.server("nats").pid);
    let crash = ["started", "ready", "crashed", "restarted", "ready"];
    follower.wait_for("nats", &crash, SOON);
    let events = follower.of("nats");
    same("pid", &events[2]["pid"], &json!(wrapper));
    same("exit code", &events[2]["exit_code"], &json!(137));
    same("restarts", &events[3]["restarts"], &json!(1));
    same("pid", &events[4]["pid"], &json!(sandbox.pid("nats")));

    sandbox.wait_healthy();
    sandbox
        .run("topology set --hub-nodes 3 --leaf lhr")
        .succeeds();
    for node in ["nats-hub-1", "nats-hub-2", "nats-hub-3", "nats-leaf-lhr"] {
        follower.wait_for(node, &["started", "ready"], SOON);
    }
    let applied = eventually("the topology", SOON, || {
        let mut events = follower.events().into_iter();
        events.find(|event| event["subject"] == "core.topology.nats.applied")
    });
    same("hub", &applied["spec"]["hub_nodes"], &json!(3));

    // Another controller continues where this one was.
    let killed = sandbox.pid("controller");
    processes::kill(killed);
    let told = ["started", "ready", "crashed", "restarted", "ready"];
    follower.wait_for("controller", &told, CONTROLLER_LIMIT);
    same("pid", &follower.of("controller")[2]["pid"], &json!(killed));
    sandbox.run("topology set --single-node").succeeds();
    follower.wait_for("nats-leaf-lhr", &["started", "ready", "stopped"], SOON);

    // No event twice or missing: the followed events are the stored ones.
    let kept = Follower::start(&sandbox);
    eventually("all that was followed", SOON, || {
        (kept.events().len() == follower.events().len()).then_some(())
    });
    let (followed, kept) = (follower.end(), kept.end());
    same("events", &followed, &kept);
    let numbers: Vec<u64> = kept
        .iter()
        .filter_map(|event| event["sequence"].as_u64())
        .collect();
    same("numbers", numbers, (1..=kept.len() as u64).collect());
    let ready: Vec<_> = kept
        .iter()
        .filter(|event| event["event"] == "ready")
        .collect();
    let pids: BTreeSet<_> = ready
        .iter()
        .filter_map(|event| event["pid"].as_i64())
        .collect();
    same("processes that became ready", pids.len(), ready.len());
    for name in ["pocketbase", "caddy"] {
        let own: Vec<Value> = kept
            .iter()
            .filter(|event| event["process"] == name)
            .cloned()
            .collect();
        same(
            name,
            names(&own),
            vec!["started".to_owned(), "ready".to_owned()],
        );
    }
}

#[test]
fn a_failed_topology_is_told_and_others_can_listen() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser("boss@example.com", "a long password");
    // One port is not enough for a hub.
    sandbox.ports_of_nodes(2);
    sandbox.up();
    let mut follower = sandbox.start("observe core.topology.*.failed");
    follower.wait_for_stderr("following `core.topology.*.failed`");
    let mut listener = Nats::connect(sandbox.port("nats.client"));
    listener.subscribe("core.topology.>");
    let run = sandbox.run("topology set --hub-nodes 3");
    assert_ne!(run.code, 0, "{run:?}");
    let event: Value = serde_json::from_str(&listener.message()).unwrap();
    same("event", &event["event"], &json!("failed"));
    assert!(
        event["reason"].as_str().unwrap().contains("port"),
        "{event}"
    );
    follower.wait_for_stdout("topology of nats  failed");

    // The stack is stopped, and the follower exits.
    sandbox.down();
    let run = follower.wait().ends(3);
    same("lines", run.stdout.lines().count(), 1);
    assert!(run.stderr.contains("the stack has stopped"), "{run:?}");
}

#[test]
fn nothing_to_follow_and_bad_subjects() {
    let sandbox = Sandbox::core();
    let run = sandbox.run("observe").ends(3);
    assert!(run.stderr.contains("hint: cargo xtask up"), "{run:?}");
    sandbox.run("observe nats.>").ends(2);
    sandbox.run("observe --since soon").ends(2);
}

#[test]
fn the_next_stack_goes_on_and_a_deleted_stream_is_made_again() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let follower = Follower::start(&sandbox);
    follower.wait_for("caddy", &["started", "ready"], SOON);
    follower.end();
    sandbox.down();
    sandbox.up();
    let follower = Follower::start(&sandbox);
    for name in ["nats", "pocketbase"] {
        let told = ["started", "ready", "started", "ready"];
        follower.wait_for(name, &told, SOON);
    }
    follower.end();

    // After it is deleted, the next event creates it again. Core's own user does: others may not.
    let credentials: Value =
        serde_json::from_str(&sandbox.read(".data/nats/credentials.json")).unwrap();
    let text = |name: &str| credentials["app"][name].as_str().unwrap().to_owned();
    let port = sandbox.port("nats.client");
    let mut nats = Nats::log_in(port, &text("user"), &text("password"));
    nats.api("STREAM.DELETE.CORE_EVENTS", &json!({}));
    processes::kill(sandbox.server("pocketbase").pid);
    let follower = eventually("the stream", SOON, || {
        let body = json!({}).to_string();
        let info = nats.request("$JS.API.STREAM.INFO.CORE_EVENTS", &body);
        (!info.contains("\"error\"")).then(|| Follower::start(&sandbox))
    });
    follower.wait_for("pocketbase", &["crashed", "restarted", "ready"], SOON);
    follower.end();
}

/// More processes than the supervisor can tell of on one websocket.
const MANY: usize = 260;

#[test]
fn events_of_more_processes_than_one_websocket_holds() {
    let mut sandbox = Sandbox::core();
    let service = json!({"process": {"command": "sleep 1000"}});
    for index in 0..MANY {
        sandbox.service(&format!("s{index:03}"), &service);
    }
    sandbox.up();
    let follower = Follower::start(&sandbox);
    // Whichever websocket they are on.
    follower.wait_for("caddy", &["started", "ready"], SOON);
    for name in ["s000", "s150", "s259"] {
        follower.wait_for(name, &["started"], SOON);
    }
    sandbox.run("restart s259").succeeds();
    follower.wait_for("s259", &["started", "stopped", "started"], SOON);
    // One that comes later.
    sandbox.service("later", &service);
    sandbox.up();
    follower.wait_for("later", &["started"], SOON);
    follower.end();
    let log = sandbox.read(".core-stack/logs/controller.log");
    assert!(!log.contains("cannot watch the processes"), "{log}");
}
