//! A hub that shrinks or is restarted while clients publish.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::nats::Nats;
use crate::harness::publisher::Publisher;
use crate::harness::{SOON, Sandbox, eventually, http, processes, same};

/// How long a hub may take to be whole again, on a machine with other work.
const AGAIN: std::time::Duration = std::time::Duration::from_mins(2);

/// The variable that requests a topology.
const VARIABLE: &str = "CORE_TOPOLOGY_NATS";
/// Most nodes of a test, and the ports of each.
const NODES: u16 = 7;
const PORTS_OF_A_NODE: u16 = 5;

fn hub(nodes: u32) -> String {
    format!(
        r#"{{"topology": "hub-spoke", "hub_region": "iad", "hub_nodes": {nodes},
        "leaf_regions": ["lhr"]}}"#
    )
}

fn sandbox(nodes: u32) -> Sandbox {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(NODES * PORTS_OF_A_NODE);
    sandbox.dotenv(VARIABLE, &hub(nodes));
    sandbox
}

fn facts(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&sandbox.read(".data/nats/topology.json")).unwrap()
}

#[track_caller]
fn port(sandbox: &Sandbox, process: &str, name: &str) -> u16 {
    let port = facts(sandbox)["ports"][process][name].as_u64();
    u16::try_from(port.expect("the node has the port")).unwrap()
}

/// Returns the client ports of the three nodes that every hub has.
fn seeds(sandbox: &Sandbox) -> [u16; 3] {
    ["nats-hub-1", "nats-hub-2", "nats-hub-3"].map(|process| port(sandbox, process, "client"))
}

/// Returns the process ids of everything that every topology here has.
fn pids(sandbox: &Sandbox) -> BTreeMap<String, Value> {
    let staying = [
        "caddy",
        "nats",
        "nats-hub-1",
        "nats-hub-2",
        "nats-hub-3",
        "nats-leaf-lhr",
        "pocketbase",
    ];
    let status = sandbox.status();
    let services = status["services"].as_object().unwrap().values();
    let processes = services.flat_map(|service| service["processes"].as_object().unwrap().clone());
    let mut pids: BTreeMap<String, Value> = processes
        .map(|(name, process)| (name, process["pid"].clone()))
        .collect();
    pids.retain(|name, _| staying.contains(&name.as_str()));
    same("processes", pids.len(), staying.len());
    pids
}

/// Creates a stream with `replicas`, and a consumer that has acknowledged its first message.
#[track_caller]
fn make_stream(nats: &mut Nats, name: &str, replicas: u32) {
    let body = json!({"name": name, "subjects": [format!("{name}.>")], "num_replicas": replicas});
    nats.api(&format!("STREAM.CREATE.{name}"), &body);
    let body = json!({"stream_name": name,
        "config": {"durable_name": "worker", "ack_policy": "explicit"}});
    nats.api(&format!("CONSUMER.DURABLE.CREATE.{name}.worker"), &body);
}

/// Returns the members of the hub, according to its leader.
fn members(sandbox: &Sandbox) -> Vec<String> {
    let mut members = Vec::new();
    for process in ["nats-hub-1", "nats-hub-2", "nats-hub-3"] {
        let jsz = http::get(port(sandbox, process, "http"), "/jsz").json();
        let leader = jsz["meta_cluster"]["leader"].as_str().unwrap_or_default();
        let names = jsz["meta_cluster"]["replicas"].as_array();
        let names = names
            .into_iter()
            .flatten()
            .filter_map(|peer| peer["name"].as_str());
        let mut names: Vec<String> = names.chain([leader]).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        if members.len() < names.len() {
            members = names;
        }
    }
    members
}

#[track_caller]
fn applies(sandbox: &Sandbox) -> Value {
    sandbox.run("reload --json").succeeds().json()
}

#[test]
fn a_hub_of_five_becomes_one_of_three_and_grows_again() {
    let mut sandbox = sandbox(5);
    sandbox.up();
    let before = pids(&sandbox);
    let ports = seeds(&sandbox);
    let mut hub_1 = Nats::connect(ports[0]);
    let streams = ["A1", "B1", "C1", "A3", "B3", "C3"];
    for name in streams {
        make_stream(&mut hub_1, name, if name.ends_with('3') { 3 } else { 1 });
    }
    let publisher = Publisher::start(&ports, &streams);

    make_stream(&mut hub_1, "WIDE", 5);
    sandbox.dotenv(VARIABLE, &hub(3));
    let refused = sandbox.run("plan").ends(10);
    let message = "error: the stream `WIDE` has 5 replicas, and the hub would have 3 nodes\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("nats stream edit WIDE --replicas 3")
    );
    sandbox.run("reload").ends(10);
    same("nodes", &facts(&sandbox)["spec"]["hub_nodes"], &json!(5));
    hub_1.api("STREAM.DELETE.WIDE", &json!({}));

    let plan = sandbox.run("plan --json").succeeds().json();
    let step = json!({"action": "remove", "because": ["topology"], "reversible": false});
    same("plan", &plan["processes"]["nats-hub-5"], &step);
    let text = sandbox.run("plan").succeeds().stdout;
    assert!(text.contains("remove nats-hub-4 because of topology (cannot be rolled back"));

    // It is asked to reconnect elsewhere before its server exits.
    let client = Nats::connect(port(&sandbox, "nats-hub-5", "client"));
    let report = applies(&sandbox);
    drop(client);
    for name in ["nats-hub-4", "nats-hub-5"] {
        same(name, &report["changes"][name], &json!("removed"));
        assert!(report["processes"][name].is_null());
    }
    same("process ids", pids(&sandbox), before.clone());
    same(
        "members",
        members(&sandbox),
        ["hub-1", "hub-2", "hub-3"].map(str::to_owned).into(),
    );
    let log = sandbox.read(".core-stack/logs/nats-hub-5.log");
    assert!(log.contains("reloaded: retired"), "{log}");
    same("again", &sandbox.up()["outcome"], &json!("unchanged"));

    sandbox.dotenv(VARIABLE, &hub(5));
    applies(&sandbox);
    let five = ["hub-1", "hub-2", "hub-3", "hub-4-g2", "hub-5-g2"];
    same("members", members(&sandbox), five.map(str::to_owned).into());
    sandbox.dotenv(VARIABLE, &hub(3));
    applies(&sandbox);
    same("process ids", pids(&sandbox), before);
    same(
        "generations",
        &facts(&sandbox)["retired"],
        &json!({"nats-hub-4": 2, "nats-hub-5": 2}),
    );
    assert!(
        !sandbox.path(".data/nats-hub-5-g2").exists(),
        "what it held is moved, and it never comes back"
    );
    publisher.nothing_was_lost(&mut hub_1);
    for name in streams {
        let info = hub_1.api(&format!("CONSUMER.INFO.{name}.worker"), &json!({}));
        assert!(info["num_pending"].as_u64() > Some(0), "{info}");
    }
}

#[test]
fn a_hub_shrinks_along_with_other_changes_and_from_a_stack_that_is_down() {
    let mut sandbox = sandbox(5);
    sandbox.up();
    let mut hub_1 = Nats::connect(seeds(&sandbox)[0]);
    make_stream(&mut hub_1, "WIDE", 5);
    hub_1.publish("WIDE.one", "kept");
    sandbox.down();
    sandbox.dotenv(VARIABLE, &hub(3));
    let refused = sandbox.run("up").ends(10);
    let message = "error: the stream `WIDE` has 5 replicas, and the hub would have 3 nodes\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    sandbox.dotenv(VARIABLE, &hub(5));
    sandbox.up();
    let mut hub_1 = Nats::connect(seeds(&sandbox)[0]);
    let body = json!({"name": "WIDE", "subjects": ["WIDE.>"], "num_replicas": 3});
    hub_1.api("STREAM.UPDATE.WIDE", &body);
    sandbox.down();

    sandbox.dotenv(VARIABLE, &hub(3));
    let report = sandbox.up();
    same("outcome", &report["outcome"], &json!("started"));
    assert!(report["processes"]["nats-hub-5"].is_null());
    let three = ["hub-1", "hub-2", "hub-3"].map(str::to_owned);
    same("members", members(&sandbox), three.clone().into());
    let mut hub_2 = Nats::connect(seeds(&sandbox)[1]);
    let info = hub_2.api("STREAM.INFO.WIDE", &json!({}));
    same("messages", &info["state"]["messages"], &json!(1));

    let more = |nodes: u32| hub(nodes).replace(r#"["lhr"]"#, r#"["lhr", "nrt"]"#);
    sandbox.dotenv(VARIABLE, &hub(5));
    applies(&sandbox);
    sandbox.dotenv(VARIABLE, &more(3));
    let changes = applies(&sandbox)["changes"].clone();
    same("a region", &changes["nats-leaf-nrt"], &json!("added"));
    same("a node", &changes["nats-hub-4"], &json!("removed"));
    same("members", members(&sandbox), three.into());
}

/// Kills the server of a process, and waits until the supervisor has restarted it.
#[track_caller]
fn lose(sandbox: &Sandbox, process: &str) {
    let pid = || {
        let status = sandbox.status();
        let pid = status["services"]["nats"]["processes"][process]["pid"].as_i64();
        pid.and_then(|pid| i32::try_from(pid).ok())
    };
    let before = pid().unwrap();
    let server = processes::children(before).remove(0);
    processes::signal(server.pid, Signal::KILL);
    eventually("the node again", AGAIN, || {
        (pid() != Some(before) && sandbox.run("status").code == 0).then_some(())
    });
}

/// Kills a reload to three nodes as soon as `seen`, and a hub node with it.
#[track_caller]
fn kill_reload(sandbox: &Sandbox, what: &str, seen: impl Fn() -> bool) {
    let reload = sandbox.start("reload");
    eventually(what, SOON, || seen().then_some(()));
    reload.signal(Signal::KILL);
    reload.wait().killed();
}

#[test]
fn a_smaller_hub_that_was_killed_on_its_way_is_finished_by_the_next() {
    let mut sandbox = sandbox(5);
    sandbox.up();
    let ports = seeds(&sandbox);
    let mut hub_1 = Nats::connect(ports[0]);
    make_stream(&mut hub_1, "ONE", 1);
    make_stream(&mut hub_1, "THREE", 3);
    let publisher = Publisher::start(&ports, &["ONE", "THREE"]);
    sandbox.dotenv(VARIABLE, &hub(3));
    kill_reload(&sandbox, "the facts of a smaller hub", || {
        facts(&sandbox)["spec"]["hub_nodes"] == json!(3)
    });

    sandbox.dotenv(VARIABLE, &hub(5));
    let refused = sandbox.run("reload").ends(10);
    let message = "error: the hub is on its way from 5 to 3 nodes\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    sandbox.dotenv(VARIABLE, &hub(3));
    kill_reload(&sandbox, "a removed node", || {
        !members(&sandbox).contains(&"hub-5".to_owned())
    });
    // A member that dies as well comes back by itself.
    lose(&sandbox, "nats-hub-2");
    applies(&sandbox);
    same(
        "members",
        members(&sandbox),
        ["hub-1", "hub-2", "hub-3"].map(str::to_owned).into(),
    );
    same("again", &sandbox.up()["outcome"], &json!("unchanged"));
    let mut hub_3 = Nats::connect(ports[2]);
    publisher.nothing_was_lost(&mut hub_3);
}

#[test]
fn a_lost_node_of_the_hub_loses_no_message() {
    let sandbox = sandbox(3);
    sandbox.up();
    let ports = seeds(&sandbox);
    make_stream(&mut Nats::connect(ports[0]), "SAFE", 3);
    let publisher = Publisher::start(&ports, &["SAFE"]);
    lose(&sandbox, "nats-hub-1");
    lose(&sandbox, "nats-hub-3");
    publisher.nothing_was_lost(&mut Nats::connect(ports[1]));
}

#[test]
fn a_hub_is_restarted_node_by_node() {
    let mut sandbox = sandbox(3);
    sandbox.up();
    let before = pids(&sandbox);
    let ports = seeds(&sandbox);
    let mut nats = Nats::connect(ports[0]);
    make_stream(&mut nats, "SAFE", 3);
    let publisher = Publisher::start(&ports, &["SAFE"]);
    sandbox.dotenv(VARIABLE, &hub(3).replace("iad", "ams"));
    let report = applies(&sandbox);
    let after = pids(&sandbox);
    for (name, pid) in &after {
        let is_hub = name.starts_with("nats-hub-");
        same(name, before.get(name) != Some(pid), is_hub);
        if is_hub {
            same(name, &report["changes"][name], &json!("updated"));
        }
    }
    let mut nats = Nats::connect(ports[0]);
    publisher.nothing_was_lost(&mut nats);
    // Never were two of them away at once.
    let mut times: Vec<[String; 2]> = (1..=3)
        .map(|number| {
            let log = sandbox.read(&format!(".core-stack/logs/nats-hub-{number}.log"));
            ["Initiating Shutdown", "Server is ready"].map(|what| last_time(&log, what))
        })
        .collect();
    times.sort_unstable();
    for pair in times.windows(2) {
        assert!(pair[0][1] <= pair[1][0], "{times:?}");
    }
}

#[test]
fn a_change_of_hub_nodes_that_fails_is_taken_back() {
    let mut sandbox = sandbox(3);
    sandbox.up();
    let ports = seeds(&sandbox);
    make_stream(&mut Nats::connect(ports[0]), "SAFE", 3);
    // It is read when the node is restarted.
    let files = ["credentials.json", ".credentials.json.copy"]
        .map(|name| sandbox.path(&format!(".data/nats-hub-2/{name}")));
    let credentials = fs::read(&files[0]).unwrap();
    for file in &files {
        fs::write(file, "{").unwrap();
    }
    let publisher = Publisher::start(&[ports[0], ports[2]], &["SAFE"]);
    sandbox.dotenv(VARIABLE, &hub(3).replace("iad", "ams"));
    let failed = sandbox.run("reload").ends(16);
    assert!(failed.stderr.contains("`nats-hub-2`"), "{}", failed.stderr);
    same(
        "region",
        &facts(&sandbox)["spec"]["hub_region"],
        &json!("iad"),
    );
    let compose = sandbox.read(".core-stack/process-compose.yaml");
    assert!(!compose.contains("NATS_REGION=ams"), "{compose}");
    fs::write(&files[0], credentials).unwrap();
    sandbox.dotenv(VARIABLE, &hub(3));
    sandbox.up();
    publisher.nothing_was_lost(&mut Nats::connect(ports[1]));
}

/// Returns the time of a line in nats-server's log: `[1] 2026/01/31 23:59:59.123456 [INF] ...`.
#[track_caller]
fn last_time(log: &str, what: &str) -> String {
    let line = log.lines().rfind(|line| line.contains(what));
    let line = line.unwrap_or_else(|| panic!("no `{what}` in {log}"));
    let (_, time) = line.split_once("] ").unwrap();
    let (time, _) = time.split_once(" [").unwrap();
    time.to_owned()
}
