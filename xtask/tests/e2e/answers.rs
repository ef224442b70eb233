//! Output of commands: about a mistyped name, after Ctrl-C, about stopped services.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{SOON, Sandbox, eventually, fake_program, processes, same};

/// Columns of a usual terminal.
const COLUMNS: usize = 80;

/// Returns a sandbox with two services that listen.
fn two() -> Sandbox {
    let mut sandbox = Sandbox::empty();
    for name in ["one", "two"] {
        let manifest = json!({
            "process": {
                "command": fake_program(), "args": ["--listen", "${port.http}"],
                "compose": {"readiness_probe": {"tcp": {"port": "${port.http}"}}},
            },
            "ports": {"http": {"port": 29_000, "protocol": "http"}},
        });
        sandbox.service(name, &manifest);
    }
    sandbox
}

/// Returns the actions of `plan` by process.
#[track_caller]
fn plan(sandbox: &Sandbox) -> Vec<(String, Value, Value)> {
    let plan = sandbox.run("plan --json").succeeds().json();
    let steps = plan["processes"].as_object().unwrap().iter();
    let steps = steps.filter(|(_, step)| step["action"] != "none");
    steps
        .map(|(name, step)| {
            (
                name.clone(),
                step["action"].clone(),
                step["because"].clone(),
            )
        })
        .collect()
}

#[test]
fn a_mistyped_instance_is_named_with_the_nearest() {
    let mut sandbox = two();
    sandbox.range_of_ports();
    sandbox.run("up --instance staging").succeeds();
    for command in ["status", "logs"] {
        let run = sandbox
            .run(&format!("{command} --instance stagign"))
            .ends(3);
        let hint = format!("hint: did you mean `cargo xtask {command} --instance staging`?");
        assert!(run.stderr.trim_end().ends_with(&hint), "{}", run.stderr);
    }
    let status = sandbox.run("status --json --instance stagign").ends(3);
    same("JSON", &status.json()["running"], &json!(false));
    let down = sandbox.run("down --instance stagign").succeeds().stderr;
    assert!(
        down.contains("`cargo xtask down --instance staging`"),
        "{down}"
    );
    assert!(down.ends_with("nothing was running\n"), "{down}");
    let far = sandbox.run("logs --instance zzz").ends(3).stderr;
    assert!(far.contains("instances here: staging"), "{far}");
    assert!(!sandbox.path(".core-stack/instances/stagign").exists());
    // A hint that is created far from any instance names it, too.
    let hint = sandbox.run("restart one --instance other").ends(3).stderr;
    assert!(
        hint.ends_with("hint: cargo xtask up --instance other\n"),
        "{hint}"
    );
    sandbox.run("down --instance staging").succeeds();
}

#[test]
fn an_instance_that_was_cleaned_is_gone() {
    let mut sandbox = two();
    sandbox.range_of_ports();
    sandbox.run("up one --instance old").succeeds();
    sandbox.run("down --instance old").succeeds();
    let names = || {
        ["ps --json", "ps --all --json"].map(|line| {
            let shown = sandbox.run(line).succeeds().json();
            let all = shown["instances"].as_array().unwrap().iter();
            all.map(|one| one["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
    };
    same(
        "stopped",
        names(),
        [vec!["old".to_owned()], vec!["old".to_owned()]],
    );
    sandbox
        .run("clean --state --data --yes --instance old")
        .succeeds();
    same("gone", names(), [Vec::new(), Vec::new()]);
}

#[test]
fn what_was_stopped_is_planned_and_said_to_be_started() {
    let sandbox = two();
    sandbox.up();
    let status = sandbox.run("status").succeeds().stdout;
    assert!(
        status.contains(&format!("http:{}", sandbox.port("two.http"))),
        "{status}"
    );
    let widest = status.lines().map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= COLUMNS, "{status}");
    same("plan", plan(&sandbox), Vec::new());
    for command in ["up", "reload"] {
        sandbox.run("stop two").succeeds();
        let expected = vec![("two".to_owned(), json!("start"), json!(["stopped"]))];
        same("plan", plan(&sandbox), expected);
        let report = sandbox.run(&format!("{command} --json")).succeeds().json();
        same("changes", &report["changes"], &json!({"two": "started"}));
        same("plan", plan(&sandbox), Vec::new());
    }
}

/// Scales a process like the view of the supervisor.
#[track_caller]
fn scale(sandbox: &Sandbox, process: &str, count: u32) {
    let sockets = sandbox.root().parent().unwrap().join("run/core-stack");
    let mut sockets = fs::read_dir(sockets)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let socket = sockets.find(|path| path.extension().is_some_and(|it| it == "sock"));
    let mut stream = UnixStream::connect(socket.unwrap()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let path = format!("/process/scale/{process}/{count}");
    let request = format!("PATCH {path} HTTP/1.1\r\nHost: stack\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn what_was_scaled_is_planned_and_said_to_be_changed() {
    let mut sandbox = Sandbox::empty();
    for name in ["one", "two"] {
        let manifest = json!({"process": {
            "command": fake_program(), "args": ["--journal", "journal", name],
        }});
        sandbox.service(name, &manifest);
    }
    sandbox.up();
    let two = sandbox.pid("two");
    scale(&sandbox, "one", 2);
    let planned = plan(&sandbox);
    let because = |name: &str| {
        planned
            .iter()
            .find(|step| step.0 == name)
            .map(|it| it.2.clone())
    };
    for name in ["one", "one-0", "one-1"] {
        same(name, because(name), Some(json!(["scaled"])));
    }
    same("nothing else", planned.len(), 3);
    let report = sandbox.run("up --json").succeeds().json();
    same("one", &report["changes"]["one"], &json!("added"));
    same("one-1", &report["changes"]["one-1"], &json!("removed"));
    same("two", sandbox.pid("two"), two);
    same("plan", plan(&sandbox), Vec::new());
    sandbox.down();
}

#[test]
fn an_interrupted_up_answers_at_once() {
    let mut sandbox = two();
    sandbox.edit("one", |manifest| {
        // It is never healthy, and stops slowly.
        manifest["process"]["args"] = json!(["--journal", "journal", "one", "--slow-end", "3000"]);
    });
    let mut up = sandbox.start("up");
    eventually("its start", SOON, || {
        sandbox.path("journal").exists().then_some(())
    });
    up.signal(Signal::INT);
    up.wait_for_stderr("interrupted: ending in order");
    // It was printed while that still ran.
    assert!(!sandbox.read("journal").contains("one ends"));
    let run = up.wait().ends(130);
    assert!(
        run.stderr.contains("nothing is left running"),
        "{}",
        run.stderr
    );
    sandbox.nothing_is_left_within(SOON);
}

#[test]
fn an_interrupted_change_of_the_topology_says_what_stays() {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(15);
    sandbox.up();
    let controller = sandbox.pid("controller");
    let record = || sandbox.run("topology show --json").succeeds().json()["record"].clone();
    let before = record()["generation"].clone();
    processes::signal(controller, Signal::STOP);
    let set = sandbox.start("topology set nats --hub-nodes 3");
    eventually("the change of the record", SOON, || {
        (record()["generation"] != before).then_some(())
    });
    set.signal(Signal::INT);
    let run = set.wait().ends(130);
    processes::signal(controller, Signal::CONT);
    assert!(run.stderr.contains("stays asked for"), "{}", run.stderr);
    assert!(
        run.stderr.contains("`cargo xtask topology show`"),
        "{}",
        run.stderr
    );
    eventually("what was asked for", SOON, || {
        (record()["state"] == "applied" && sandbox.path(".data/nats/topology.json").exists())
            .then_some(())
    });
    // A later command that waits reports what it starts.
    sandbox.run("stop caddy").succeeds();
    let set = "topology set nats --single-node --json";
    let document = sandbox.run(set).succeeds().json();
    same("started", &document["started"], &json!(["caddy"]));
}
