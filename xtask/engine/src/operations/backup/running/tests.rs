//! Stops and starts the servers that have data, with a supervisor that misbehaves.

use std::fs;
use std::net::TcpListener;

use kit::failure::exit_of;
use serde_json::json;

use super::*;
use crate::supervisor::fake::bed::Bed;
use crate::supervisor::fake::{Fault, Script};

/// Returns both servers that have data, one that depends on them, and an independent one.
fn bed() -> Bed {
    let bed = Bed::new();
    let probe = json!({"exec": {"command": "true"}});
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let nats = json!({
        "process": {"command": "true", "compose": {"readiness_probe": probe}},
        "ports": {"client": {"port": port, "protocol": "nats"}},
    });
    bed.manifest("nats", &nats);
    bed.service("pocketbase", &["nats"], &json!({}));
    bed.service("caddy", &["pocketbase"], &json!({}));
    for server in ["nats", "pocketbase"] {
        let directory = bed.ctx.paths.data().join(server);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(".lock"), "").unwrap();
    }
    bed.boot();
    bed
}

fn running(bed: &Bed) -> Running<'_> {
    Running::find(&bed.ctx).unwrap().unwrap()
}

#[test]
fn servers_with_data_are_stopped_and_started_in_order() {
    let bed = bed();
    let slow = Script {
        listed_for: Duration::from_millis(60),
        missed_for: Some(Duration::from_millis(20)),
        accepted_for: Duration::from_millis(20),
        ready_after: Duration::from_millis(20),
        ..Script::default()
    };
    bed.fake.script("nats", slow);
    let caddy = bed.fake.pid("caddy");
    let running = running(&bed);
    let stopped = running.stop().unwrap();
    assert_eq!(bed.fake.orders(), ["stop pocketbase", "stop nats"]);
    let lock = bed.ctx.paths.data().join("nats/.lock");
    assert!(FileLock::is_held(&lock).unwrap(), "we are in its place");
    drop(stopped);
    assert!(!FileLock::is_held(&lock).unwrap());
    running.start(&Interrupt::default()).unwrap();
    assert_eq!(bed.fake.orders(), ["start nats", "start pocketbase"]);
    running.restart_nats(&Interrupt::default()).unwrap();
    assert_eq!(bed.fake.orders(), ["stop nats", "start nats"]);
    running.start(&Interrupt::default()).unwrap();
    assert_eq!(bed.fake.orders(), [""; 0], "all run");
    assert_eq!(bed.fake.pid("caddy"), caddy);
    assert!(bed.fake.lost().is_empty());
}

#[test]
fn what_does_not_come_back_is_an_error() {
    let bed = bed();
    let running = running(&bed);
    drop(running.stop().unwrap());
    bed.fake
        .fault("POST /process/start/nats", Fault::Refuse(400, "no idea"));
    let error = running.start(&Interrupt::default()).unwrap_err();
    assert!(format!("{error:#}").contains("no idea"), "{error:#}");
    let cannot = Script {
        cannot_start: true,
        ..Script::default()
    };
    bed.fake.script("nats", cannot);
    let error = running.start(&Interrupt::default()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::ServiceFailed);
    bed.fake.script("nats", Script::default());
    running.start(&Interrupt::default()).unwrap();
    bed.fake.fault(
        "PATCH /process/stop/pocketbase",
        Fault::Refuse(500, "no idea"),
    );
    assert!(running.stop().is_err());
}

#[test]
fn only_what_runs_and_is_known_is_found() {
    let bed = bed();
    let running = running(&bed);
    assert!(running.places().facts.nodes().is_empty());
    assert!(running.database().is_err(), "no port of it is known");
    let applied = bed.ctx.paths.applied();
    let text = fs::read(&applied).unwrap();
    fs::remove_file(&applied).unwrap();
    assert!(Running::find(&bed.ctx).unwrap().is_none());
    fs::write(&applied, text).unwrap();
    bed.fake.crash();
    assert!(Running::find(&bed.ctx).unwrap().is_none());
    let error = Running::need(&bed.ctx, "backup").unwrap_err();
    assert_eq!(exit_of(&error), Exit::NotRunning);
}

#[test]
fn what_is_replaced_as_a_whole() {
    let stores = stores(&Facts::default());
    let expected = [
        "nats/jetstream",
        "pocketbase/pb_data",
        "pocketbase/superuser.json",
    ];
    assert_eq!(stores, expected.map(PathBuf::from));
}
