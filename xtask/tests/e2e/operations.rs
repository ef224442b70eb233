//! Several concurrent commands on one stack, and commands that are interrupted.

use std::time::Duration;

use expect_test::expect;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Running, SOON, Sandbox, eventually, fake_program, processes, same};

/// How long a stopped stack may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(2);

/// Returns a service that never gets healthy.
fn never_healthy() -> Value {
    json!({
        "process": {
            "command": fake_program(), "args": ["--listen", "${port.http}", "--status", "503"],
            "compose": {"readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}}},
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
    })
}

/// Returns a service that is healthy at once and keeps a journal.
fn journal(name: &str, after: Option<&str>) -> Value {
    let args = ["--journal", "journal", name, "--listen", "${port.http}"];
    let mut manifest = json!({
        "process": {"command": fake_program(), "args": args, "compose": {
            "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
        }},
        "ports": {"http": {"port": 1, "protocol": "http"}},
    });
    if let Some(after) = after {
        let condition = json!({after: {"condition": "process_healthy"}});
        manifest["process"]["compose"]["depends_on"] = condition;
    }
    manifest
}

/// Starts an `up` that waits for a service that never gets healthy.
#[track_caller]
fn waiting_up(sandbox: &Sandbox) -> Running {
    let up = sandbox.start("up");
    let log = sandbox.path(".core-stack/logs/never.log");
    eventually("the service", SOON, || {
        std::fs::read_to_string(&log)
            .is_ok_and(|log| log.contains("listening"))
            .then_some(())
    });
    up
}

fn never() -> Sandbox {
    let mut sandbox = Sandbox::empty();
    sandbox.service("never", &never_healthy());
    sandbox
}

#[test]
fn two_ups_at_once_make_one_stack() {
    let sandbox = Sandbox::core();
    let ups = [sandbox.start("up --json"), sandbox.start("up --json")];
    let reports = ups.map(|up| up.wait().succeeds().json());
    let mut outcomes: Vec<_> = reports
        .iter()
        .map(|report| report["outcome"].as_str().unwrap())
        .collect();
    outcomes.sort_unstable();
    same("outcomes", outcomes, vec!["started", "unchanged"]);
    for name in ["nats", "pocketbase", "caddy"] {
        let [first, second] = reports
            .each_ref()
            .map(|report| &report["processes"][name]["pid"]);
        same(name, first, second);
    }
}

#[test]
pub(crate) fn a_command_that_does_not_want_to_wait_gives_up() {
    let sandbox = never();
    let up = waiting_up(&sandbox);
    for command in ["up --no-wait", "down --no-wait"] {
        let run = sandbox.run(command).ends(15);
        same("stdout", run.stdout.as_str(), "");
        let word = command.split(' ').next().unwrap();
        let expected = format!(
            "error: cannot begin `{word}`: `cargo xtask up` (pid N) is at work here\n\
             hint: run it again when that has ended, without `--no-wait` to wait for it"
        );
        same(command, sandbox.normal(&run.stderr), expected);
    }
    assert!(
        processes::find(up.pid()).is_some(),
        "`down --no-wait` ended the other command"
    );
    up.signal(Signal::INT);
    up.wait().ends(130);
}

#[test]
fn down_ends_an_up_that_waits_for_ever() {
    let sandbox = never();
    let up = waiting_up(&sandbox);
    let down = sandbox.run("down").succeeds();
    let up = up.wait().ends(13);
    sandbox.nothing_is_left_within(GONE_LIMIT);
    same("stdout", up.stdout.as_str(), "");
    expect!["error: gave up waiting: `cargo xtask down` was called"]
        .assert_eq(&sandbox.normal(&up.stderr));
    expect![[r"
        waiting for `cargo xtask up` (pid N) to end
        nothing was running"]]
    .assert_eq(&sandbox.normal(&down.stderr));
}

#[test]
fn an_interrupted_up_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let sandbox = never();
        let up = waiting_up(&sandbox);
        up.signal(signal);
        let run = up.wait().ends(code);
        sandbox.nothing_is_left_within(GONE_LIMIT);
        // That it is ending is said only if this takes long enough to wonder: see `answers`.
        let lines = run.stderr.lines();
        let end: Vec<&str> = lines
            .filter(|line| !line.starts_with("interrupted: "))
            .collect();
        let expected = [
            "what was started is stopped again; nothing is left running",
            "error: interrupted",
        ];
        same("stderr", end, expected.to_vec());
    }
}

#[test]
fn attached_up_shows_logs_and_stops_in_order() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("first", &journal("first", None));
    sandbox.service("second", &journal("second", Some("first")));
    // If both were asked to stop at once, the first would be faster.
    sandbox.edit("second", |manifest| {
        let args = manifest["process"]["args"].as_array_mut().unwrap();
        args.extend([json!("--slow-end"), json!("300")]);
    });
    let mut up = sandbox.start("up --attach");
    up.wait_for_stderr("stop it with");
    // A killed service is restarted, and this is reported.
    processes::kill(sandbox.pid("second"));
    eventually("the second start", SOON, || {
        let begins = sandbox.read("journal").matches("second begins").count();
        (begins == 2).then_some(())
    });
    // Log lines from its start are shown, too.
    for service in ["first", "second"] {
        let port = sandbox.port(&format!("{service}.http"));
        up.wait_for_stdout(&format!("listening on {port}"));
    }
    up.signal(Signal::INT);
    let run = up.wait().succeeds();
    sandbox.nothing_is_left_within(GONE_LIMIT);
    assert!(run.stderr.ends_with("stopping\n"), "{}", run.stderr);
    assert!(
        run.stdout.lines().any(|line| line.starts_with("first  | ")),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.lines().any(|line| line.starts_with("second | ")),
        "{}",
        run.stdout
    );
    let expected = "first begins\nsecond begins\nsecond begins\nsecond ends\nfirst ends\n";
    same("the order", sandbox.read("journal").as_str(), expected);
}

#[test]
fn attached_up_ends_when_nobody_reads_its_logs() {
    let mut sandbox = Sandbox::empty();
    let script = "while :; do echo tick; sleep 0.05; done";
    let chatty = json!({"process": {"command": "sh", "args": ["-c", script]}});
    sandbox.service("chatty", &chatty);
    let mut up = sandbox.start("up --attach");
    up.wait_for_stdout("tick");
    up.close_stdout();
    let run = up.wait().succeeds();
    assert!(run.stderr.ends_with("stopping\n"), "{}", run.stderr);
    sandbox.nothing_is_left_within(GONE_LIMIT);
}

#[test]
fn down_waits_for_a_service_that_takes_its_time() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("slow", &journal("slow", None));
    sandbox.edit("slow", |manifest| {
        let args = manifest["process"]["args"].as_array_mut().unwrap();
        // Longer than the supervisor takes for any other answer.
        args.extend([json!("--slow-end"), json!("7000")]);
    });
    sandbox.up();
    let run = sandbox.down();
    let expected = "stopped in N s; nothing is left running";
    same("stderr", sandbox.normal(&run.stderr).as_str(), expected);
    same(
        "the journal",
        sandbox.read("journal").as_str(),
        "slow begins\nslow ends\n",
    );
}

#[test]
fn a_service_that_refuses_to_end_is_killed_and_named() {
    let mut sandbox = Sandbox::empty();
    let stubborn = |seconds: u32| {
        json!({"process": {
            "command": fake_program(), "args": ["--ignore-term"],
            "compose": {"shutdown": {"timeout_seconds": seconds}},
        }})
    };
    // The supervisor waits longer than `down`.
    sandbox.service("stubborn", &stubborn(600));
    sandbox.up();
    let run = sandbox.run("down --timeout 1").succeeds();
    sandbox.nothing_is_left_within(GONE_LIMIT);
    expect![[r"
        `process-compose` (pid N) still ran: sent SIGTERM
        `process-compose` (pid N) still ran: sent SIGKILL
        `probe` (pid N) still ran: sent SIGKILL
        `xtask-fake` (pid N) still ran: sent SIGKILL
        stopped by signal in N s; nothing is left running"]]
    .assert_eq(&sandbox.normal(&run.stderr));

    // The supervisor kills it: before `down`'s own limit nothing is left to do.
    sandbox.service("stubborn", &stubborn(1));
    sandbox.up();
    let run = sandbox.run("down").succeeds();
    expect!["stopped in N s; nothing is left running"].assert_eq(&sandbox.normal(&run.stderr));
    assert!(
        run.took >= Duration::from_secs(1),
        "it had its second: {:?}",
        run.took
    );
}

#[test]
fn a_plan_is_what_a_reload_then_does() {
    let mut sandbox = Sandbox::empty();
    let manifest = json!({"process": {"command": fake_program()}});
    for name in ["changing", "going", "staying"] {
        sandbox.service(name, &manifest);
    }
    sandbox.run("reload").ends(3);
    let plan = sandbox.run("plan --json").succeeds().json();
    same("nothing runs", &plan["running"], &json!(false));
    same(
        "start",
        &plan["processes"]["going"]["action"],
        &json!("start"),
    );

    sandbox.up();
    let pids = ["changing", "staying"].map(|name| sandbox.pid(name));
    let plan = sandbox.run("plan --json").succeeds().json();
    same("nothing to do", &plan["changes"], &json!(false));
    let report = sandbox.run("reload --json").succeeds().json();
    same("nothing done", &report["outcome"], &json!("unchanged"));

    sandbox.edit("changing", |manifest| {
        manifest["process"]["env"] = json!({"NEW": "x"});
    });
    sandbox.remove_service("going");
    sandbox.service("coming", &manifest);
    let plan = sandbox.run("plan --json").succeeds().json();
    let expected = json!({
        "changing": {"action": "restart", "because": ["environment.NEW"]},
        "coming": {"action": "add"},
        "going": {"action": "remove"},
        "staying": {"action": "none"},
    });
    same("the plan", &plan["processes"], &expected);
    let report = sandbox.run("reload --json").succeeds().json();
    let expected = json!({"changing": "updated", "coming": "added", "going": "removed"});
    same("what was done", &report["changes"], &expected);
    same("the process that stays", sandbox.pid("staying"), pids[1]);
    assert_ne!(sandbox.pid("changing"), pids[0]);
    let run = sandbox.run("plan").succeeds();
    same("no data", run.stdout.as_str(), "");
}

#[test]
fn services_that_end_at_once_do_not_hold_up_down() {
    let mut sandbox = Sandbox::empty();
    for index in 0..10 {
        sandbox.service(
            &format!("s{index}"),
            &json!({"process": {"command": fake_program()}}),
        );
    }
    sandbox.up();
    let run = sandbox.down();
    // Each has 10 s, which the supervisor waits out when it misses an exit.
    assert!(run.took < Duration::from_secs(5), "{:?}", run.took);
}

#[test]
fn a_suspended_command_is_named_and_not_waited_for_without_end() {
    let sandbox = never();
    let up = waiting_up(&sandbox);
    up.signal(Signal::STOP);
    let pid = up.pid();
    let run = sandbox.run("down --no-wait").ends(15);
    let told = format!("kill -CONT {pid}");
    assert!(run.stderr.contains(&told), "{}", run.stderr);
    let run = sandbox.run("down").ends(15);
    assert!(run.stderr.contains("was suspended"), "{}", run.stderr);
    assert!(run.took < SOON, "{:?}", run.took);
    // After SIGCONT it releases the lock as usual.
    let mut down = sandbox.start("down");
    down.wait_for_stderr("was suspended");
    up.signal(Signal::CONT);
    down.wait().succeeds();
    up.wait();
    sandbox.nothing_is_left_within(GONE_LIMIT);
}
