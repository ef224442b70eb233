//! Invalid content in the record of the topology, or a broken collection: the stack starts, the
//! record has the reason, and the commands correct it.

use std::fs;

use serde_json::{Value, json};
use service_nats::topology::spec;

use crate::harness::{Run, SOON, Sandbox, eventually, http, same};
use crate::record::{Boss, EMAIL, PASSWORD, RECORDS};

/// The history of the records, in the database's own API.
const HISTORY: &str = "/api/collections/core_topology_history/records";
/// Number of changes that the history keeps.
const HISTORY_MAX: usize = 500;

/// A hook of a user that runs SQL: it writes into the database past the rules of its API.
const HOOK: &str = r#"
routerAdd("POST", "/sql", (e) => {
  for (const sql of e.requestInfo().body.sql) {
    $app.db().newQuery(sql).execute();
  }
  return e.json(200, {});
});
"#;

fn sandbox() -> Sandbox {
    let mut sandbox = Sandbox::core();
    sandbox.superuser(EMAIL, PASSWORD);
    let hooks = sandbox.own_service("pocketbase").join("pb_hooks");
    fs::create_dir(&hooks).unwrap();
    fs::write(hooks.join("sql.pb.js"), HOOK).unwrap();
    sandbox
}

#[track_caller]
fn sql(sandbox: &Sandbox, statements: &[&str]) {
    let body = json!({"sql": statements});
    let answer = http::post(sandbox.port("pocketbase.http"), "/sql", None, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Returns `topology show --json` of the record.
#[track_caller]
fn shown(sandbox: &Sandbox) -> Value {
    sandbox.run("topology show --json").succeeds().json()["record"].clone()
}

#[track_caller]
fn until_failed(sandbox: &Sandbox, because: &str) {
    let record = eventually("failed", SOON, || {
        Some(shown(sandbox)).filter(|record| record["state"] == "failed")
    });
    let message = record["message"].to_string();
    assert!(message.contains(because), "{because}: {message}");
}

#[track_caller]
fn sets_it_right(sandbox: &Sandbox) {
    sandbox.run("topology set nats --single-node").succeeds();
    same("state", &shown(sandbox)["state"], &json!("applied"));
    sandbox.run("topology reset").succeeds();
    same("origin", &shown(sandbox)["origin"], &json!("manifest"));
}

/// Returns JSON with this depth of nesting.
fn deep(levels: usize) -> String {
    let (open, close) = ("{\"a\":".repeat(levels), "}".repeat(levels));
    format!("{open}1{close}")
}

#[test]
fn no_record_keeps_the_stack_from_starting() {
    let sandbox = sandbox();
    sandbox.up();
    let plant = |spec: &str| {
        let spec = format!(
            "UPDATE core_topology SET origin = 'user', generation = generation + 1, \
             spec = '{spec}'"
        );
        sql(&sandbox, &[&spec]);
        // The next `up` finds it, as if it had been written before.
        sandbox.down();
        sandbox.up();
    };
    for (spec, because) in [
        (&*deep(300), "nested too deeply"),
        (&*deep(9000), "nested too deeply"),
        (&"[".repeat(2), "must be a JSON object"),
    ] {
        plant(spec);
        until_failed(&sandbox, because);
        let boss = Boss::log_in(&sandbox);
        // Only this field: the others are nested too deeply for this test, too.
        eventually("the plain state", SOON, || {
            let plain = boss.ask("GET", &format!("{RECORDS}?fields=state"), &json!(null));
            (plain.json()["items"][0]["state"] == "failed").then_some(())
        });
        sandbox.wait_healthy();
        sets_it_right(&sandbox);
    }
    // PocketBase refuses every write to this one, unless the specification is replaced.
    plant("{\"hub_nodes\": 1e999}");
    until_failed(&sandbox, "number out of range");
    sandbox.wait_healthy();
    sets_it_right(&sandbox);
    // An invalid number, and another record beside the one of NATS.
    let others = [
        "UPDATE core_topology SET spec = '[[', generation = -7, status = '[[', origin = 'user'",
        "INSERT INTO core_topology (id, service, spec, origin, generation, status, created, \
         updated) VALUES ('zzzzzzzzzzzzzzz', 'zzz', '[[[[', 'odd', 1e300, '', '', '')",
    ];
    sql(&sandbox, &others);
    sandbox.down();
    sandbox.up();
    until_failed(&sandbox, "`generation` cannot be understood");
    sandbox.wait_healthy();
}

#[test]
fn a_collection_that_a_user_changed_keeps_nothing_from_starting() {
    let sandbox = sandbox();
    sandbox.up();
    let boss = Boss::log_in(&sandbox);
    let collection = "/api/collections/core_topology";
    let fields = boss.ask("GET", collection, &json!(null)).json()["fields"].clone();
    let less: Vec<&Value> = fields.as_array().unwrap().iter().collect();
    let less: Vec<&Value> = less
        .into_iter()
        .filter(|field| !["origin", "move_streams"].contains(&field["name"].as_str().unwrap()))
        .collect();
    let answer = boss.ask("PATCH", collection, &json!({"fields": less}));
    assert_eq!(answer.status, 200, "{answer:?}");
    sandbox.down();
    sandbox.up();
    sandbox.wait_healthy();
    // Without the collection there is no record; everything else works.
    let boss = Boss::log_in(&sandbox);
    let answer = boss.ask("DELETE", collection, &json!(null));
    assert_eq!(answer.status, 204, "{answer:?}");
    sandbox.down();
    sandbox.up();
    sandbox.wait_healthy();
    let asked: Run = sandbox.run("topology show").ends(4);
    assert!(asked.stderr.contains("hint: "), "{}", asked.stderr);
}

/// Returns specifications of all kinds, valid and invalid.
fn specs() -> Vec<Value> {
    let hub = |more: Value| {
        let mut spec = json!({"topology": "hub-spoke", "hub_nodes": 3});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
    let many: Vec<String> = (0..33).map(|number| format!("r{number}")).collect();
    let mut specs = vec![
        json!({"topology": "single-node"}),
        json!({"topology": "single-node", "hub_nodes": 3}),
        json!({"topology": "Single-Node"}),
        json!({"topology": null}),
        json!({}),
        json!([]),
        json!("single-node"),
        json!(3),
        json!({"topology": "hub-spoke"}),
        json!({"topology": "hub-spoke", "nodes": 3}),
    ];
    for nodes in [
        json!(1),
        json!(2),
        json!(3),
        json!(4),
        json!(9),
        json!(11),
        json!(-3),
        json!(3.5),
        json!("3"),
        json!(null),
        json!([3]),
        json!(true),
    ] {
        specs.push(hub(json!({"hub_nodes": nodes})));
    }
    for region in [
        json!("iad"),
        json!("1a"),
        json!("a-b"),
        json!(""),
        json!("-a"),
        json!("a-"),
        json!("A"),
        json!("ä"),
        json!("a.b"),
        json!("hub"),
        json!("core"),
        json!("a".repeat(52)),
        json!("a".repeat(53)),
        json!(null),
        json!(7),
        json!("a\n"),
    ] {
        specs.push(hub(json!({"hub_region": region})));
        specs.push(hub(json!({"leaf_regions": [region]})));
    }
    for regions in [
        json!([]),
        json!(["lhr", "nrt"]),
        json!(["lhr", "lhr"]),
        json!(["local"]),
        json!("lhr"),
        json!(null),
        json!({"a": 1}),
        json!(&many[..32]),
        json!(many),
    ] {
        specs.push(hub(json!({"leaf_regions": regions})));
    }
    for count in [
        json!(0),
        json!(1),
        json!(2),
        json!(9),
        json!(10),
        json!("2"),
        json!(null),
    ] {
        specs.push(hub(
            json!({"leaf_regions": ["a", "a-2"], "leaf_nodes_per_region": count}),
        ));
        specs.push(hub(
            json!({"leaf_regions": ["a-2", "b"], "leaf_nodes_per_region": count}),
        ));
    }
    specs.push(hub(json!({"hub_region": "lhr", "leaf_regions": ["lhr"]})));
    specs.push(hub(json!({"leaf_region": []})));
    specs
}

#[test]
fn the_save_refuses_what_the_controller_would_refuse_and_nothing_else() {
    let sandbox = sandbox();
    // Without a controller, which would apply the valid ones.
    sandbox.run("up pocketbase --json").succeeds();
    let boss = Boss::log_in(&sandbox);
    let mut refused = 0;
    let specs = specs();
    for spec in &specs {
        let body = json!({"service": "nats", "origin": "user", "spec": spec});
        let answer = boss.ask("POST", RECORDS, &body);
        let wrong = spec::from_json(&spec.to_string(), "spec").is_err();
        let expected = if wrong { 400 } else { 200 };
        assert_eq!(answer.status, expected, "{spec}: {answer:?}");
        if wrong {
            refused += 1;
            let sentence = answer.json()["data"]["spec"]["message"].to_string();
            assert!(sentence.contains("`spec"), "{spec}: {sentence}");
            continue;
        }
        same("state", &answer.json()["state"], &json!("pending"));
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let gone = boss.ask("DELETE", &format!("{RECORDS}/{id}"), &json!(null));
        assert_eq!(gone.status, 204, "{gone:?}");
    }
    assert!(refused > 20 && specs.len() - refused > 10, "{refused}");
}

#[test]
fn the_history_keeps_the_last_changes() {
    let sandbox = sandbox();
    sandbox.up();
    let row = "INSERT INTO core_topology_history (id, service, generation, origin, spec, state, \
         message, created)";
    let number = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)";
    let values = "SELECT printf('old%012d', i), 'nats', i, 'user', '{}', 'failed', '', '' FROM n";
    let of_another = "SELECT 'other0000000000', 'other', 1, 'user', '{}', 'failed', '', ''";
    sql(
        &sandbox,
        &[
            &format!("{row} {of_another}"),
            &format!("{row} {number} {values}"),
        ],
    );
    sandbox.run("topology set nats --single-node").succeeds();
    let boss = Boss::log_in(&sandbox);
    let path = format!("{HISTORY}?perPage=1&filter=service%3D%22nats%22");
    let count = boss.ask("GET", &path, &json!(null)).json()["totalItems"].clone();
    same("lines", &count, &json!(HISTORY_MAX));
    let path = format!("{HISTORY}?perPage=1&filter=service%3D%22other%22");
    let count = boss.ask("GET", &path, &json!(null)).json()["totalItems"].clone();
    same("lines of another service", &count, &json!(1));
    let newest = sandbox
        .run("topology history --limit 1 --json")
        .succeeds()
        .json();
    same(
        "the newest",
        &newest["history"][0]["state"],
        &json!("applied"),
    );
}
