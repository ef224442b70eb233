//! An `up` that is interrupted, or loses its terminal or its reader: it leaves nothing.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::Stack;
use crate::harness::{Running, SOON, eventually, fake_program, processes, same};

/// How long a stopped stack may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(2);

/// Returns programs that are healthy at once, and one that waits for the file `go`.
fn waiting(test: &str) -> Option<Stack> {
    let mut stack = Stack::of(test, &["daemon", "shell-script"])?;
    let script = format!(
        "while [ ! -e go ]; do sleep 0.01; done; exec '{}' --listen \"$PORT\"",
        fake_program()
    );
    let manifest = json!({
        "process": {
            "command": "sh", "args": ["-c", script], "env": {"PORT": "${port.http}"},
            "compose": {
                "depends_on": {
                    "daemon": {"condition": "process_healthy"},
                    "shell-script": {"condition": "process_healthy"},
                },
                "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
            },
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
    });
    stack.sandbox.service("waits", &manifest);
    Some(stack)
}

/// Waits until everything else runs.
#[track_caller]
fn wait_until_it_waits(stack: &Stack) {
    let log = stack.sandbox.path(".core-stack/logs/process-compose.log");
    eventually("the last service", SOON, || {
        let begun = std::fs::read_to_string(&log).is_ok_and(|log| log.contains("waits"));
        let rest = ["daemon", "shell-script"];
        let rest = rest.iter().all(|name| stack.answer(name).is_some());
        (begun && rest).then_some(())
    });
}

#[test]
fn an_up_that_is_signalled_leaves_nothing() {
    let signals = [
        (Signal::INT, 130),
        (Signal::TERM, 143),
        (Signal::HUP, 129),
        (Signal::QUIT, 131),
    ];
    let Some(stack) = waiting("stubborn::signals::an_up_that_is_signalled") else {
        return;
    };
    for (signal, code) in signals {
        // Restores SIGHUP: under `nohup` the tests would ignore a terminal that hangs up.
        let up = stack.shell("exec env --default-signal \"$XTASK\" up");
        wait_until_it_waits(&stack);
        up.signal(signal);
        let run = up.wait();
        assert_eq!(run.code, code, "{signal:?}: {}", run.stderr);
        stack.nothing_lives_within(GONE_LIMIT);
    }
}

/// `nohup cargo xtask up`: closing the terminal stops nothing.
#[test]
fn an_up_that_ignores_sighup_goes_on() {
    let Some(stack) = waiting("stubborn::signals::an_up_that_ignores_sighup") else {
        return;
    };
    let up = stack.shell("trap '' HUP; exec \"$XTASK\" up");
    wait_until_it_waits(&stack);
    up.signal(Signal::HUP);
    std::fs::write(stack.sandbox.path("go"), "").unwrap();
    up.wait().succeeds();
    same("status", stack.sandbox.run("status").code, 0);
    stack.down();
}

#[test]
fn an_up_whose_terminal_is_closed_leaves_nothing() {
    let Some(stack) = waiting("stubborn::signals::an_up_whose_terminal_is_closed") else {
        return;
    };
    let terminal = stack.sandbox.on_terminal("up", &[]);
    wait_until_it_waits(&stack);
    processes::kill(terminal.pid());
    terminal.wait().killed();
    stack.nothing_lives_within(SOON);
}

#[test]
fn an_attached_up_that_nobody_reads_leaves_nothing() {
    let Some(mut stack) = Stack::of("stubborn::signals::nobody_reads", &["daemon", "python"])
    else {
        return;
    };
    let ticks = "while :; do echo tick; sleep 0.05; done";
    let chatty = json!({"process": {"command": "sh", "args": ["-c", ticks]}});
    stack.sandbox.service("chatty", &chatty);
    let mut up = stack.sandbox.start("up --attach");
    up.wait_for_stdout("tick");
    up.close_stdout();
    up.wait().succeeds();
    stack.nothing_lives_within(Duration::ZERO);
}

#[test]
fn an_up_that_is_killed_leaves_nothing_that_the_next_command_does_not_end() {
    let Some(stack) = waiting("stubborn::signals::an_up_that_is_killed") else {
        return;
    };
    let up = stack.sandbox.start("up");
    wait_until_it_waits(&stack);
    processes::kill(up.pid());
    up.wait().killed();
    stack.sandbox.run("down").succeeds();
    stack.nothing_is_left();
}

#[test]
fn an_up_that_fails_leaves_nothing() {
    let Some(mut stack) = Stack::of(
        "stubborn::signals::an_up_that_fails",
        &["daemon", "workers", "python"],
    ) else {
        return;
    };
    let healthy = ["daemon", "workers", "python"].map(|name| {
        let condition = json!({"condition": "process_healthy"});
        (name.to_owned(), condition)
    });
    let healthy: serde_json::Map<_, _> = healthy.into_iter().collect();
    let manifest = json!({"process": {
        "command": fake_program(), "args": ["--exit", "3"],
        "compose": {"depends_on": healthy, "availability": {"restart": "no"}},
    }});
    stack.sandbox.service("fails", &manifest);
    stack.sandbox.run("up").ends(13);
    stack.nothing_is_left();
}

impl Stack {
    /// Starts a script in the sandbox; `$XTASK` is the command.
    #[track_caller]
    fn shell(&self, script: &str) -> Running {
        let xtask = env!("CARGO_BIN_EXE_xtask").to_owned();
        let path = self.sandbox.path("script.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).unwrap();
        self.sandbox.start_program(&path, &[("XTASK", xtask)])
    }
}
