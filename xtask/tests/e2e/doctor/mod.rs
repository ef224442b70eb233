//! `doctor` on really broken checkouts and machines, and the effect of `--fix`.

mod inputs;
mod machine;
mod remains;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, SystemTime};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::{Value, json};
use xtask::doctor::Id;

use crate::harness::processes;
use crate::harness::{Run, Sandbox, fake_program, same, stranger};

/// A secret that no output may contain.
const CANARY: &str = "canary-8f3a";

/// Runs `doctor` without a network; `line` has further arguments.
#[track_caller]
fn doctor(sandbox: &Sandbox, line: &str, variables: &[(&str, &str)]) -> Run {
    let run = sandbox.run_with(&format!("doctor --offline --json {line}"), variables);
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains(CANARY), "a secret is shown: {run:#?}");
    }
    run
}

/// Returns the findings of a check: `severity found`.
#[track_caller]
fn found(run: &Run, id: Id) -> Vec<String> {
    let report = run.json();
    let checks = report["checks"].as_array().unwrap().iter();
    let told = |check: &Value| {
        let text = |key: &str| check[key].as_str().unwrap().to_owned();
        format!("{} {}", text("severity"), text("found"))
    };
    let found: Vec<String> = checks
        .filter(|check| check["id"] == id.name())
        .map(told)
        .collect();
    assert!(!found.is_empty(), "{id} is not told: {report:#}");
    found
}

/// Fails unless this is the first finding of a check.
#[track_caller]
fn finds(run: &Run, id: Id, expected: &str) {
    let found = found(run, id);
    assert!(
        found[0].starts_with(expected),
        "{id}\n--- expected\n{expected}\n--- found\n{found:#?}"
    );
}

/// Returns the applied fixes, as `id what`.
#[track_caller]
fn fixed(run: &Run) -> Vec<String> {
    let report = run.json();
    let fixes = report["fixes"].as_array().unwrap().iter();
    let text = |fix: &Value| {
        assert_eq!(fix["done"], json!(true), "{fix}");
        format!(
            "{} {}",
            fix["id"].as_str().unwrap(),
            fix["what"].as_str().unwrap()
        )
    };
    fixes.map(text).collect()
}

/// Returns a service that only runs.
fn idle() -> Value {
    json!({"process": {"command": fake_program()}})
}

#[test]
fn a_sound_checkout_is_told_so_check_by_check() {
    let sandbox = Sandbox::core();
    let run = doctor(&sandbox, "", &[]).ends(0);
    let report = run.json();
    same("schema", &report["schema_version"], &json!(1));
    same("healthy", &report["healthy"], &json!(true));
    let ids = report["checks"].as_array().unwrap().iter();
    let mut ids: Vec<String> = ids
        .map(|check| check["id"].as_str().unwrap().to_owned())
        .collect();
    ids.dedup();
    same("ids", ids, Id::ALL.map(Id::name).to_vec());
    for id in [
        Id::RustToolchain,
        Id::DepLock,
        Id::DepBinaries,
        Id::DotenvSyntax,
        Id::DotenvMode,
        Id::Manifests,
        Id::SuperuserEmail,
        Id::Settings,
        Id::Ports,
        Id::Leftovers,
        Id::SupervisorSocket,
        Id::TemporaryFiles,
        Id::Locks,
        Id::CheckoutPath,
        Id::FileSystem,
        Id::RuntimeDirectory,
        Id::SocketPath,
        Id::ProcessComposeVariables,
    ] {
        finds(&run, id, "ok ");
    }
    finds(&run, Id::Clock, "skipped not asked, because of --offline");
    // For people: one line per finding on stdout, and a summary on stderr.
    let run = sandbox.run("doctor --offline").succeeds();
    assert!(
        run.stdout
            .contains("\nok       ports: 7 are free or held by this stack\n"),
        "{run:#?}"
    );
    assert!(run.stderr.starts_with("no errors, "), "{}", run.stderr);
    sandbox.nothing_was_started();
}

#[test]
fn a_running_stack_is_sound_and_left_alone() {
    let sandbox = Sandbox::core();
    let before = sandbox.up();
    let run = doctor(&sandbox, "--fix", &[]).ends(0);
    finds(&run, Id::Ports, "ok 7 are free or held by this stack");
    finds(&run, Id::Leftovers, "ok what runs has its supervisor");
    finds(&run, Id::SupervisorSocket, "ok ");
    finds(&run, Id::Locks, "ok ");
    same("fixes", fixed(&run), Vec::new());
    let after = sandbox.run("up --json").succeeds().json();
    same("outcome", &after["outcome"], &json!("unchanged"));
    for service in ["nats", "pocketbase", "caddy"] {
        let pid = |report: &Value| report["processes"][service]["pid"].clone();
        same(service, pid(&after), pid(&before));
    }
}

#[test]
fn a_stranger_on_a_port_is_named_and_never_signalled() {
    let sandbox = Sandbox::core();
    let port = sandbox.port("pocketbase.http");
    let stranger = stranger(port);
    let run = doctor(&sandbox, "--fix", &[]).ends(11);
    let told = format!("`xtask-fake` (pid {}) at 127.0.0.1:{port}", stranger.pid());
    let start = format!("error port {port} of `pocketbase` (`CORE_PORT_POCKETBASE_HTTP`)");
    finds(&run, Id::Ports, &start);
    assert!(found(&run, Id::Ports)[0].contains(&told), "{run:#?}");
    same("fixes", fixed(&run), Vec::new());
    same("state", processes::find(stranger.pid()).is_some(), true);
    // For people, with the fix below the finding.
    let run = sandbox.run("doctor --offline").ends(11);
    let fix = "\n  fix: end that program, or choose another port in `.env`: \
               CORE_PORT_POCKETBASE_HTTP=NUMBER\n";
    assert!(run.stdout.contains(fix), "{}", run.stdout);
    assert!(run.stderr.starts_with("1 error, "), "{}", run.stderr);
}

#[test]
fn every_kind_of_listener_is_seen() {
    let sandbox = Sandbox::core();
    let (caddy, nats) = (sandbox.port("caddy.http"), sandbox.port("nats.client"));
    let wildcard = TcpListener::bind(("0.0.0.0", caddy)).unwrap();
    let run = doctor(&sandbox, "", &[]).ends(11);
    let own = format!("(pid {}) at", std::process::id());
    assert!(
        found(&run, Id::Ports)[0].contains(&format!("{own} 0.0.0.0:{caddy}")),
        "{run:#?}"
    );
    drop(wildcard);
    // The kernel takes ports of connections from a range; suppose this one was in it.
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let connection = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    fcntl_setfd(&connection, FdFlags::CLOEXEC).unwrap();
    // Nothing ever listens on this one here, so no earlier connection lingers on it.
    let cluster = sandbox.port("nats.cluster");
    bind(&connection, &SocketAddr::from(([127, 0, 0, 1], cluster))).unwrap();
    connect(&connection, &server.local_addr().unwrap()).unwrap();
    let run = doctor(&sandbox, "", &[]).ends(11);
    let told = format!("{own} 127.0.0.1:{cluster}");
    assert!(found(&run, Id::Ports)[0].contains(&told), "{run:#?}");
    // Closed by the other side first, so that nothing lingers on the port.
    drop(server.accept().unwrap());
    drop(connection);
    if let Ok(v6) = TcpListener::bind(("::1", nats)) {
        let run = doctor(&sandbox, "", &[]).ends(0);
        let start = format!("warning port {nats} of `nats`");
        finds(&run, Id::Ports, &start);
        assert!(
            found(&run, Id::Ports)[0].contains(&format!("{own} [::1]:{nats}")),
            "{run:#?}"
        );
        drop(v6);
        let _both = TcpListener::bind(("::", nats)).unwrap();
        let run = doctor(&sandbox, "", &[]).ends(11);
        assert!(
            found(&run, Id::Ports)[0].contains(&format!("{own} [::]:{nats}")),
            "{run:#?}"
        );
    }
}

/// Creates a file that was last written an hour ago.
fn old_file(sandbox: &Sandbox, path: &str) -> File {
    let path = sandbox.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_hours(1))
        .unwrap();
    file
}
