//! Services that fail: `up` reports which one and why, and leaves nothing.

use std::time::Duration;

use expect_test::expect;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{SOON, Sandbox, eventually, expected, fake_program, processes, same};

const GONE_LIMIT: Duration = Duration::from_secs(2);

#[test]
pub(crate) fn a_service_that_dies_at_start_ends_up_at_once() {
    let mut sandbox = Sandbox::core();
    let dying = json!({
        "process": {
            "command": fake_program(), "args": ["--say", "the disk is on fire", "--exit", "3"],
            "compose": {
                "depends_on": {"nats": {"condition": "process_healthy"}},
                "readiness_probe": {"tcp": {"port": "${port.http}"}},
            },
        },
        "ports": {"http": {"port": 1}},
    });
    sandbox.service("dying", &dying);
    let run = sandbox.run("up").ends(13);
    sandbox.nothing_is_left_within(GONE_LIMIT);
    same("stdout", run.stdout.as_str(), "");
    let told: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| !line.ends_with("is healthy"))
        .collect();
    expect![[r"
        error: `dying` ended while it was starting, with exit code 3
          | TIME INF the disk is on fire
        hint: the whole log is in `.core-stack/logs/dying.log`"]]
    .assert_eq(&sandbox.normal(&told.join("\n")));
    assert!(
        run.took < Duration::from_secs(30),
        "it waited for the deadline: {:?}",
        run.took
    );
}

#[test]
fn a_server_that_refuses_its_files_is_quoted() {
    let sandbox = Sandbox::core();
    let hooks = sandbox.own_service("pocketbase").join("pb_hooks");
    if hooks.is_symlink() {
        std::fs::remove_file(&hooks).unwrap();
    }
    std::fs::create_dir_all(&hooks).unwrap();
    std::fs::write(
        hooks.join("bad.pb.js"),
        "onBootstrap((e) => { throw new Error('no luck today'); });\n",
    )
    .unwrap();
    let run = sandbox.run("up").ends(13);
    sandbox.nothing_is_left_within(GONE_LIMIT);
    assert!(
        run.stderr
            .contains("error: `pocketbase` ended while it was starting"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("no luck today"), "{}", run.stderr);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut sandbox = Sandbox::empty();
    sandbox.service(
        "absent",
        &json!({
            "process": {"command": "./no-such-program", "compose": {
                "readiness_probe": {"tcp": {"port": "${port.http}"}},
            }},
            "ports": {"http": {"port": 1}},
        }),
    );
    let run = sandbox.run("up").ends(13);
    sandbox.nothing_is_left_within(GONE_LIMIT);
    assert!(
        run.stderr
            .contains("error: `absent` ended while it was starting"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("no-such-program"), "{}", run.stderr);
}

#[test]
pub(crate) fn a_service_that_never_gets_healthy_is_given_up_at_the_deadline() {
    let mut sandbox = Sandbox::core();
    let never = json!({
        "process": {
            "command": fake_program(), "args": ["--listen", "${port.http}", "--status", "503"],
            "compose": {
                "depends_on": {"nats": {"condition": "process_healthy"}},
                "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/ready"}},
            },
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
    });
    sandbox.service("never", &never);
    let run = sandbox.run("up --timeout 3").ends(14);
    sandbox.nothing_is_left_within(GONE_LIMIT);
    same("stdout", run.stdout.as_str(), "");
    let told: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| !line.ends_with("is healthy"))
        .collect();
    expected("failing/never-healthy", &sandbox.normal(&told.join("\n")));
}

#[test]
pub(crate) fn a_server_that_hangs_is_unhealthy() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let server = sandbox.server("nats");
    processes::signal(server.pid, Signal::STOP);
    let run = sandbox.run("status").ends(4);
    same("stderr", run.stderr.as_str(), "");
    let line = run
        .stdout
        .lines()
        .find(|line| line.starts_with("nats "))
        .unwrap();
    assert!(line.contains("no answer"), "{line}");
    let json = sandbox.run("status --json").ends(4).json();
    same("healthy", &json["healthy"], &json!(false));
    same(
        "answers",
        &json["services"]["nats"]["processes"]["nats"]["answers"],
        &json!(false),
    );
    processes::signal(server.pid, Signal::CONT);
    sandbox.wait_healthy();
}

#[test]
fn a_crashed_service_is_reported_until_it_is_back() {
    let mut sandbox = Sandbox::empty();
    let crashing = json!({
        "process": {"command": fake_program(), "args": ["--listen", "${port.http}"], "compose": {
            "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
            "availability": {"restart": "no"},
        }},
        "ports": {"http": {"port": 1, "protocol": "http"}},
    });
    sandbox.service("crashing", &crashing);
    sandbox.up();
    processes::kill(sandbox.pid("crashing"));
    eventually("the crash", SOON, || {
        (sandbox.run("status").code == 4).then_some(())
    });
    // `up` starts it again.
    let report = sandbox.up();
    assert!(
        report["processes"]["crashing"]["pid"].is_i64(),
        "{report:#}"
    );
    sandbox.run("status").succeeds();
}

#[test]
fn a_change_that_fails_is_taken_back() {
    let mut sandbox = Sandbox::empty();
    let manifest = |arguments: &[&str]| {
        let arguments = [&["--listen", "${port.http}"], arguments].concat();
        json!({
            "process": {
                "command": fake_program(), "args": arguments,
                "compose": {
                    "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
                },
            },
            "ports": {"http": {"port": 1}},
        })
    };
    sandbox.service("changing", &manifest(&[]));
    sandbox.service("staying", &json!({"process": {"command": fake_program()}}));
    sandbox.up();
    let staying = sandbox.pid("staying");
    let before = sandbox.read(".core-stack/process-compose.yaml");
    sandbox.edit("changing", |value| {
        *value = manifest(&["--say", "oh no", "--exit", "3"]);
    });
    let run = sandbox.run("up").ends(16);
    expected("failing/taken-back", &sandbox.normal(&run.stderr));
    let after = sandbox.read(".core-stack/process-compose.yaml");
    same("the file", after.as_str(), before.as_str());
    sandbox.edit("changing", |value| *value = manifest(&[]));
    sandbox.wait_healthy();
    same("the other process", sandbox.pid("staying"), staying);
}
