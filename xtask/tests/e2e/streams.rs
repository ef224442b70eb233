//! Streams of nodes that leave: moved completely, or nothing changes.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::nats::{MIRRORED, Nats};
use crate::harness::{SOON, eventually, processes, same};
use crate::topology::{ALONE, HUB_AND_REGION, VARIABLE, port, sandbox};

/// Number of messages in the stream.
const MESSAGES: u64 = 1000;
/// The journal of a running move.
const JOURNAL: &str = ".data/nats/moving.json";

/// Creates a stream of three replicas on the hub, with messages, and two consumers at different
/// positions.
#[track_caller]
fn make_orders(hub: &mut Nats, messages: u64) {
    let stream = json!({"name": "ORDERS", "subjects": ["ORDERS.>"], "num_replicas": 3,
        "max_age": 86_400_000_000_000_u64, "metadata": {"owner": "test"}});
    hub.api("STREAM.CREATE.ORDERS", &stream);
    for (name, more) in [
        (
            "BILLING",
            json!({"num_replicas": 3, "filter_subject": "ORDERS.new"}),
        ),
        ("SHIPPING", json!({"ack_wait": 3_600_000_000_000_u64})),
    ] {
        let mut config = json!({"durable_name": name, "ack_policy": "explicit"});
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let body = json!({"stream_name": "ORDERS", "config": config});
        hub.api(&format!("CONSUMER.CREATE.ORDERS.{name}"), &body);
    }
    hub.publish_numbers("ORDERS.new", 0..messages);
    same("billed", hub.fetch("ORDERS", "BILLING", 10, 10).len(), 10);
    same("shipped", hub.fetch("ORDERS", "SHIPPING", 7, 4).len(), 7);
}

/// Fails unless the stream is complete. In a backup, a clustered server stores only up to which
/// message all are acknowledged: later deliveries are repeated.
#[track_caller]
fn has_orders(nats: &mut Nats, messages: u64, replicas: u64) {
    let (pending, next) = if replicas == 1 { (0, "4") } else { (3, "7") };
    let info = nats.api("STREAM.INFO.ORDERS", &json!({}));
    let config = &info["config"];
    same("messages", &info["state"]["messages"], &json!(messages));
    same("subjects", &config["subjects"], &json!(["ORDERS.>"]));
    same("replicas", &config["num_replicas"], &json!(replicas));
    same("age", &config["max_age"], &json!(86_400_000_000_000_u64));
    same("owner", &config["metadata"]["owner"], &json!("test"));
    let marks = config["metadata"].as_object().unwrap().keys();
    let marks: Vec<&String> = marks.filter(|key| key.starts_with("core.")).collect();
    assert!(marks.is_empty(), "{marks:?}");
    let billing = nats.api("CONSUMER.INFO.ORDERS.BILLING", &json!({}));
    same("billed", &billing["ack_floor"]["stream_seq"], &json!(10));
    let shipping = nats.api("CONSUMER.INFO.ORDERS.SHIPPING", &json!({}));
    same("shipped", &shipping["ack_floor"]["stream_seq"], &json!(4));
    same("pending", &shipping["num_ack_pending"], &json!(pending));
    for sequence in [1, messages / 2, messages] {
        let body = json!({"seq": sequence});
        let message = nats.api("STREAM.MSG.GET.ORDERS", &body);
        same("number", &message["message"]["seq"], &json!(sequence));
    }
    same(
        "next",
        nats.fetch("ORDERS", "SHIPPING", 1, 0),
        vec![next.to_owned()],
    );
    same(
        "next",
        nats.fetch("ORDERS", "BILLING", 1, 0),
        vec!["10".to_owned()],
    );
}

/// Creates a stream from which messages are removed when they are consumed.
#[track_caller]
fn make_jobs(hub: &mut Nats) {
    let jobs = json!({"name": "JOBS", "subjects": ["JOBS"], "retention": "workqueue"});
    hub.api("STREAM.CREATE.JOBS", &jobs);
    let config = json!({"durable_name": "WORKER", "ack_policy": "explicit"});
    let body = json!({"stream_name": "JOBS", "config": config});
    hub.api("CONSUMER.CREATE.JOBS.WORKER", &body);
    hub.publish_numbers("JOBS", 0..5);
    hub.fetch("JOBS", "WORKER", 2, 2);
}

/// Fails unless it continues where it was.
#[track_caller]
fn has_jobs(nats: &mut Nats) {
    let jobs = nats.api("STREAM.INFO.JOBS", &json!({}));
    same("jobs", &jobs["state"]["messages"], &json!(3));
    let next = nats.fetch("JOBS", "WORKER", 1, 1);
    same("next job", next, vec!["2".to_owned()]);
}

#[track_caller]
fn names(port: u16) -> Vec<String> {
    Nats::connect(port).stream_names()
}

#[test]
fn streams_of_the_hub_are_moved_back_when_it_goes() {
    let mut sandbox = sandbox(HUB_AND_REGION);
    sandbox.up();
    let own = sandbox.port("nats.client");
    let mut hub = Nats::connect(port(&sandbox, "nats-hub-1", "client"));
    make_orders(&mut hub, MESSAGES);
    let memory = json!({"name": "CACHE", "subjects": ["CACHE"], "storage": "memory"});
    hub.api("STREAM.CREATE.CACHE", &memory);
    hub.publish("CACHE", "kept");
    // A mirror of a stream on `nats` would lose nothing.
    Nats::connect(own).make_stream("OWN");
    let mirror = json!({"name": "OWN", "mirror":
        {"name": "OWN", "external": {"api": "$JS.core.API"}}});
    hub.api("STREAM.CREATE.OWN", &mirror);
    make_jobs(&mut hub);

    sandbox.dotenv(VARIABLE, ALONE);
    let refused = sandbox.run("reload").ends(10);
    let message = "the hub would be removed and holds the streams `CACHE`, `JOBS`, `ORDERS`\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--move-streams"),
        "{}",
        refused.stderr
    );

    // It conflicts: nothing is changed.
    Nats::connect(own).make_stream("CACHE");
    let refused = sandbox.run("reload --move-streams").ends(10);
    let message = "cannot move the stream `CACHE` of the hub: `nats` has a stream of that name\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    Nats::connect(own).api("STREAM.DELETE.CACHE", &json!({}));
    same("sequence", hub.publish("ORDERS.old", "x"), MESSAGES + 1);

    let done = sandbox.run("reload --move-streams").succeeds();
    let message = format!(
        "moved the stream `ORDERS` from the hub to `nats`: {} messages, 2 consumers\n",
        MESSAGES + 1
    );
    assert!(done.stderr.contains(&message), "{}", done.stderr);
    let mut nats = Nats::connect(own);
    has_orders(&mut nats, MESSAGES + 1, 1);
    same("sequence", nats.publish("ORDERS.new", "next"), MESSAGES + 2);
    same(
        "memory",
        nats.api("STREAM.INFO.CACHE", &json!({}))["state"]["messages"].clone(),
        json!(1),
    );
    has_jobs(&mut nats);
    let expected = ["CACHE", "JOBS", "ORDERS", "OWN"];
    same("streams", names(own), expected.map(str::to_owned).to_vec());
    assert!(!sandbox.path(JOURNAL).exists());
}

#[test]
fn a_move_that_was_killed_is_gone_on_with() {
    let mut sandbox = sandbox(HUB_AND_REGION);
    sandbox.up();
    let own = sandbox.port("nats.client");
    let hub_port = port(&sandbox, "nats-hub-1", "client");
    let mut hub = Nats::connect(hub_port);
    make_orders(&mut hub, MESSAGES);
    // Enough messages that the copy takes a while.
    hub.make_stream("BULK");
    let text = "x".repeat(500_000);
    for _ in 0..100 {
        hub.publish("BULK.a", &text);
    }

    sandbox.dotenv(VARIABLE, ALONE);
    // Killed right at the start, and while the first stream is copied.
    let journal = sandbox.path(JOURNAL);
    for step in ["begun", "copying"] {
        let reload = sandbox.start("reload --move-streams");
        eventually(step, SOON, || {
            let copying = || names(own) == ["BULK"];
            (journal.exists() && (step == "begun" || copying())).then_some(())
        });
        reload.signal(Signal::KILL);
        same(step, reload.wait().code, 128 + 9);
    }
    // Concurrent publishers get an error: nothing is acknowledged that could be lost.
    let info = hub.api("STREAM.INFO.BULK", &json!({}));
    let subjects = &info["config"]["subjects"];
    same("intake", subjects, &json!(["core.moving.BULK"]));
    // The whole stack stops and starts again with the hub: the stream is unchanged.
    sandbox.down();
    sandbox.dotenv(VARIABLE, HUB_AND_REGION);
    sandbox.up();
    assert!(!journal.exists());
    let mut hub = Nats::connect(hub_port);
    hub.publish("BULK.a", &text);
    sandbox.dotenv(VARIABLE, ALONE);
    let stopped = sandbox.run("reload").ends(10);
    let message = "the hub would be removed and holds the streams `BULK`, `ORDERS`\n";
    assert!(stopped.stderr.contains(message), "{}", stopped.stderr);
    // Without the flag it was restored.
    same("sequence", hub.publish("ORDERS.old", "x"), MESSAGES + 1);
    same("on `nats`", names(own), Vec::<String>::new());

    sandbox.run("reload --move-streams").succeeds();
    has_orders(&mut Nats::connect(own), MESSAGES + 1, 1);
    let bulk = Nats::connect(own).api("STREAM.INFO.BULK", &json!({}));
    same("bulk", &bulk["state"]["messages"], &json!(101));
    assert!(!journal.exists());
}

#[test]
fn a_move_past_the_point_of_no_return_is_ended() {
    let sandbox = sandbox(HUB_AND_REGION);
    sandbox.up();
    let own = sandbox.port("nats.client");
    let mut hub = Nats::connect(port(&sandbox, "nats-hub-1", "client"));
    let mut nats = Nats::connect(own);
    // The state after a command that was killed when the copy had begun to count.
    let mark = json!({"id": "7", "config": {"name": "A", "subjects": ["A"]}}).to_string();
    let parked = json!({"name": "A", "subjects": ["core.moving.A"],
        "metadata": {"core.moving": mark}});
    hub.api("STREAM.CREATE.A", &parked);
    let counts = json!({"name": "A", "subjects": ["A"], "metadata": {"core.moved": "7"}});
    nats.api("STREAM.CREATE.A", &counts);
    same("sequence", nats.publish("A", "x"), 1);
    let journal = json!([{"stream": "A", "from": "hub", "to": "nats"}]).to_string();
    fs::write(sandbox.path(JOURNAL), journal).unwrap();
    same("outcome", &sandbox.up()["outcome"], &json!("unchanged"));
    same(
        "on the hub",
        names(port(&sandbox, "nats-hub-1", "client")),
        Vec::new(),
    );
    let info = nats.api("STREAM.INFO.A", &json!({}));
    same("messages", &info["state"]["messages"], &json!(1));
    same(
        "mark",
        &info["config"]["metadata"]["core.moved"],
        &Value::Null,
    );
    assert!(!sandbox.path(JOURNAL).exists());
}

#[test]
fn an_interrupted_move_gives_everything_back() {
    let mut sandbox = sandbox(HUB_AND_REGION);
    sandbox.up();
    let own = sandbox.port("nats.client");
    let mut hub = Nats::connect(port(&sandbox, "nats-hub-1", "client"));
    make_orders(&mut hub, MESSAGES);
    hub.make_stream("ZBULK");
    let text = "x".repeat(500_000);
    for _ in 0..100 {
        hub.publish("ZBULK.a", &text);
    }
    sandbox.dotenv(VARIABLE, ALONE);
    let reload = sandbox.start("reload --move-streams");
    eventually("the first copy", SOON, || {
        names(own).contains(&"ORDERS".to_owned()).then_some(())
    });
    reload.signal(Signal::INT);
    let end = reload.wait();
    same("exit code", end.code, 128 + 2);
    assert!(
        end.stderr.contains("all of them are as they were"),
        "{}",
        end.stderr
    );
    same("on `nats`", names(own), Vec::<String>::new());
    same("sequence", hub.publish("ORDERS.new", "x"), MESSAGES + 1);
    assert!(!sandbox.path(JOURNAL).exists());
    has_orders(&mut hub, MESSAGES + 1, 3);
    sandbox.dotenv(VARIABLE, HUB_AND_REGION);
    same("again", &sandbox.up()["outcome"], &json!("unchanged"));
}

#[test]
fn streams_of_a_region_are_moved_to_the_hub() {
    let mut sandbox = sandbox(HUB_AND_REGION);
    sandbox.up();
    let mut leaf = Nats::connect(port(&sandbox, "nats-leaf-lhr", "client"));
    for name in ["LOCAL", "COPIED"] {
        leaf.make_stream(name);
        leaf.publish_numbers(&format!("{name}.a"), 0..10);
    }
    let mut hub = Nats::connect(port(&sandbox, "nats-hub-2", "client"));
    let mirror = json!({"name": "COPIED", "mirror":
        {"name": "COPIED", "external": {"api": "$JS.lhr.API"}}});
    hub.api("STREAM.CREATE.COPIED", &mirror);
    eventually("the mirror", MIRRORED, || {
        let info = hub.api("STREAM.INFO.COPIED", &json!({}));
        (info["state"]["messages"] == 10).then_some(())
    });
    let without = r#"{"topology": "hub-spoke", "hub_region": "iad", "hub_nodes": 3}"#;
    sandbox.dotenv(VARIABLE, without);
    let refused = sandbox.run("plan").ends(10);
    let message = "`nats-leaf-lhr` would be removed and holds the streams `LOCAL`\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);

    let done = sandbox.run("up --move-streams --json").succeeds().json();
    same(
        "change",
        &done["changes"],
        &json!({"nats-leaf-lhr": "removed"}),
    );
    let info = hub.api("STREAM.INFO.LOCAL", &json!({}));
    same("messages", &info["state"]["messages"], &json!(10));
    same("sequence", hub.publish("LOCAL.a", "x"), 11);
    // A node that returns finds no old data.
    sandbox.dotenv(VARIABLE, HUB_AND_REGION);
    sandbox.up();
    let left = names(port(&sandbox, "nats-leaf-lhr", "client"));
    same("left", left, vec!["COPIED".to_owned()]);
}

#[test]
fn copies_at_the_hub_follow_the_streams_of_the_first_server() {
    let mut sandbox = sandbox(ALONE);
    let without = sandbox.run("nats replicate").ends(3);
    assert!(
        without.stderr.contains("hint: cargo xtask up"),
        "{}",
        without.stderr
    );
    sandbox.up();
    let own = sandbox.port("nats.client");
    let mut nats = Nats::connect(own);
    for name in ["ORDERS", "OTHER"] {
        nats.make_stream(name);
    }
    nats.publish_numbers("ORDERS.new", 0..MESSAGES);
    let without = sandbox.run("nats replicate").ends(10);
    let hint = "hint: cargo xtask topology set --hub-nodes 3";
    assert!(without.stderr.contains(hint), "{}", without.stderr);

    sandbox.dotenv(VARIABLE, HUB_AND_REGION);
    sandbox.up();
    let unknown = sandbox.run("nats replicate ORDER OTHER").ends(10);
    assert!(
        unknown.stderr.contains("did you mean `ORDERS`?"),
        "{}",
        unknown.stderr
    );
    let report = sandbox
        .run("nats replicate ORDERS --json")
        .succeeds()
        .json();
    let expected =
        json!([{"name": "ORDERS", "outcome": "created", "messages": MESSAGES, "lag": 0}]);
    same("copies", &report["streams"], &expected);
    let hub_port = port(&sandbox, "nats-hub-1", "client");
    same(
        "streams of the hub",
        names(hub_port),
        vec!["ORDERS".to_owned()],
    );
    let mut hub = Nats::connect(hub_port);
    let info = hub.api("STREAM.INFO.ORDERS", &json!({}));
    same("replicas", &info["config"]["num_replicas"], &json!(3));

    // The first server is restarted: the copy continues.
    let before = sandbox.pid("nats");
    processes::kill(sandbox.server("nats").pid);
    eventually("`nats` again", SOON, || {
        let status = sandbox.status();
        let process = &status["services"]["nats"]["processes"]["nats"];
        (process["pid"] != before && status["healthy"] == true).then_some(())
    });
    Nats::connect(own).publish_numbers("ORDERS.new", MESSAGES..MESSAGES + 10);
    eventually("the copy", SOON, || {
        let info = hub.api("STREAM.INFO.ORDERS", &json!({}));
        (info["state"]["messages"] == MESSAGES + 10).then_some(())
    });
    let all = sandbox.run("nats replicate").succeeds();
    let expected = "STREAM  MESSAGES  LAG  COPY\n\
        ORDERS      1010    0  exists\n\
        OTHER          0    0  created\n";
    same("table", all.stdout.as_str(), expected);
    // Copied streams are no reason to keep the hub.
    sandbox.dotenv(VARIABLE, ALONE);
    sandbox.run("reload").succeeds();
    same(
        "streams",
        names(own),
        ["ORDERS", "OTHER"].map(str::to_owned).to_vec(),
    );
}
