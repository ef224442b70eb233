//! Ports that a foreign program holds: it is named and never signalled, and an answer for a service
//! must come from that service.

use std::fs;

use serde_json::{Value, json};
use xtask::bench::programs::{FIRST_GENERATION, answer};

use super::wait_until_free;
use crate::harness::{Running, SOON, Sandbox, eventually, processes, stranger};

/// Returns a service that stops listening when the file `release` exists.
fn gives_way() -> Value {
    let script = "\"$LISTENER\" bench-listen \"$PORT\" & server=$!\n\
                  while [ ! -e release ]; do sleep 0.01; done\n\
                  kill $server; wait $server; exec sleep 3600";
    json!({
        "process": {
            "command": "sh", "args": ["-c", script],
            "env": {
                "LISTENER": env!("CARGO_BIN_EXE_xtask"),
                "PORT": "${port.http}",
                "GENERATION": FIRST_GENERATION,
            },
            "compose": {
                "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
            },
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
    })
}

/// Returns a running stack and a foreign program that has taken the port of its service.
#[track_caller]
fn taken_while_it_runs() -> (Sandbox, Running) {
    let mut sandbox = Sandbox::empty();
    sandbox.service("gives-way", &gives_way());
    sandbox.up();
    let port = sandbox.port("gives-way.http");
    fs::write(sandbox.path("release"), "").unwrap();
    wait_until_free(port);
    let stranger = stranger(port);
    fs::remove_file(sandbox.path("release")).unwrap();
    (sandbox, stranger)
}

#[track_caller]
fn lives(stranger: &Running) {
    assert!(
        processes::find(stranger.pid()).is_some(),
        "the stranger was ended"
    );
}

#[test]
fn a_stranger_that_took_a_port_meanwhile_is_named_and_left_alone() {
    let (sandbox, stranger) = taken_while_it_runs();
    let named = format!("pid {}", stranger.pid());
    let run = sandbox.run("down").ends(17);
    assert!(run.stderr.contains(&named), "{}", run.stderr);
    lives(&stranger);

    // Nothing runs any more: `down` ignores the holder of that port.
    sandbox.run("down").succeeds();
    let run = sandbox.run("up").ends(11);
    assert!(run.stderr.contains(&named), "{}", run.stderr);
    lives(&stranger);
    drop(stranger);
    sandbox.up();
}

#[test]
fn stop_and_restart_name_a_stranger_and_leave_it_alone() {
    for command in ["stop gives-way", "restart gives-way"] {
        let (sandbox, stranger) = taken_while_it_runs();
        let run = sandbox.run(command).ends(17);
        let named = format!("pid {}", stranger.pid());
        assert!(run.stderr.contains(&named), "{command}: {}", run.stderr);
        lives(&stranger);
        drop(stranger);
        sandbox.run("down").succeeds();
    }
}

/// The new process cannot listen, and the foreign program's answer is not its health.
#[test]
fn a_stranger_that_answers_does_not_make_a_service_healthy() {
    let (sandbox, stranger) = taken_while_it_runs();
    // The service is restarted while the foreign program holds its port.
    processes::kill(sandbox.pid("gives-way"));
    let named = format!("pid {}", stranger.pid());
    eventually("the holder of the port in the log", SOON, || {
        // It is created with the first line.
        let log = fs::read_to_string(sandbox.path(".core-stack/logs/gives-way.log"));
        log.is_ok_and(|log| log.contains(&named)).then_some(())
    });
    sandbox.run("status").ends(4);
    lives(&stranger);
    drop(stranger);
    sandbox.wait_healthy();
}

/// Another service of the stack listens on its port: that is no health either.
#[test]
fn another_service_on_the_port_does_not_make_one_healthy() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("gives-way", &gives_way());
    let mut thief = gives_way();
    thief["process"]["env"]["PORT"] = json!("${port.gives-way.http}");
    thief["ports"] = json!({});
    thief["process"]["compose"]["readiness_probe"] =
        json!({"http_get": {"url": "http://127.0.0.1:${port.gives-way.http}/"}});
    sandbox.service("thief", &thief);
    sandbox.edit("gives-way", |manifest| {
        manifest["process"]["compose"]["depends_on"] =
            json!({"thief": {"condition": "process_healthy"}});
        manifest["process"]["compose"]["availability"] = json!({"restart": "no"});
    });
    let run = sandbox.run("up --timeout 20").ends(13);
    assert!(run.stderr.contains("`gives-way`"), "{}", run.stderr);
    assert_eq!(answer(sandbox.port("gives-way.http")), None);
}
