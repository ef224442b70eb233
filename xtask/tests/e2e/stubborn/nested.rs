//! A stack that was started inside a service of another one: each is stopped by itself.

use std::fs;
use std::time::Duration;

use serde_json::json;
use xtask::bench::programs::{FIRST_GENERATION, answer};

use crate::harness::{SOON, Sandbox, eventually, processes, same};

/// How long the stop of either may take: neither waits for the other.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Returns a stack of one service that listens.
fn stack() -> Sandbox {
    let mut sandbox = Sandbox::empty();
    let listener = json!({
        "process": {
            "command": env!("CARGO_BIN_EXE_xtask"), "args": ["bench-listen", "${port.http}"],
            "env": {"GENERATION": FIRST_GENERATION},
            "compose": {
                "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
            },
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
    });
    sandbox.service("listener", &listener);
    sandbox
}

/// Makes a service of `outer` start `inner`, and waits for both.
#[track_caller]
fn start_inside(outer: &mut Sandbox, inner: &Sandbox) {
    // The environment of the outer service must not mention the inner stack: it would be taken for
    // a leftover of it.
    let variables = inner.variables().into_iter();
    let variables: String = variables
        .map(|(name, value)| format!("{name}='{value}' "))
        .collect();
    let xtask = env!("CARGO_BIN_EXE_xtask");
    let script = format!("env {variables} '{xtask}' up && exec sleep 3600\n");
    fs::write(outer.path("start-inner.sh"), script).unwrap();
    let starter = json!({"process": {"command": "sh", "args": ["start-inner.sh"]}});
    outer.service("starter", &starter);
    outer.up();
    eventually("the stack inside", SOON, || {
        answer(inner.port("listener.http"))
    });
    inner.wait_healthy();
}

#[test]
fn the_outer_stack_ends_without_the_inner_one() {
    let (mut outer, inner) = (stack(), stack());
    start_inside(&mut outer, &inner);
    let (supervisor, pid) = (inner.supervisor().pid, inner.pid("listener"));
    for command in ["restart starter", "stop starter", "start starter"] {
        let run = outer.run(command).succeeds();
        assert!(run.took < STOP_LIMIT, "{command}: {:?}", run.took);
        same("the inner supervisor", inner.supervisor().pid, supervisor);
    }
    let run = outer.down();
    assert!(run.took < STOP_LIMIT, "{:?}\n{}", run.took, run.stderr);
    assert!(
        run.stderr.contains("nothing is left running"),
        "{}",
        run.stderr
    );
    let left = outer.leftovers();
    assert!(left.is_empty(), "{left:#?}");
    inner.run("status").succeeds();
    same("the inner supervisor", inner.supervisor().pid, supervisor);
    same("the inner service", inner.pid("listener"), pid);
    let run = inner.down();
    assert!(run.took < STOP_LIMIT, "{:?}", run.took);
    let left = inner.leftovers();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn the_inner_stack_ends_without_the_outer_one() {
    let (mut outer, inner) = (stack(), stack());
    start_inside(&mut outer, &inner);
    let pids = ["listener", "starter"].map(|name| outer.pid(name));
    let run = inner.down();
    assert!(run.took < STOP_LIMIT, "{:?}", run.took);
    let left = inner.leftovers();
    assert!(left.is_empty(), "{left:#?}");
    same(
        "the outer one",
        ["listener", "starter"].map(|name| outer.pid(name)),
        pids,
    );
    outer.run("status").succeeds();
    outer.down();
}

/// A killed outer supervisor takes its own processes with it, but not the inner stack.
#[test]
fn a_killed_outer_supervisor_leaves_the_inner_stack_alone() {
    let (mut outer, inner) = (stack(), stack());
    start_inside(&mut outer, &inner);
    let pid = inner.pid("listener");
    let port = outer.port("listener.http");
    processes::kill(outer.supervisor().pid);
    eventually("the end of the outer service", SOON, || {
        answer(port).is_none().then_some(())
    });
    outer.run("down").succeeds();
    inner.run("status").succeeds();
    same("the inner service", inner.pid("listener"), pid);
    inner.down();
}
