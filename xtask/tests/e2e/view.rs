//! Output for a person: the view of the supervisor, a status that changes, the critical path of a
//! start.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Running, SOON, Sandbox, eventually, fake_program, same};

/// The key that leaves the view, as a terminal sends it.
const F10: &str = "\x1b[21~";

/// How long the view may take to exit before the keys are sent again.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

fn hello() -> Sandbox {
    let mut sandbox = Sandbox::empty();
    sandbox.service("hello", &json!({"process": {"command": fake_program()}}));
    sandbox
}

/// Leaves the view by its key and its question. It loses keys during its first drawing, and then
/// they are sent again.
fn leave(mut view: Running) {
    eventually("the end of the view", SOON, || {
        view.types(F10);
        view.wait_for_stdout("Detach from the remote project?");
        view.types("\r");
        view.ends_within(ANSWER_LIMIT).then_some(())
    });
    view.wait().succeeds();
}

#[test]
fn leaving_the_view_leaves_the_stack_running() {
    let sandbox = hello();
    let mut view = sandbox.on_terminal("up --tui", &[("PC_NO_SERVER", "1")]);
    view.wait_for_stdout("F10 leaves the view");
    view.wait_for_stdout("Process Compose");
    view.wait_for_stdout("hello");
    let pid = sandbox.pid("hello");
    leave(view);
    sandbox.run("status").succeeds();
    same("the process", sandbox.pid("hello"), pid);

    let mut view = sandbox.on_terminal("attach", &[]);
    view.wait_for_stdout("hello");
    leave(view);
    sandbox.run("status").succeeds();
    let home = sandbox.root().parent().unwrap().join("home");
    same("the home", std::fs::read_dir(home).unwrap().count(), 0);
}

#[test]
fn a_view_without_a_terminal_says_what_to_do_instead() {
    let sandbox = hello();
    let expected =
        "error: the view of the supervisor needs a terminal\nhint: cargo xtask logs -f\n";
    for command in ["attach", "up --tui"] {
        let run = sandbox.run(command).ends(2);
        same(command, run.stderr.as_str(), expected);
    }
    sandbox.nothing_was_started();
    let mut view = sandbox.on_terminal("attach", &[]);
    view.wait_for_stdout("hint: cargo xtask up");
    view.wait().ends(3);
}

/// docker compose: JSON that changed from an array to lines and broke scripts (#10958).
#[test]
fn a_watched_status_is_one_document_a_line() {
    let sandbox = hello();
    let mut watch = sandbox.start("status --watch --json");
    watch.wait_for_stdout("\n");
    sandbox.up();
    watch.wait_for_stdout(r#""healthy":true"#);
    sandbox.run("stop hello").succeeds();
    watch.wait_for_stdout(r#""running":true,"supervised":true,"healthy":false"#);
    sandbox.run("start hello").succeeds();
    sandbox.down();
    watch.wait_for_stdout("\"Stopped\"");
    watch.signal(Signal::INT);
    let run = watch.wait().succeeds();
    let documents: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    same("at first", &documents[0]["running"], &json!(false));
    for pair in documents.windows(2) {
        assert_ne!(pair[0], pair[1], "only changes");
    }
    for document in &documents {
        same("version", &document["schema_version"], &json!(1));
    }
}

#[test]
fn a_watched_status_on_a_terminal_is_drawn_anew() {
    let sandbox = hello();
    sandbox.up();
    let mut watch = sandbox.on_terminal("status --watch", &[]);
    watch.wait_for_stdout("healthy");
    sandbox.run("stop hello").succeeds();
    watch.wait_for_stdout("\x1b[H\x1b[2J\x1b[3JPROCESS");
    watch.wait_for_stdout("Stopped");
    // Ctrl-C.
    watch.types("\x03");
    watch.wait().succeeds();
}

#[test]
fn timings_show_what_the_start_waited_for() {
    let sandbox = Sandbox::core();
    let run = sandbox.run("up --timings").succeeds();
    let names: Vec<&str> = run
        .stdout
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    // Caddy and the controller start in parallel.
    same("the path", &names[..2], &["nats", "pocketbase"]);
    assert!(["caddy", "controller"].contains(&names[2]), "{names:?}");
    assert!(
        run.stdout.trim_end().ends_with("after pocketbase"),
        "{}",
        run.stdout
    );
    let again = sandbox.run("up --json --timings").succeeds().json();
    same("nothing was started", &again["critical_path"], &json!([]));
    sandbox.down();
    let report = sandbox.up();
    let path = report["critical_path"].as_array().unwrap();
    same("steps", path.len(), 3);
    same("from", &path[0]["waited_for"], &Value::Null);
    same("then", &path[2]["waited_for"], &json!("pocketbase"));
    let ready = path[2]["ready_ms"].as_i64().unwrap();
    let sum: i64 = path
        .iter()
        .map(|step| step["took_ms"].as_i64().unwrap())
        .sum();
    assert!(sum <= ready, "{path:?}");
}
