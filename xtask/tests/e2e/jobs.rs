//! Processes that exit: jobs, and those that exit repeatedly. Every report about them says whether
//! they failed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{SOON, Sandbox, eventually, same};

/// Several rounds of a service that runs for a second and is restarted after another.
const ROUNDS: Duration = Duration::from_secs(5);

fn script(script: &str, restart: &str) -> Value {
    json!({"process": {"command": "sh", "args": ["-c", script], "compose": {
        "availability": {"restart": restart},
    }}})
}

/// Returns the state of a process in the table of `status`.
fn shown(table: &str, name: &str) -> String {
    let line = table
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{table}")).to_owned()
}

#[test]
fn a_job_that_fails_fails_up() {
    let mut sandbox = Sandbox::empty();
    for restart in ["no", "on_failure"] {
        let failing = script("sleep 0.2; echo the table is missing; exit 3", restart);
        sandbox.service("job", &failing);
        let run = sandbox.run("up").ends(13);
        assert!(run.stderr.contains("`job` ended"), "{}", run.stderr);
        assert!(run.stderr.contains("exit code 3"), "{}", run.stderr);
        assert!(
            run.stderr.contains("the table is missing"),
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("healthy"), "{}", run.stderr);
        sandbox.remove_service("job");
    }
}

#[test]
fn status_tells_jobs_that_failed_from_those_that_are_done() {
    let mut sandbox = Sandbox::empty();
    let file = sandbox.path("go-on");
    let wait = format!(
        "until [ -e {} ]; do sleep 0.05; done; exit 3",
        file.display()
    );
    sandbox.service("late", &script(&wait, "no"));
    sandbox.service("job", &script("exit 0", "no"));
    sandbox.up();
    eventually("the end of the job", SOON, || {
        let table = sandbox.run("status").succeeds().stdout;
        shown(&table, "job").contains(" done ").then_some(())
    });
    let run = sandbox.run("up").succeeds();
    let told = |name: &str| {
        let line = run
            .stderr
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{}", run.stderr))
            .trim()
            .to_owned()
    };
    assert!(told("late ").ends_with("runs"), "{}", run.stderr);
    assert!(told("job ").ends_with("done"), "{}", run.stderr);

    std::fs::write(&file, "").unwrap();
    let table = eventually("the failure", SOON, || {
        let run = sandbox.run("status");
        (run.code == 4).then_some(run.stdout)
    });
    assert!(shown(&table, "late").contains("failed (exit 3)"), "{table}");
    let status = sandbox.run("status --json").ends(4).json();
    let late = &status["services"]["late"]["processes"]["late"];
    same("its exit code", &late["exit_code"], &json!(3));
    same(
        "the supervisor's word",
        &late["status"],
        &json!("Completed"),
    );
}

#[test]
fn a_service_that_ends_again_and_again_is_never_healthy() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("loop", &script("sleep 1; exit 7", "always"));
    sandbox.run("up").succeeds();
    eventually("its first restart", SOON, || {
        let status = sandbox.run("status --json").json();
        let process = &status["services"]["loop"]["processes"]["loop"];
        (process["restarts"].as_u64() > Some(0)).then_some(())
    });
    let end = Instant::now() + ROUNDS;
    let mut looks = 0;
    while Instant::now() < end {
        let table = sandbox.run("status").ends(4).stdout;
        assert!(
            shown(&table, "loop").contains("restarting (exit 7)"),
            "{table}"
        );
        looks += 1;
    }
    assert!(looks > 1);
}

#[test]
fn what_a_manifest_says_in_vain_is_told_once() {
    let mut sandbox = Sandbox::empty();
    let mut service = script("exec sleep 3600", "always");
    service["scalable"] = json!(true);
    sandbox.service("web", &service);
    let run = sandbox.run("plan").succeeds();
    same("plan", run.stderr.matches("`scalable` of `web`").count(), 1);
    let plan = sandbox.run("plan --json").succeeds().json();
    same(
        "plan --json",
        &plan["without_effect"],
        &json!(["`scalable` of `web`"]),
    );
    let doctor = sandbox.run("doctor --offline").stdout;
    same("doctor", doctor.matches("`scalable` of `web`").count(), 1);
}
