//! The topology by its record: the commands, the database's own API, and kills in the middle of a
//! change.

use std::fs;

use engine::checkout::paths::Paths;
use rustix::process::Signal;
use serde_json::{Value, json};
use xtask::load::{Load, Targets};

use crate::harness::http::{self, Answer};
use crate::harness::nats::Nats;
use crate::harness::{SOON, Sandbox, eventually, processes, same};

/// Most nodes of a test, and the ports of each.
const NODES: u16 = 8;
const PORTS_OF_A_NODE: u16 = 5;
pub(crate) const EMAIL: &str = "boss@example.com";
pub(crate) const PASSWORD: &str = "only for the tests";
/// The records of topologies, in the database's own API.
pub(crate) const RECORDS: &str = "/api/collections/core_topology/records";
/// A hub of three with a region, as a command line.
const HUB: &str = "topology set nats --hub-nodes 3 --leaf lhr";

fn sandbox() -> Sandbox {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(NODES * PORTS_OF_A_NODE);
    sandbox.superuser(EMAIL, PASSWORD);
    sandbox
}

fn pids(sandbox: &Sandbox) -> [i32; 4] {
    ["nats", "pocketbase", "caddy", "controller"].map(|name| sandbox.pid(name))
}

/// Returns the record in `topology show`.
#[track_caller]
fn record(sandbox: &Sandbox) -> Value {
    sandbox.run("topology show --json").succeeds().json()["record"].clone()
}

/// Returns the topology that was applied last.
#[track_caller]
fn applied(sandbox: &Sandbox) -> Value {
    sandbox.run("topology show --json").json()["applied"].clone()
}

/// The superuser, as in PocketBase's own user interface.
pub(crate) struct Boss<'a> {
    sandbox: &'a Sandbox,
    token: String,
}

impl<'a> Boss<'a> {
    #[track_caller]
    pub(crate) fn log_in(sandbox: &'a Sandbox) -> Self {
        let path = "/api/collections/_superusers/auth-with-password";
        let body = json!({"identity": EMAIL, "password": PASSWORD});
        let answer = http::post(sandbox.port("pocketbase.http"), path, None, &body);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        Self { sandbox, token }
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", &*self.token),
        ];
        let port = self.sandbox.port("pocketbase.http");
        http::request(port, method, path, &headers, &body.to_string()).unwrap()
    }

    #[track_caller]
    pub(crate) fn record(&self) -> Value {
        self.ask("GET", RECORDS, &json!(null)).json()["items"][0].clone()
    }

    /// Writes the specification, and nothing else. The answer shows it as pending.
    #[track_caller]
    pub(crate) fn write(&self, spec: &Value) {
        let answer = self.save(spec);
        assert_eq!(answer.status, 200, "{answer:?}");
        let saved = answer.json();
        assert_eq!(saved["state"], "pending", "{saved}");
        assert_eq!(saved["message"], "", "{saved}");
    }

    /// Tries to write the specification.
    #[track_caller]
    pub(crate) fn save(&self, spec: &Value) -> Answer {
        let id = self.record()["id"].as_str().unwrap().to_owned();
        self.ask("PATCH", &format!("{RECORDS}/{id}"), &json!({"spec": spec}))
    }

    /// Fails unless the save of the specification is refused, with this in the answer.
    #[track_caller]
    fn is_refused(&self, spec: &Value, sentence: &str) {
        let before = self.record();
        let answer = self.save(spec);
        assert_eq!(answer.status, 400, "{answer:?}");
        let of_the_field = answer.json()["data"]["spec"]["message"].to_string();
        assert!(of_the_field.contains(sentence), "{answer:?}");
        assert!(
            answer.json()["message"].to_string().contains(sentence),
            "{answer:?}"
        );
        same("the record", self.record(), before);
    }

    /// Waits until the current generation is in a state; returns the record.
    #[track_caller]
    pub(crate) fn until(&self, state: &str) -> Value {
        eventually(state, SOON, || {
            let record = self.record();
            let status = &record["status"];
            let current = status["generation"] == record["generation"];
            let is_so = current && status["state"] == state;
            if is_so {
                same("the plain state", &record["state"], &json!(state));
                same("the plain message", &record["message"], &status["message"]);
            }
            is_so.then_some(record)
        })
    }
}

fn hub(nodes: u32, regions: &[&str]) -> Value {
    json!({"topology": "hub-spoke", "hub_region": "iad", "hub_nodes": nodes,
        "leaf_regions": regions})
}

#[test]
fn the_commands_change_what_runs() {
    let sandbox = sandbox();
    sandbox.up();
    let before = pids(&sandbox);
    let shown = record(&sandbox);
    same("state", &shown["state"], &json!("applied"));
    same("origin", &shown["origin"], &json!("manifest"));
    let mut client = Nats::connect(sandbox.port("nats.client"));
    client.make_stream("ORDERS");
    client.publish("ORDERS.new", "first");

    let set = sandbox.run(&format!("{HUB} --json")).succeeds().json();
    same("state", &set["record"]["state"], &json!("applied"));
    same("origin", &set["applied"]["origin"], &json!("user"));
    same("nodes", &set["applied"]["spec"]["hub_nodes"], &json!(3));
    same("process ids", pids(&sandbox), before);
    let refused = sandbox.run("topology set nats --hub-nodes 4").ends(10);
    assert!(refused.stderr.contains("is 4, but"), "{}", refused.stderr);

    // The manifest is ignored until the origin is reset.
    let plan = sandbox.run("plan --json").succeeds().json();
    same("changes", &plan["changes"], &json!(false));
    let overridden = &plan["topology"]["overridden"];
    same(
        "overridden",
        overridden,
        &json!({"topology": "single-node"}),
    );
    sandbox.down();
    let shown = sandbox.run("topology show").ends(3);
    assert!(shown.stdout.contains("3 hub nodes"), "{}", shown.stdout);
    let down = sandbox.run(HUB).ends(3);
    assert!(down.stderr.contains("hint: "), "{}", down.stderr);
    sandbox.up();
    same(
        "applied",
        &applied(&sandbox)["spec"]["hub_nodes"],
        &json!(3),
    );

    let before = pids(&sandbox);
    sandbox.run("topology reset").succeeds();
    let now = applied(&sandbox);
    same("spec", &now["spec"], &json!({"topology": "single-node"}));
    same("origin", &now["origin"], &json!("manifest"));
    same("process ids", pids(&sandbox), before);
    let history = sandbox.run("topology history --json").succeeds().json();
    let history = history["history"].as_array().unwrap().clone();
    let states: Vec<&Value> = history.iter().map(|entry| &entry["state"]).collect();
    assert!(history.len() >= 2, "{history:?}");
    assert!(states.iter().all(|state| *state == "applied"), "{states:?}");
}

#[test]
fn clients_lose_nothing_while_the_hub_comes_grows_shrinks_and_goes() {
    let sandbox = sandbox();
    sandbox.up();
    let before = pids(&sandbox);
    let paths = Paths::new(sandbox.root().to_path_buf());
    let load = Load::begin(Targets::of_running(&paths).unwrap()).unwrap();
    for change in [
        "--hub-nodes 3 --leaf nrt,lhr",
        "--hub-nodes 5 --no-leaf",
        "--hub-nodes 3",
        "--single-node",
    ] {
        sandbox
            .run(&format!("topology set nats {change}"))
            .succeeds();
    }
    let noticed = load.finish().unwrap();
    assert!(noticed.is_faultless(), "{noticed:#?}");
    for (name, client) in &noticed.clients {
        assert!(client.operations > 0, "{name}: {client:?}");
        same(name, client.disconnected, 0);
    }
    same("process ids", pids(&sandbox), before);
}

#[test]
fn a_user_of_the_database_changes_what_runs() {
    let mut sandbox = sandbox();
    sandbox.up();
    let before = pids(&sandbox);
    let boss = Boss::log_in(&sandbox);
    boss.write(&hub(3, &["lhr"]));
    let record = boss.until("applied");
    same("origin", &record["origin"], &json!("user"));
    same("process ids", pids(&sandbox), before);

    // An invalid specification is refused at the save, and changes nothing.
    boss.is_refused(&hub(4, &["iad"]), "is 4, but");
    boss.is_refused(&hub(3, &["iad"]), "the region of the hub");
    boss.is_refused(&json!(["not", "a", "topology"]), "must be a JSON object");
    same(
        "applied",
        &applied(&sandbox)["spec"]["hub_nodes"],
        &json!(3),
    );
    same("process ids", pids(&sandbox), before);

    // Three at once: the last one counts.
    for regions in [&["nrt"][..], &["syd", "fra"], &["lhr", "nrt"]] {
        boss.write(&hub(3, regions));
    }
    let record = boss.until("applied");
    same("spec", &record["spec"], &hub(3, &["lhr", "nrt"]));
    same(
        "applied",
        &applied(&sandbox)["spec"]["leaf_regions"],
        &json!(["lhr", "nrt"]),
    );
    same("process ids", pids(&sandbox), before);

    // An edited manifest, here the variable that replaces it, is overridden, and later is not.
    sandbox.dotenv("CORE_TOPOLOGY_NATS", &hub(3, &["nrt"]).to_string());
    let report = sandbox.run("reload --json").succeeds().json();
    same("outcome", &report["outcome"], &json!("unchanged"));
    sandbox.run("topology reset").succeeds();
    let regions = applied(&sandbox)["spec"]["leaf_regions"].clone();
    same("regions", &regions, &json!(["nrt"]));
    sandbox.dotenv("CORE_TOPOLOGY_NATS", &hub(3, &[]).to_string());
    sandbox.run("reload").succeeds();
    let now = eventually("the record", SOON, || {
        let now = record_of_manifest(&sandbox);
        (now["leaf_regions"] == json!([])).then_some(now)
    });
    same("hub nodes", &now["hub_nodes"], &json!(3));
}

/// Returns the specification of a record that the manifest decides about.
#[track_caller]
fn record_of_manifest(sandbox: &Sandbox) -> Value {
    let record = record(sandbox);
    same("origin", &record["origin"], &json!("manifest"));
    record["spec"].clone()
}

#[test]
fn of_two_writers_the_last_one_counts() {
    let sandbox = sandbox();
    sandbox.up();
    let writers = ["lhr", "nrt"]
        .map(|region| sandbox.start(&format!("topology set nats --hub-nodes 3 --leaf {region}")));
    let codes = writers.map(|writer| writer.wait().code);
    // Either they were serialized, or one got a conflict.
    let expected = [[0, 0], [0, 15], [15, 0]];
    assert!(expected.contains(&codes), "{codes:?}");
    let last = eventually("an end", SOON, || {
        let record = record(&sandbox);
        (record["state"] == "applied").then_some(record)
    });
    let applied = applied(&sandbox);
    same("applied", &applied["spec"], &last["spec"]);
    sandbox.wait_healthy();
}

#[test]
fn a_hub_node_that_never_starts_leaves_the_old_topology() {
    let sandbox = sandbox();
    sandbox.up();
    let before = pids(&sandbox);
    // A file is in the place of its data directory.
    let in_the_way = sandbox.path(".data/nats-hub-2");
    fs::write(&in_the_way, "").unwrap();
    let failed = sandbox.run(HUB).ends(16);
    assert!(failed.stderr.contains("`nats-hub-2`"), "{}", failed.stderr);
    same("state", &record(&sandbox)["state"], &json!("failed"));
    same("process ids", pids(&sandbox), before);
    sandbox.wait_healthy();
    fs::remove_file(&in_the_way).unwrap();
    sandbox.run(HUB).succeeds();
    same("process ids", pids(&sandbox), before);
}

/// Kills the process from `victim` during the change, and expects that the change is completed, by
/// the next `up` at the latest.
#[track_caller]
fn killed_in_the_middle(victim: impl FnOnce(&Sandbox) -> i32, by_up: bool) {
    let sandbox = sandbox();
    sandbox.up();
    let mut client = Nats::connect(sandbox.port("nats.client"));
    client.make_stream("ORDERS");
    client.publish("ORDERS.new", "first");
    let pid = victim(&sandbox);
    let change = sandbox.start(&format!("{HUB} --timeout 60"));
    let facts = sandbox.path(".data/nats/topology.json");
    eventually("the middle of the change", SOON, || {
        facts.exists().then_some(())
    });
    processes::signal(pid, Signal::KILL);
    if by_up {
        // Its record cannot be read without a stack.
        change.wait().ends(3);
        sandbox.up();
    } else {
        change.wait().succeeds();
    }
    eventually("applied", SOON, || {
        let record = record(&sandbox);
        (record["state"] == "applied" && record["spec"]["hub_nodes"] == 3).then_some(())
    });
    same(
        "applied",
        &applied(&sandbox)["spec"]["hub_nodes"],
        &json!(3),
    );
    sandbox.wait_healthy();
    same(
        "plan",
        &sandbox.run("plan --json").json()["changes"],
        &json!(false),
    );
    let mut client = Nats::connect(sandbox.port("nats.client"));
    same("message", client.stored("ORDERS", 1).as_str(), "first");
}

#[test]
fn a_controller_killed_in_the_middle_goes_on() {
    killed_in_the_middle(|sandbox| sandbox.pid("controller"), false);
}

#[test]
fn a_database_killed_in_the_middle_does_not_matter() {
    killed_in_the_middle(|sandbox| sandbox.server("pocketbase").pid, false);
}

#[test]
fn a_supervisor_killed_in_the_middle_is_repaired_by_up() {
    killed_in_the_middle(|sandbox| sandbox.supervisor().pid, true);
}
