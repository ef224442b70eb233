//! The controller: it applies the record in the database, or refuses it there.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::http::{self, Answer};
use crate::harness::{SOON, Sandbox, eventually, processes, same};

const EMAIL: &str = "boss@example.com";
const PASSWORD: &str = "a long password";
const RECORDS: &str = "/api/collections/core_topology/records";
const HISTORY: &str = "/api/collections/core_topology_history/records";

/// The controller reads the records every 20 s in any case.
const RESYNC_LIMIT: Duration = Duration::from_mins(1);

/// A running stack and a superuser of its PocketBase.
struct Database {
    sandbox: Sandbox,
    token: String,
}

impl Database {
    #[track_caller]
    fn up() -> Self {
        let mut sandbox = Sandbox::core();
        sandbox.ports_of_nodes(30);
        sandbox.superuser(EMAIL, PASSWORD);
        sandbox.up();
        let token = log_in(&sandbox, PASSWORD);
        Self { sandbox, token }
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [
            ("Authorization", self.token.as_str()),
            ("Content-Type", "application/json"),
        ];
        // Through Caddy, which covers a restart of PocketBase.
        let port = self.sandbox.port("caddy.http");
        let answer = http::request(port, method, path, &headers, &body.to_string());
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Returns the record of NATS.
    #[track_caller]
    fn record(&self) -> Option<Value> {
        let answer = self.ask("GET", RECORDS, &Value::Null);
        assert_eq!(answer.status, 200, "{answer:?}");
        let records = answer.json()["items"].as_array().cloned();
        let mut records = records.into_iter().flatten();
        records.find(|record| record["service"] == "nats")
    }

    /// Changes the record; returns its new generation.
    #[track_caller]
    fn edit(&self, change: &Value) -> u64 {
        let record = self.record().expect("there is a record");
        let path = format!("{RECORDS}/{}", record["id"].as_str().unwrap());
        let answer = self.ask("PATCH", &path, change);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["generation"].as_u64().unwrap()
    }

    /// Waits until the record has the result of a generation.
    #[track_caller]
    fn settled(&self, generation: u64, limit: Duration) -> Value {
        let what = format!("the end of generation {generation}");
        eventually(&what, limit, || {
            let record = self.record()?;
            let status = &record["status"];
            let ended = status["state"] == "applied" || status["state"] == "failed";
            (ended && status["generation"] == generation).then(|| record.clone())
        })
    }

    /// Returns the entries of the history about a generation.
    #[track_caller]
    fn history(&self, generation: u64) -> Vec<Value> {
        let answer = self.ask("GET", HISTORY, &Value::Null);
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines = answer.json()["items"].as_array().cloned();
        let lines = lines.into_iter().flatten();
        lines
            .filter(|line| line["generation"] == generation)
            .collect()
    }

    /// Verifies that the controller still notices changes: it answers a repeated request.
    #[track_caller]
    fn is_watched(&self, when: &str, limit: Duration) {
        let generation = self.edit(&json!({"retry": true}));
        let record = self.settled(generation, limit);
        same(when, &record["status"]["state"], &json!("applied"));
    }
}

#[track_caller]
fn log_in(sandbox: &Sandbox, password: &str) -> String {
    let path = "/api/collections/_superusers/auth-with-password";
    let body = json!({"identity": EMAIL, "password": password});
    let answer = http::post(sandbox.port("caddy.http"), path, None, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

fn hub(nodes: u64, regions: &[&str]) -> Value {
    json!({"topology": "hub-spoke", "hub_region": "iad", "hub_nodes": nodes,
        "leaf_regions": regions, "leaf_nodes_per_region": 1})
}

#[test]
fn an_edit_in_the_database_becomes_what_runs() {
    let database = Database::up();
    let seeded = database.record().expect("the record was made during `up`");
    same("spec", &seeded["spec"], &json!({"topology": "single-node"}));
    same("origin", &seeded["origin"], &json!("manifest"));
    same("state", &seeded["status"]["state"], &json!("applied"));
    let pids = ["nats", "pocketbase", "caddy", "controller"];
    let pids = pids.map(|name| (name, database.sandbox.pid(name)));

    let generation = database.edit(&json!({"spec": hub(3, &["lhr"])}));
    let record = database.settled(generation, RESYNC_LIMIT);
    same("status", &record["status"]["message"], &json!(""));
    same("state", &record["status"]["state"], &json!("applied"));
    same("origin", &record["origin"], &json!("user"));
    same(
        "applied",
        &record["status"]["applied"]["spec"],
        &hub(3, &["lhr"]),
    );
    same(
        "lines of the history",
        database.history(generation).len(),
        1,
    );
    let status = database.sandbox.status();
    let processes = &status["services"]["nats"]["processes"];
    for name in [
        "nats",
        "nats-hub-1",
        "nats-hub-2",
        "nats-hub-3",
        "nats-leaf-lhr",
    ] {
        same(name, &processes[name]["answers"], &json!(true));
    }
    for (name, pid) in pids {
        same(name, database.sandbox.pid(name), pid);
    }

    // A user's choice survives a restart of everything.
    database.sandbox.down();
    database.sandbox.up();
    let after = database.record().expect("there is a record");
    same("generation", &after["generation"], &record["generation"]);
    same("spec", &after["spec"], &record["spec"]);

    // After `origin` is set back, the manifest decides again.
    let generation = database.edit(&json!({"origin": "manifest"}));
    let record = eventually("the manifest's topology", RESYNC_LIMIT, || {
        let record = database.record()?;
        let ended = record["status"]["state"] == "applied"
            && record["status"]["generation"] == record["generation"]
            && record["generation"].as_u64() >= Some(generation);
        ended.then_some(record)
    });
    same("spec", &record["spec"], &json!({"topology": "single-node"}));
    let status = database.sandbox.status();
    let processes = status["services"]["nats"]["processes"].as_object().cloned();
    let names: Vec<String> = processes.unwrap_or_default().keys().cloned().collect();
    same("processes", names, vec!["nats".to_owned()]);
}

#[test]
fn of_several_changes_the_last_one_counts() {
    let database = Database::up();
    let mut last = 0;
    for nodes in [3, 5, 3] {
        let generation = database.edit(&json!({"spec": hub(nodes, &["nrt"])}));
        assert!(generation > last, "{generation} after {last}");
        last = generation;
    }
    let record = database.settled(last, RESYNC_LIMIT);
    same("status", &record["status"]["message"], &json!(""));
    same(
        "spec",
        &record["status"]["applied"]["spec"],
        &hub(3, &["nrt"]),
    );
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let database = Database::up();
    let before = database.sandbox.read(".core-stack/process-compose.yaml");
    let bad = json!({"topology": "hub-spoke", "hub_nodes": 4, "leaf_regions": ["core"]});
    let record = database.record().unwrap();
    let path = format!("{RECORDS}/{}", record["id"].as_str().unwrap());
    let refused = database.ask("PATCH", &path, &json!({"spec": bad}));
    same("status", refused.status, 400);
    let message = refused.json()["data"]["spec"]["message"].to_string();
    assert!(message.contains("`spec.hub_nodes` is 4"), "{message}");
    same("the record", database.record().unwrap(), record.clone());
    let next = record["generation"].as_u64().unwrap() + 1;
    same("lines of the history", database.history(next).len(), 0);
    same(
        "what runs",
        database.sandbox.read(".core-stack/process-compose.yaml"),
        before,
    );

    // A record of another service is refused, and a deleted one is created again from what runs.
    let made = database.ask("POST", RECORDS, &json!({"service": "natz", "spec": {}}));
    let path = format!("{RECORDS}/{}", made.json()["id"].as_str().unwrap());
    let other = eventually("the end of a stranger", SOON, || {
        let record = database.ask("GET", &path, &Value::Null).json();
        (record["status"]["state"] == "failed").then_some(record)
    });
    let message = other["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("error: there is no service `natz`"),
        "{message}"
    );
    let id = record["id"].as_str().unwrap();
    let deleted = database.ask("DELETE", &format!("{RECORDS}/{id}"), &Value::Null);
    same("deleted", deleted.status, 204);
    let again = eventually("the record", SOON, || database.record());
    same("spec", &again["spec"], &json!({"topology": "single-node"}));
    same("state", &again["status"]["state"], &json!("applied"));
}

#[test]
fn what_core_writes_is_not_for_others() {
    let database = Database::up();
    let before = database.record().unwrap();
    let path = format!("{RECORDS}/{}", before["id"].as_str().unwrap());
    database.edit(&json!({"status": {"state": "failed"}, "generation": 77}));
    let after = database.record().unwrap();
    same("status", &after["status"], &before["status"]);
    same("generation", &after["generation"], &before["generation"]);
    let renamed = database.ask("PATCH", &path, &json!({"service": "caddy"}));
    same("another service", renamed.status, 400);

    let caddy = database.sandbox.port("caddy.http");
    same("without a token", http::get(caddy, RECORDS).status, 401);
    let direct = database.sandbox.port("pocketbase.http");
    for secret in ["", "wrong"] {
        let headers = [("X-Core-Secret", secret)];
        let token = http::request(direct, "POST", "/core/token", &headers, "").unwrap();
        same("a wrong secret", token.status, 401);
    }
    let path = "/api/collections/core_controllers/auth-with-password";
    let body = json!({"identity": "controller@core.local", "password": "12345678"});
    same("a login", http::post(caddy, path, None, &body).status, 403);
}

#[test]
fn changes_are_seen_whatever_happened_to_whom() {
    let mut database = Database::up();
    let sandbox = &database.sandbox;
    processes::kill(sandbox.server("pocketbase").pid);
    sandbox.wait_healthy();
    database.is_watched("after-the-server", SOON);

    processes::kill(sandbox.pid("pocketbase"));
    sandbox.wait_healthy();
    database.is_watched("after-its-wrapper", SOON);

    let before = sandbox.pid("controller");
    processes::kill(before);
    // Written while no controller watches.
    database.is_watched("after-the-controller", SOON);
    assert_ne!(sandbox.pid("controller"), before);

    // The subscription of a deleted account goes mute without a sign.
    let accounts = "/api/collections/core_controllers/records";
    let gone = database.ask(
        "DELETE",
        &format!("{accounts}/corecontroller0"),
        &Value::Null,
    );
    same("deleted", gone.status, 204);
    database.is_watched("after-the-account", RESYNC_LIMIT);

    let superusers = "/api/collections/_superusers/records";
    let me = database.ask("GET", superusers, &Value::Null).json();
    let path = format!("{superusers}/{}", me["items"][0]["id"].as_str().unwrap());
    let password = json!({"password": "changed by hand", "passwordConfirm": "changed by hand"});
    same(
        "changed",
        database.ask("PATCH", &path, &password).status,
        200,
    );
    database.token = log_in(&database.sandbox, "changed by hand");
    database.is_watched("after-the-password", SOON);
}

#[test]
fn a_change_that_was_cut_off_is_taken_up_again() {
    let database = Database::up();
    for (signal, region) in [(Signal::TERM, "lhr"), (Signal::KILL, "nrt")] {
        let before = database.sandbox.pid("controller");
        let generation = database.edit(&json!({"spec": hub(3, &[region])}));
        eventually("a change at work", SOON, || {
            let record = database.record()?;
            (record["status"]["state"] == "applying").then_some(())
        });
        processes::signal(before, signal);
        let record = database.settled(generation, RESYNC_LIMIT);
        same("message", &record["status"]["message"], &json!(""));
        same(
            "spec",
            &record["status"]["applied"]["spec"],
            &hub(3, &[region]),
        );
        assert_ne!(database.sandbox.pid("controller"), before);
        database.sandbox.wait_healthy();
    }
}
