//! A main process that exits by itself: this is noticed at once, with its own exit code, whichever
//! process holds its output, and its descendants are stopped.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{entry, wait_for_entry};
use crate::harness::{SOON, Sandbox, eventually, fake_program, processes, same};

/// How long a process may outlive its main process.
const GONE_LIMIT: Duration = Duration::from_secs(2);

/// Returns a shell script with a restart policy.
fn script(text: &str, restart: &str) -> Value {
    json!({"process": {
        "command": "sh", "args": ["-c", text],
        "compose": {"availability": {"restart": restart}},
    }})
}

/// Returns a sleep that only one sandbox has.
fn sleep_of(sandbox: &mut Sandbox) -> String {
    format!("sleep 300.{}", sandbox.spare_port("only its number"))
}

fn count(line: &str) -> usize {
    let all = processes::all().into_iter();
    all.filter(|process| process.line == line).count()
}

/// A detached child holds the output of a process that died: process-compose alone considers the
/// dead one running until the child exits.
#[test]
fn a_dead_process_is_not_healthy_because_its_child_holds_its_output() {
    let mut sandbox = Sandbox::empty();
    let sleep = sleep_of(&mut sandbox);
    // It never gets healthy: `up` waits until it dies.
    let mut manifest = script(&format!("setsid {sleep} & sleep 1; exit 3"), "no");
    manifest["process"]["compose"]["readiness_probe"] =
        json!({"http_get": {"url": "http://127.0.0.1:${port.http}/"}});
    manifest["ports"] = json!({"http": {"port": 1, "protocol": "http"}});
    sandbox.service("leaky", &manifest);
    let run = sandbox.run("up --timeout 20").ends(13);
    assert!(run.stderr.contains("exit code 3"), "{}", run.stderr);
    assert!(run.took < Duration::from_secs(10), "{:?}", run.took);
    same("children", count(&sleep), 0);
    sandbox.nothing_is_left_within(GONE_LIMIT);
}

#[test]
fn a_process_that_dies_is_started_again_beside_nothing() {
    let mut sandbox = Sandbox::empty();
    let sleep = sleep_of(&mut sandbox);
    let begin = "echo begins >>journal; ps -eo args= | grep -cx \"$ONLY\" >>found;";
    let mut manifest = script(&format!("{begin} setsid $ONLY & sleep 1; exit 3"), "always");
    manifest["process"]["env"] = json!({"ONLY": sleep});
    sandbox.service("leaky", &manifest);
    sandbox.run("up").succeeds();
    wait_for_entry(&sandbox, "leaky", "started again", |entry| {
        entry["restarts"]
            .as_u64()
            .is_some_and(|restarts| restarts >= 1)
    });
    eventually("the second start", SOON, || {
        (sandbox.read("journal").lines().count() >= 2).then_some(())
    });
    let down = sandbox.down();
    assert!(down.took < Duration::from_secs(5), "{:?}", down.took);
    same("children", count(&sleep), 0);
    let found = sandbox.read("found");
    assert!(found.lines().all(|found| found == "0"), "{found}");
}

#[test]
fn the_exit_code_is_the_programs() {
    let mut sandbox = Sandbox::empty();
    let ends = [
        ("three", "exit 3", 3),
        ("zero", "exit 0", 0),
        ("killed", "kill -9 $$", 137),
        ("asked", "kill -15 $$", 143),
    ];
    // A stack is over when all its services have exited.
    let still = json!({"process": {"command": fake_program()}});
    sandbox.service("still", &still);
    for (name, text, _) in ends {
        sandbox.service(
            name,
            &script(
                &format!("while [ ! -e go ]; do sleep 0.01; done; {text}"),
                "no",
            ),
        );
    }
    sandbox.up();
    std::fs::write(sandbox.path("go"), "").unwrap();
    for (name, _, code) in ends {
        wait_for_entry(&sandbox, name, "ended with its code", |entry| {
            entry["status"] == json!("Completed") && entry["exit_code"] == json!(code)
        });
    }
}

/// `signal` only reaches the main process: its children may not know the signal.
#[test]
fn a_signal_reaches_the_main_process_alone() {
    let mut sandbox = Sandbox::empty();
    let sleep = sleep_of(&mut sandbox);
    let text = format!("trap 'echo came >>came' USR1; {sleep} & while :; do wait; done");
    sandbox.service("main", &script(&text, "no"));
    sandbox.up();
    let pid = sandbox.pid("main");
    let line = processes::find(pid).map(|process| process.line);
    assert!(
        line.as_ref().is_some_and(|line| line.starts_with("sh -c")),
        "{line:?}"
    );
    eventually("its child", SOON, || (count(&sleep) == 1).then_some(()));
    sandbox.run("signal main USR1").succeeds();
    eventually("the signal", SOON, || {
        sandbox.path("came").exists().then_some(())
    });
    same("its child", count(&sleep), 1);
    same("its pid", sandbox.pid("main"), pid);
    sandbox.down();
    same("its child", count(&sleep), 0);
}

/// The reported pid can be signalled by hand, and its exit has its own code.
#[test]
fn the_pid_that_is_shown_can_be_signalled_by_hand() {
    let mut sandbox = Sandbox::empty();
    let manifest = json!({"process": {
        "command": fake_program(),
        "compose": {"availability": {"restart": "no"}},
    }});
    sandbox.service("fake", &manifest);
    sandbox.service("other", &json!({"process": {"command": fake_program()}}));
    sandbox.up();
    let pid = sandbox.pid("fake");
    let program = processes::find(pid).map(|process| process.program);
    same("program", program.as_deref(), Some("xtask-fake"));
    processes::signal(pid, Signal::TERM);
    wait_for_entry(&sandbox, "fake", "ended by SIGTERM", |entry| {
        entry["exit_code"] == json!(143) && entry["pid"].is_null()
    });
    assert_eq!(entry(&sandbox, "other")["ready"], json!(true));
}
