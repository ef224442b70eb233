//! Damaged files of Core, by a disk or by hand: none of them prevents a start, a status or a stop
//! of the stack.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::nats::Nats;
use crate::harness::{SOON, Sandbox, eventually, http, same};
use crate::topology::{HUB_AND_REGION, sandbox as with_topology};

/// The remaining content of a file.
const DAMAGE: [&[u8]; 3] = [b"", b"{\"schema_version\": 1, \"spe", b"\0\xff\xfe\0\0\0"];
/// Core's own stream of events, as the server stores it.
const EVENTS: &str = ".data/nats/jetstream/APP/streams/CORE_EVENTS";

/// Returns every JSON file below a directory, except copies and the servers' own files.
fn json_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_ours = !["jetstream", "pb_data", "storage", "caddy"].contains(&&*name);
        if path.is_dir() && is_ours {
            found.extend(json_files(&path));
        } else if name.ends_with(".json") && !name.starts_with('.') {
            found.push(path);
        }
    }
    found
}

#[track_caller]
fn log_in(sandbox: &Sandbox, email: &str, password: &str) {
    let path = "/api/collections/_superusers/auth-with-password";
    let body = json!({"identity": email, "password": password});
    let answer = http::post(sandbox.port("pocketbase.http"), path, None, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_stack_starts_whatever_file_of_ours_is_damaged() {
    let sandbox = with_topology(HUB_AND_REGION);
    sandbox.up();
    let mut client = Nats::connect(sandbox.port("nats.client"));
    client.make_stream("ORDERS");
    client.publish("ORDERS.new", "first");
    let made_up = sandbox.read(".data/pocketbase/superuser.json");
    let made_up: serde_json::Value = serde_json::from_str(&made_up).unwrap();
    let (email, password) = (&made_up["email"], &made_up["password"]);
    sandbox.down();
    let facts = sandbox.read(".data/nats/topology.json");
    for damage in DAMAGE {
        let files =
            [".data", ".core-stack", "../home"].map(|place| json_files(&sandbox.path(place)));
        let files = files.concat();
        for name in [
            "nats/store",
            "nats/credentials",
            "nats/topology",
            "nats-hub-1/store",
        ] {
            let path = sandbox.path(&format!(".data/{name}.json"));
            assert!(files.contains(&path), "{name}: {files:#?}");
        }
        for path in &files {
            fs::write(path, damage).unwrap();
        }
        // Files that exist only while a command runs, without a copy.
        for path in [
            ".data/restore.json",
            ".data/nats/moving.json",
            ".core-stack/stopped.json",
        ] {
            fs::write(sandbox.path(path), damage).unwrap();
        }
        let plan = sandbox.run("plan");
        assert!([0, 10].contains(&plan.code), "{}", plan.stderr);
        sandbox.run("ps --all").succeeds();
        sandbox.up();
        sandbox.wait_healthy();
        same(
            "facts",
            sandbox.read(".data/nats/topology.json"),
            facts.clone(),
        );
        log_in(
            &sandbox,
            email.as_str().unwrap(),
            password.as_str().unwrap(),
        );
        let mut client = Nats::connect(sandbox.port("nats.client"));
        same("message", client.stored("ORDERS", 1).as_str(), "first");
        sandbox.down();
    }
}

#[test]
fn a_running_stack_is_shown_and_changed_whatever_file_of_ours_is_damaged() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let pid = sandbox.pid("nats");
    for damage in DAMAGE {
        for path in json_files(&sandbox.path(".core-stack")) {
            // A process's own file: it is rewritten at each start.
            let is_a_command_s = path.parent() == Some(&sandbox.path(".core-stack"));
            if is_a_command_s {
                fs::write(path, damage).unwrap();
            }
        }
        same("healthy", &sandbox.status()["healthy"], &json!(true));
        sandbox.run("logs nats").succeeds();
        sandbox.up();
        same("process id", sandbox.pid("nats"), pid);
        sandbox.run("topology show").succeeds();
    }
    for path in json_files(&sandbox.path(".core-stack")) {
        fs::write(path, "").unwrap();
    }
    sandbox.down();
}

#[test]
fn damaged_events_are_set_aside_and_begin_anew() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let mut client = Nats::connect(sandbox.port("nats.client"));
    client.make_stream("ORDERS");
    client.publish("ORDERS.new", "first");
    let damages: [fn(&Path); 4] = [
        |stream| fs::write(stream.join("meta.inf"), "{\"name\"").unwrap(),
        |stream| fs::write(stream.join("meta.sum"), "").unwrap(),
        |stream| fs::remove_file(stream.join("meta.inf")).unwrap(),
        |stream| {
            fs::remove_dir_all(stream).unwrap();
            fs::write(stream, "").unwrap();
        },
    ];
    let aside = |number: usize| match number {
        0 => ".data/nats/CORE_EVENTS.damaged".to_owned(),
        number => format!(".data/nats/CORE_EVENTS.damaged-{}", number + 1),
    };
    for (number, damage) in damages.iter().enumerate() {
        eventually("events", SOON, || {
            sandbox.path(EVENTS).join("meta.sum").exists().then_some(())
        });
        sandbox.down();
        damage(&sandbox.path(EVENTS));
        sandbox.up();
        assert!(sandbox.path(&aside(number)).symlink_metadata().is_ok());
        let log = sandbox.read(".core-stack/logs/nats.log");
        assert!(log.contains("`CORE_EVENTS` was damaged"), "{log}");
        sandbox.wait_healthy();
        let mut client = Nats::connect(sandbox.port("nats.client"));
        same("message", client.stored("ORDERS", 1).as_str(), "first");
    }
    eventually("an event", SOON, || {
        let mut client = Nats::connect(sandbox.port("nats.client"));
        let info = client.api("STREAM.INFO.CORE_EVENTS", &json!({}));
        info["state"]["messages"]
            .as_u64()
            .filter(|count| *count > 0)
    });
    // Streams of users are never moved aside.
    sandbox.down();
    let orders = sandbox.path(".data/nats/jetstream/APP/streams/ORDERS/meta.inf");
    let whole = fs::read(&orders).unwrap();
    fs::write(&orders, "{").unwrap();
    let run = sandbox.run("up --timeout 3").ends(14);
    assert!(run.stderr.contains("ORDERS"), "{}", run.stderr);
    fs::write(&orders, whole).unwrap();
    sandbox.up();
    let mut client = Nats::connect(sandbox.port("nats.client"));
    same("message", client.stored("ORDERS", 1).as_str(), "first");
}
