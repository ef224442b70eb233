//! Settings that change while a process runs: its clients notice nothing.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use engine::plan::stack::port_variable;
use serde_json::{Value, json};

use crate::harness::{Sandbox, http, same, stranger};

/// Returns the process ids of Caddy: that of the wrapper and that of the server.
fn caddy(sandbox: &Sandbox) -> (i32, i32) {
    (sandbox.pid("caddy"), sandbox.server("caddy").pid)
}

/// Moves PocketBase to another port, by `.env`.
fn move_pocketbase(sandbox: &mut Sandbox) {
    let port = sandbox.spare_port("pocketbase.new");
    let variable = port_variable("pocketbase", "http");
    sandbox.dotenv(&variable, &port.to_string());
}

/// Returns the content of Caddy's settings file.
fn settings(sandbox: &Sandbox) -> Value {
    let text = sandbox.read(".core-stack/caddy/settings.json");
    serde_json::from_str::<Value>(&text).unwrap()["env"].clone()
}

#[test]
fn pocketbase_moves_behind_caddy_and_no_request_fails() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    let (before, pocketbase) = (caddy(&sandbox), sandbox.pid("pocketbase"));
    move_pocketbase(&mut sandbox);
    let plan = sandbox.run("plan --json").succeeds().json();
    let because = [
        "environment.CADDY_NATS_WS_PAGES",
        "environment.CADDY_POCKETBASE",
    ];
    let step = json!({"action": "reload", "because": because});
    same("plan of caddy", &plan["processes"]["caddy"], &step);
    let step = &plan["processes"]["pocketbase"]["action"];
    same("plan of pocketbase", step, &json!("restart"));

    let port = sandbox.port("caddy.http");
    let (over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                same("status", http::get(port, "/api/health").status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        let report = sandbox.run("reload --json").succeeds().json();
        over.store(true, Ordering::Relaxed);
        report
    });
    assert!(answered.load(Ordering::Relaxed) > 1);
    let changes = json!({"caddy": "reloaded", "controller": "updated", "pocketbase": "updated"});
    same("changes", &report["changes"], &changes);
    same("process ids of caddy", caddy(&sandbox), before);
    assert_ne!(sandbox.pid("pocketbase"), pocketbase);
    same("health", http::get(port, "/api/health").status, 200);
    same("again", &sandbox.up()["outcome"], &json!("unchanged"));
}

#[test]
fn the_settings_are_in_no_entry_and_still_shown() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    let before = caddy(&sandbox);
    assert!(
        !sandbox
            .read(".core-stack/process-compose.yaml")
            .contains("CADDY_POCKETBASE")
    );
    let address = format!("127.0.0.1:{}", sandbox.port("pocketbase.http"));
    same(
        "file",
        &settings(&sandbox)["CADDY_POCKETBASE"],
        &json!(address),
    );
    let spec = sandbox.run("caddy spec").succeeds().json();
    let shown = &spec["process"]["env"]["CADDY_POCKETBASE"];
    same("spec", shown, &json!(address));
    let command = sandbox.run("caddy command --env").succeeds().stdout;
    assert!(command.contains(&format!("CADDY_POCKETBASE={address}")));

    sandbox.dotenv("NATS_USER", "somebody");
    sandbox.dotenv("NATS_PASSWORD", "a-long-password");
    let report = sandbox.run("reload --json").succeeds().json();
    let changes = json!({"caddy": "reloaded", "nats": "updated"});
    same("changes", &report["changes"], &changes);
    same("process ids of caddy", caddy(&sandbox), before);
    let user = &settings(&sandbox)["CADDY_NATS_WS_CREDENTIALS"];
    same("file", user, &json!("somebody"));
    // It cannot get another listener while it runs.
    let port = sandbox.spare_port("caddy.new");
    sandbox.dotenv(&port_variable("caddy", "http"), &port.to_string());
    let plan = sandbox.run("plan --json").succeeds().json();
    let step = &plan["processes"]["caddy"];
    same("plan", &step["action"], &json!("restart"));
    let because = step["because"].as_array().unwrap();
    assert!(because.contains(&json!("environment.CADDY_PORT")), "{step}");
}

#[test]
fn settings_that_are_not_taken_leave_everything_as_it_was() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("CADDY_HOST", "0.0.0.0");
    sandbox.up();
    let (before, pocketbase) = (caddy(&sandbox), sandbox.pid("pocketbase"));
    let kept = settings(&sandbox);
    // A directory is in the place of its next configuration.
    let obstacle = sandbox.path(".core-stack/caddy/caddy.new.json");
    fs::create_dir_all(obstacle.join("in-the-way")).unwrap();
    move_pocketbase(&mut sandbox);
    // With credentials, the websocket of NATS is a route of its configuration.
    sandbox.dotenv("NATS_USER", "somebody");
    sandbox.dotenv("NATS_PASSWORD", "a-long-password");
    let failed = sandbox.run("reload").ends(16);
    let message = "`caddy` did not take the change";
    assert!(failed.stderr.contains(message), "{}", failed.stderr);
    same("file", settings(&sandbox), kept);
    same("process ids of caddy", caddy(&sandbox), before);
    same(
        "process id of pocketbase",
        sandbox.pid("pocketbase"),
        pocketbase,
    );
    let port = sandbox.port("caddy.http");
    same("health", http::get(port, "/api/health").status, 200);

    fs::remove_dir_all(&obstacle).unwrap();
    let report = sandbox.run("reload --json").succeeds().json();
    let changes = json!({"caddy": "reloaded", "controller": "updated", "nats": "updated",
        "pocketbase": "updated"});
    same("changes", &report["changes"], &changes);
    same("process ids of caddy", caddy(&sandbox), before);
    same("health", http::get(port, "/api/health").status, 200);
}

#[test]
fn a_change_that_fails_elsewhere_is_taken_back_here() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    let before = caddy(&sandbox);
    let kept = settings(&sandbox);
    // A directory is in the place of NATS's configuration at its next start.
    let obstacle = sandbox.path(".core-stack/nats/nats.conf");
    fs::remove_file(&obstacle).unwrap();
    fs::create_dir_all(obstacle.join("in-the-way")).unwrap();
    sandbox.dotenv("NATS_USER", "somebody");
    sandbox.dotenv("NATS_PASSWORD", "a-long-password");
    let failed = sandbox.run("reload").ends(16);
    assert!(failed.stderr.contains("`nats`"), "{}", failed.stderr);
    same("file", settings(&sandbox), kept);
    same("process ids of caddy", caddy(&sandbox), before);
    let port = sandbox.port("caddy.http");
    same("health", http::get(port, "/api/health").status, 200);
}

#[test]
fn a_port_of_somebody_else_is_refused_and_everything_runs_on() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    let before = ["nats", "pocketbase", "caddy"].map(|name| sandbox.pid(name));
    let port = sandbox.spare_port("pocketbase.new");
    let stranger = stranger(port);
    sandbox.dotenv(&port_variable("pocketbase", "http"), &port.to_string());
    let refused = sandbox.run("reload").ends(11);
    let told = format!("is taken by `xtask-fake` (pid {})", stranger.pid());
    assert!(refused.stderr.contains(&told), "{}", refused.stderr);
    let after = ["nats", "pocketbase", "caddy"].map(|name| sandbox.pid(name));
    same("process ids", after, before);
    drop(stranger);
    sandbox.run("reload").succeeds();
}
