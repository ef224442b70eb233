//! Broken manifests: each with exit code 10, the full message, and nothing started.

use serde_json::json;

use crate::harness::{Sandbox, expected, fake_program, same};

/// Runs `up`, which must refuse its input with this text, without having started anything.
#[track_caller]
fn refused(sandbox: &Sandbox, name: &str) {
    let run = sandbox.run("up").ends(10);
    same("stdout", run.stdout.as_str(), "");
    expected(name, &sandbox.normal(&run.stderr));
    sandbox.nothing_was_started();
    // The command in the hint reports the same.
    let check = sandbox.run("render --check").ends(10);
    same("render --check", check.stderr, run.stderr);
}

/// Checks one service `mine` with this text as its manifest.
fn refused_text(text: &str, name: &str) {
    let mut sandbox = Sandbox::empty();
    sandbox.dotenv("UNUSED", "x");
    sandbox.service_text("mine", text);
    refused(&sandbox, name);
}

#[test]
pub(crate) fn unknown_key() {
    refused_text(
        "{\n  \"process\": {\"command\": \"x\", \"compose\": {\n    \"redyness_probe\": {}}}\n}",
        "bad-manifest/unknown-key",
    );
}

#[test]
fn liveness_probe() {
    refused_text(
        r#"{"process": {"command": "x", "compose": {"liveness_probe": {}}}}"#,
        "bad-manifest/liveness-probe",
    );
}

#[test]
fn the_source_of_the_original() {
    refused_text(
        r#"{"binaries": [{"name": "x", "source": "go-build", "path": "./cmd/x"}],
            "process": {"command": "x"}}"#,
        "bad-manifest/go-build",
    );
}

#[test]
fn wrong_type() {
    refused_text(
        "{\"process\": {\"command\": [\"x\"]},\n \"ports\": {\"http\": {\"port\": \"80\"}}}",
        "bad-manifest/wrong-type",
    );
}

#[test]
fn duplicate_key() {
    refused_text(
        "{\"process\": {\"command\": \"x\"},\n \"process\": {\"command\": \"y\"}}",
        "bad-manifest/duplicate-key",
    );
}

#[test]
fn missing_key() {
    refused_text("{}", "bad-manifest/missing-key");
}

#[test]
fn not_json() {
    refused_text(
        "{\n  \"process\": {\"command\": \"x\"\n}\n",
        "bad-manifest/not-json",
    );
    refused_text("", "bad-manifest/empty-file");
}

#[test]
fn unknown_placeholder() {
    refused_text(
        r#"{"process": {"command": "x ${home}", "args": [
            "${dep.x}", "${port.nothing}", "${port.other.http}", "${env.X:+y}"]}}"#,
        "bad-manifest/unknown-placeholder",
    );
}

#[test]
fn missing_variable() {
    refused_text(
        "{\"process\": {\"command\": \"x\", \"env\": {\n  \"KEY\": \"${env.MY_KEY}\"}}}",
        "bad-manifest/missing-variable",
    );
}

#[test]
fn shell_operator_and_open_quote() {
    refused_text(
        r#"{"process": {"command": "x | y"}}"#,
        "bad-manifest/shell-operator",
    );
    refused_text(
        r#"{"process": {"command": "x 'y"}}"#,
        "bad-manifest/open-quote",
    );
}

#[test]
fn port_out_of_range_and_used_twice() {
    refused_text(
        r#"{"process": {"command": "x"}, "ports": {
            "a": {"port": 0},
            "b": {"port": 65536},
            "c": {"port": -1}}}"#,
        "bad-manifest/port-out-of-range",
    );
    refused_text(
        r#"{"process": {"command": "x"}, "ports": {
            "a": {"port": 9000},
            "b": {"port": 9000}}}"#,
        "bad-manifest/port-used-twice",
    );
}

#[test]
fn a_port_of_another_service() {
    let mut sandbox = Sandbox::core();
    let number = sandbox.port("nats.client");
    let text = format!(
        "{{\"process\": {{\"command\": \"x\"}}, \"ports\": {{\"mine\": {{\"port\": {number}}}}}}}"
    );
    sandbox.service_text("mine", &text);
    refused(&sandbox, "bad-manifest/port-of-another-service");
}

#[test]
fn bad_names() {
    let mut sandbox = Sandbox::empty();
    let manifest = json!({"process": {"command": fake_program()}}).to_string();
    sandbox.dotenv("UNUSED", "x");
    sandbox.service_text("My_Service", &manifest);
    let named = json!({
        "binaries": [{"name": "Up Per", "source": "fetch", "version": "1"}],
        "process": {"command": "x", "env": {"A-B": ""}, "secrets": ["NONE"]},
        "ports": {"-x": {"port": 9000}},
    });
    sandbox.service_text("fine", &named.to_string());
    refused(&sandbox, "bad-manifest/names-in-a-manifest");
    sandbox.remove_service("fine");
    refused(&sandbox, "bad-manifest/name-of-a-folder");
    sandbox.remove_service("My_Service");
    sandbox.service_text("instances", &manifest);
    refused(&sandbox, "bad-manifest/name-of-a-folder-of-ours");
}

#[test]
fn dependencies_that_cannot_be() {
    let mut sandbox = Sandbox::empty();
    sandbox.dotenv("UNUSED", "x");
    let after = |other: &str, condition: &str| {
        let after = json!({"depends_on": {other: {"condition": condition}}});
        json!({"process": {"command": fake_program(), "compose": after}}).to_string()
    };
    sandbox.service_text("a", &after("b", "process_started"));
    sandbox.service_text("b", &after("c", "process_started"));
    sandbox.service_text("c", &after("a", "process_started"));
    refused(&sandbox, "bad-manifest/cycle");
    sandbox.service_text("c", &after("cc", "process_started"));
    refused(&sandbox, "bad-manifest/unknown-dependency");
    sandbox.service_text(
        "c",
        &json!({"process": {"command": fake_program()}}).to_string(),
    );
    sandbox.service_text("b", &after("c", "process_healthy"));
    refused(&sandbox, "bad-manifest/health-without-probe");
}

#[test]
fn everything_is_told_at_once() {
    let mut sandbox = Sandbox::empty();
    sandbox.dotenv("UNUSED", "x");
    sandbox.service_text(
        "one",
        r#"{"process": {"command": "${nope}", "env": {"A": "${env.MISSING}"}}}"#,
    );
    sandbox.service_text(
        "two",
        r#"{"process": {"command": "${dep.none}", "compose": {
            "depends_on": {"three": {"condition": "process_started"}}}}}"#,
    );
    refused(&sandbox, "bad-manifest/everything-at-once");
}

#[test]
fn a_broken_manifest_does_not_touch_a_running_stack() {
    let mut sandbox = Sandbox::core();
    let before = sandbox.up();
    let file = sandbox.read(".core-stack/process-compose.yaml");
    sandbox.service_text("mine", r#"{"process": {"command": "${nope}"}}"#);
    sandbox.run("up").ends(10);
    same(
        "the file",
        sandbox.read(".core-stack/process-compose.yaml"),
        file,
    );
    sandbox.remove_service("mine");
    let after = sandbox.up();
    same("outcome", &after["outcome"], &json!("unchanged"));
    for name in ["nats", "pocketbase", "caddy"] {
        same(
            name,
            &after["processes"][name]["pid"],
            &before["processes"][name]["pid"],
        );
    }
}

#[test]
fn no_service_at_all() {
    let sandbox = Sandbox::empty();
    refused(&sandbox, "bad-manifest/no-service");
}

#[test]
fn what_editors_on_windows_leave() {
    let mut sandbox = Sandbox::empty();
    let text = "\u{feff}{\r\n  \"process\": {\"command\": \"services/one/run.sh a\"}\r\n}\r\n";
    sandbox.service_text("one", text);
    sandbox.run("render --check").succeeds();
    // A script is not: to the kernel, the carriage return is part of the interpreter's name.
    let script = sandbox.path("services/one/run.sh");
    let write = |text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("#!/bin/sh\r\nexec sleep 1000\r\n");
    for command in ["services/one/run.sh a", "sh services/one/run.sh"] {
        sandbox.service("one", &serde_json::json!({"process": {"command": command}}));
        let run = sandbox.run("up").ends(10);
        assert!(
            run.stderr
                .contains("`services/one/run.sh`, which `one` runs"),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains("\nhint: sed "), "{}", run.stderr);
    }
    write("#!/bin/sh\nexec sleep 1000\n");
    sandbox.up();
}

#[test]
fn a_manifest_that_is_a_pipe_holds_nobody_up() {
    let mut sandbox = Sandbox::empty();
    sandbox.own_service("one");
    sandbox.pipe("services/one/service.json");
    let run = sandbox.run("render --check").ends(10);
    assert!(
        run.stderr.contains("services/one/service.json:1:"),
        "{}",
        run.stderr
    );
    sandbox.service("two", &serde_json::json!({"process": {"command": "true"}}));
    sandbox.run("status").ends(3);
}

#[test]
fn a_name_without_end_is_not_repeated_without_end() {
    let long = "a".repeat(100_000);
    let many: Vec<String> = (0..2000)
        .map(|number| format!("\"k{number}\": 1"))
        .collect();
    for text in [
        format!("{{\"process\": {{\"command\": \"x\", \"{long}\": 1}}}}"),
        format!("{{\"process\": {{\"command\": \"${{env.{long}}}\"}}}}"),
        format!(
            "{{\"process\": {{\"command\": \"x\", {}}}}}",
            many.join(", ")
        ),
    ] {
        let mut sandbox = Sandbox::empty();
        sandbox.service_text("mine", &text);
        for command in ["up", "plan", "render --check", "doctor"] {
            let run = sandbox.run(command).ends(10);
            let length = run.stderr.len() + run.stdout.len();
            assert!(length < 60_000, "{command}: {length} bytes");
            let longest = run.stderr.lines().map(str::len).max().unwrap_or_default();
            assert!(longest < 3000, "{command}: a line of {longest} bytes");
        }
    }
}
