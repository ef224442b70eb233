//! `cargo xtask SERVICE run`: one service by itself, until Ctrl-C.

use std::time::Duration;

use expect_test::{Expect, expect};
use rustix::process::Signal;

use crate::harness::nats::Nats;
use crate::harness::{Sandbox, http, same};

const GONE_LIMIT: Duration = Duration::from_secs(2);

/// Runs a service until it is ready, uses it, interrupts it.
fn run_alone(service: &str, signal: Signal, expected: &Expect, used: impl Fn(&Sandbox)) {
    let sandbox = Sandbox::core();
    let mut run = sandbox.start(&format!("{service} run"));
    run.wait_for_stdout("READY: ");
    used(&sandbox);
    run.signal(signal);
    let run = run.wait().succeeds();
    sandbox.nothing_is_left_within(GONE_LIMIT);
    let ready: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.contains("READY"))
        .collect();
    expected.assert_eq(&sandbox.normal(&ready.join("\n")));
}

#[test]
fn nats_alone() {
    let ready = expect!["READY: nats tcp://127.0.0.1:{nats.client}"];
    run_alone("nats", Signal::INT, &ready, |sandbox| {
        let mut nats = Nats::connect(sandbox.port("nats.client"));
        nats.make_stream("ALONE");
        same("sequence", nats.publish("ALONE.x", "hello"), 1);
    });
}

#[test]
fn pocketbase_alone() {
    let ready = expect!["READY: pocketbase http://127.0.0.1:{pocketbase.http}"];
    run_alone("pocketbase", Signal::TERM, &ready, |sandbox| {
        same(
            "status",
            http::get(sandbox.port("pocketbase.http"), "/api/health").status,
            200,
        );
    });
}

#[test]
fn caddy_alone() {
    let ready = expect!["READY: caddy http://127.0.0.1:{caddy.http}"];
    run_alone("caddy", Signal::INT, &ready, |sandbox| {
        same(
            "status",
            http::get(sandbox.port("caddy.http"), "/healthz").status,
            200,
        );
    });
}

#[test]
fn data_is_shared_with_the_stack() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let mut nats = Nats::connect(sandbox.port("nats.client"));
    nats.make_stream("SHARED");
    nats.publish("SHARED.x", "from the stack");
    // It cannot run beside the stack.
    let refused = sandbox.run("nats run").ends(11);
    assert!(
        refused.stderr.contains("is taken by `nats-server` (pid "),
        "{}",
        refused.stderr
    );
    sandbox.down();

    let mut run = sandbox.start("nats run");
    run.wait_for_stdout("READY: ");
    let mut nats = Nats::connect(sandbox.port("nats.client"));
    same(
        "message",
        nats.stored("SHARED", 1).as_str(),
        "from the stack",
    );
    run.signal(Signal::INT);
    run.wait().succeeds();
}
