//! `restart`, `stop`, `start` and `signal` on a running stack.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{SOON, Sandbox, eventually, fake_program, http, processes, same};

/// Returns a process that stops at once, and has no probe.
fn simple() -> Value {
    json!({"process": {"command": fake_program()}})
}

/// Returns a service that is healthy when it answers, and reads the file `mood` in the checkout at
/// its start: nothing (`hang`), or an exit with code 3 (`die`).
fn moody(after: Option<&str>) -> Value {
    let script = format!(
        "case $(cat mood) in die) echo oh no; exit 3;; hang) exec sleep 3600;; esac\n\
         exec '{}' --listen $${{port.http}}",
        fake_program()
    );
    let mut manifest = json!({
        "process": {"command": "sh", "args": ["-c", script.replace("$$", "$")], "compose": {
            "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
            "availability": {"restart": "no"},
        }},
        "ports": {"http": {"port": 1, "protocol": "http"}},
    });
    if let Some(after) = after {
        manifest["process"]["compose"]["depends_on"] =
            json!({after: {"condition": "process_healthy"}});
    }
    manifest
}

fn pids(sandbox: &Sandbox) -> [i32; 3] {
    ["nats", "pocketbase", "caddy"].map(|name| sandbox.pid(name))
}

#[test]
fn a_restart_waits_for_health_and_leaves_the_others_alone() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let before = pids(&sandbox);
    let report = sandbox.run("restart pocketbase --json").succeeds().json();
    same(
        "health",
        http::get(sandbox.port("pocketbase.http"), "/api/health").status,
        200,
    );
    same(
        "outcome",
        &report["processes"]["pocketbase"]["outcome"],
        &json!("restarted"),
    );
    same(
        "it alone",
        report["processes"].as_object().unwrap().len(),
        1,
    );
    let after = pids(&sandbox);
    same("nats", after[0], before[0]);
    assert_ne!(after[1], before[1]);
    same(
        "reported",
        &report["processes"]["pocketbase"]["pid"],
        &json!(after[1]),
    );
    same("caddy", after[2], before[2]);
    // Caddy reaches the new one.
    same(
        "bridge",
        http::get(sandbox.port("caddy.http"), "/api/health").status,
        200,
    );

    let run = sandbox
        .run("restart pocketbase --with-dependents")
        .succeeds();
    let expected = "restarted in N s: caddy, controller, pocketbase";
    same(
        "what was done",
        sandbox.normal(&run.stderr).as_str(),
        expected,
    );
    same("no data", run.stdout.as_str(), "");
    let last = pids(&sandbox);
    same("nats", last[0], before[0]);
    assert_ne!(last[2], after[2]);
    sandbox.run("status").succeeds();
}

#[test]
fn a_stopped_service_stays_stopped_until_it_is_started() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let before = pids(&sandbox);
    let server = sandbox.server("pocketbase");
    sandbox.run("stop pocketbase").succeeds();
    assert!(processes::find(server.pid).is_none(), "its server is gone");
    let status = sandbox.run("status --json").ends(4).json();
    let services = &status["services"];
    let process = &services["pocketbase"]["processes"]["pocketbase"];
    same("status", &process["status"], &json!("Stopped"));
    same("caddy keeps running", sandbox.pid("caddy"), before[2]);
    let run = sandbox.run("stop pocketbase").succeeds();
    same("again", run.stderr.as_str(), "pocketbase: not running\n");

    // Its dependencies are started with it.
    sandbox.run("stop nats").succeeds();
    let report = sandbox.run("start pocketbase --json").succeeds().json();
    for name in ["nats", "pocketbase"] {
        same(
            name,
            &report["processes"][name]["outcome"],
            &json!("started"),
        );
    }
    // The controller polls its record from time to time.
    sandbox.wait_healthy();
    let run = sandbox.run("start nats caddy").succeeds();
    same(
        "running",
        run.stderr.as_str(),
        "caddy, nats: running already\n",
    );

    sandbox.run("stop nats pocketbase caddy").succeeds();
    let report = sandbox.run("up --json").succeeds().json();
    same("outcome", &report["outcome"], &json!("changed"));
    same("changes", &report["changes"]["nats"], &json!("started"));
    sandbox.wait_healthy();
}

#[test]
fn a_stopped_service_that_ends_well_is_not_taken_for_work_done() {
    let mut sandbox = Sandbox::empty();
    let journal = json!({"process": {
        "command": fake_program(), "args": ["--journal", "journal", "tidy"],
    }});
    sandbox.service("tidy", &journal);
    sandbox.up();
    sandbox.run("stop tidy").succeeds();
    same(
        "the journal",
        sandbox.read("journal").as_str(),
        "tidy begins\ntidy ends\n",
    );
    let status = sandbox.run("status --json").ends(4).json();
    same("healthy", &status["healthy"], &json!(false));
    sandbox.up();
    sandbox.run("status").succeeds();
    same("it runs", sandbox.read("journal").lines().count(), 3);
    sandbox.run("stop tidy").succeeds();
    sandbox.run("restart tidy").succeeds();
    sandbox.run("status").succeeds();
}

#[test]
fn services_that_end_at_once_do_not_hold_up_stop_or_restart() {
    let mut sandbox = Sandbox::empty();
    let names: Vec<String> = (0..6).map(|index| format!("s{index}")).collect();
    for name in &names {
        sandbox.service(name, &simple());
    }
    sandbox.up();
    let all = names.join(" ");
    for command in ["restart", "stop", "start"] {
        let run = sandbox.run(&format!("{command} {all}")).succeeds();
        // Each has 10 s, which the supervisor waits out when it misses an exit.
        assert!(
            run.took < Duration::from_secs(5),
            "{command}: {:?}",
            run.took
        );
    }
    sandbox.run("status").succeeds();
}

/// process-compose: the same process several times after restarts (#347), an untracked copy that
/// survives `down` after a restart of a process that waits for a dependency (#530).
#[test]
fn restarts_at_once_run_each_process_once() {
    let mut sandbox = Sandbox::empty();
    fs::write(sandbox.path("mood"), "good").unwrap();
    sandbox.service("first", &moody(None));
    sandbox.service("second", &moody(Some("first")));
    sandbox.up();
    let runs = [
        sandbox.start("restart first"),
        sandbox.start("restart second"),
        sandbox.start("restart first --with-dependents"),
    ];
    for run in runs {
        run.wait().succeeds();
    }
    let supervisor = sandbox.supervisor();
    let runners = processes::children(supervisor.pid).into_iter();
    let runners = runners.filter(|child| child.line.contains("probe run "));
    let runners: Vec<i32> = runners.map(|runner| runner.pid).collect();
    same("runners", runners.len(), 2);
    let programs = runners.into_iter().flat_map(processes::children);
    let copies = programs.filter(|program| program.program == "xtask-fake");
    same("processes", copies.count(), 2);
    sandbox.run("status").succeeds();
}

/// docker compose and others: a wait that continues after its result, or gives no details.
#[test]
fn a_wait_ends_with_the_process_or_with_its_time_and_names_both() {
    let mut sandbox = Sandbox::empty();
    fs::write(sandbox.path("mood"), "good").unwrap();
    sandbox.service("moody", &moody(None));
    sandbox.service("other", &simple());
    sandbox.up();
    let other = sandbox.pid("other");

    fs::write(sandbox.path("mood"), "die").unwrap();
    let run = sandbox.run("restart moody").ends(13);
    let expected =
        "error: `moody` ended while it was starting, with exit code 3\n  | TIME INF oh no\n";
    let stderr = sandbox.normal(&run.stderr);
    assert!(stderr.starts_with(expected), "{stderr}");
    assert!(run.took < Duration::from_secs(10), "{:?}", run.took);

    fs::write(sandbox.path("mood"), "hang").unwrap();
    let run = sandbox.run("start moody --timeout 1").ends(14);
    assert!(
        run.stderr
            .contains("`moody` did not become healthy within 1 s"),
        "{}",
        run.stderr
    );
    assert!(
        run.took >= Duration::from_secs(1),
        "it had its second: {:?}",
        run.took
    );

    let run = sandbox.run("restart moody --timeout 1").ends(14);
    assert!(run.took < Duration::from_secs(20), "{:?}", run.took);
    same("the other one", sandbox.pid("other"), other);
    fs::write(sandbox.path("mood"), "good").unwrap();
    sandbox.run("restart moody").succeeds();
    sandbox.run("status").succeeds();
}

#[test]
fn signals_reach_the_process_alone() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let before = pids(&sandbox);
    let run = sandbox.run("signal nats SIGHUP --json").succeeds().json();
    same(
        "document",
        run,
        json!({"schema_version": 1, "signal": 1, "processes": ["nats"]}),
    );
    eventually("a reload", SOON, || {
        let logs = sandbox.run("logs nats --grep Reloaded.server").succeeds();
        (!logs.stdout.is_empty()).then_some(())
    });
    same("it keeps running", pids(&sandbox), before);

    let server = sandbox.server("pocketbase");
    sandbox.run("signal pocketbase KILL").succeeds();
    eventually("another process", SOON, || {
        let status = sandbox.status();
        let process = &status["services"]["pocketbase"]["processes"]["pocketbase"];
        let pid = process["pid"]
            .as_i64()
            .filter(|pid| *pid != i64::from(before[1]));
        pid.filter(|_| process["ready"] == json!(true))
    });
    sandbox.wait_healthy();
    assert!(
        processes::find(server.pid).is_none(),
        "the old server is gone"
    );

    sandbox.run("stop caddy").succeeds();
    let run = sandbox.run("signal caddy HUP").ends(4);
    let expected =
        "error: `caddy` does not run, so nothing was signalled\nhint: cargo xtask start caddy\n";
    same("stderr", run.stderr.as_str(), expected);
}

#[test]
fn without_a_stack_or_with_a_wrong_name_nothing_is_done() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("hello", &simple());
    let commands = [
        "restart hello",
        "stop hello",
        "start hello",
        "signal hello HUP",
    ];
    for command in commands {
        let run = sandbox.run(command).ends(3);
        let expected = "error: there is no running stack\nhint: cargo xtask up\n";
        same(command, run.stderr.as_str(), expected);
    }
    assert!(!sandbox.path(".core-stack").exists(), "nothing was made");
    sandbox.up();
    let pid = sandbox.pid("hello");
    for command in commands {
        let run = sandbox.run(&command.replace("hello", "hello helo")).code;
        same(command, run, 2);
    }
    same("it keeps running", sandbox.pid("hello"), pid);
}

#[test]
fn an_interrupted_restart_says_so_and_goes_no_further() {
    let mut sandbox = Sandbox::empty();
    fs::write(sandbox.path("mood"), "good").unwrap();
    sandbox.service("moody", &moody(None));
    sandbox.up();
    fs::write(sandbox.path("mood"), "hang").unwrap();
    let restart = sandbox.start("restart moody");
    eventually("a restart at work", SOON, || {
        let busy = sandbox.run("stop moody --no-wait").code == 15;
        (busy && sandbox.run("status").code == 4).then_some(())
    });
    restart.signal(Signal::INT);
    restart.wait().ends(130);
    // No process holds the lock any more.
    sandbox.run("stop moody --no-wait").succeeds();
}
