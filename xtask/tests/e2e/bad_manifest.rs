//! Broken manifests: each with exit code 10, the whole text, and nothing started.

use expect_test::{Expect, expect};
use serde_json::json;

use crate::harness::{Sandbox, fake_program, same};

/// Runs `up`, which must refuse its input with this text, without having started anything.
#[track_caller]
fn refused(sandbox: &Sandbox, expected: &Expect) {
    let run = sandbox.run("up").ends(10);
    same("stdout", run.stdout.as_str(), "");
    expected.assert_eq(&sandbox.normal(&run.stderr));
    sandbox.nothing_was_started();
    // The command that the hint names says the same.
    let check = sandbox.run("render --check").ends(10);
    same("render --check", check.stderr, run.stderr);
}

/// One service `mine` with this text as its manifest.
fn refused_text(text: &str, expected: &Expect) {
    let mut sandbox = Sandbox::empty();
    sandbox.dotenv("UNUSED", "x");
    sandbox.service_text("mine", text);
    refused(&sandbox, expected);
}

#[test]
pub(crate) fn unknown_key() {
    refused_text(
        "{\n  \"process\": {\"command\": \"x\", \"compose\": {\n    \"redyness_probe\": {}}}\n}",
        &expect![[r"
            error: invalid input: services/mine/service.json:3: `process.compose.redyness_probe` is not a known key; did you mean `readiness_probe`? allowed here: availability, depends_on, description, disabled, log, readiness_probe, shutdown, working_dir
            hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn liveness_probe() {
    refused_text(
        r#"{"process": {"command": "x", "compose": {"liveness_probe": {}}}}"#,
        &expect![[r"
            error: invalid input: services/mine/service.json:1: `process.compose.liveness_probe` is not supported: it does nothing for a process that is not a daemon; use `readiness_probe`
            hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn the_source_of_the_original() {
    refused_text(
        r#"{"binaries": [{"name": "x", "source": "go-build", "path": "./cmd/x"}], "process": {"command": "x"}}"#,
        &expect![[r"
            error: invalid input: services/mine/service.json:1: `binaries[0].source` is `go-build`, but must be one of `cargo-build`, `fetch`, `placeholder`; say `cargo-build`
            hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn wrong_type() {
    refused_text(
        "{\"process\": {\"command\": [\"x\"]},\n \"ports\": {\"http\": {\"port\": \"80\"}}}",
        &expect![[r"
            error: invalid input, 2 problems:
              services/mine/service.json:1: `process.command` must be a string, not an array
              services/mine/service.json:2: `ports.http.port` must be a whole number, not a string
            hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn duplicate_key() {
    refused_text(
        "{\"process\": {\"command\": \"x\"},\n \"process\": {\"command\": \"y\"}}",
        &expect![[r"
            error: invalid input: services/mine/service.json:2: `process` is given twice, first on line 1
            hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn missing_key() {
    refused_text(
        "{}",
        &expect![[r"
        error: invalid input: services/mine/service.json:1: `process` is missing
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn not_json() {
    refused_text(
        "{\n  \"process\": {\"command\": \"x\"\n}\n",
        &expect![[r"
        error: invalid input: services/mine/service.json:1: not valid JSON: Unterminated object
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
    refused_text(
        "",
        &expect![[r"
        error: invalid input: services/mine/service.json:1: is empty; a manifest is a JSON object
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn unknown_placeholder() {
    refused_text(
        r#"{"process": {"command": "x ${home}", "args": ["${dep.x}", "${port.nothing}", "${port.other.http}", "${env.X:+y}"]}}"#,
        &expect![[r"
            error: invalid input, 5 problems:
              services/mine/service.json:1: `process.args[0]` needs the binary `x`, which `binaries` does not declare
              services/mine/service.json:1: `process.args[1]` needs the port `nothing` of `mine`, which does not declare it
              services/mine/service.json:1: `process.args[2]` needs a port of `other`, which is no service
              services/mine/service.json:1: `process.args[3]` has `${env.X:`, but only `${env.VAR:-default}` has a default
              services/mine/service.json:1: `process.command` has the unknown placeholder `${home}`; there are `${dep.NAME}`, `${data}`, `${state}`, `${env.VAR}`, `${env.VAR:-default}`, `${port.NAME}` and `${port.SERVICE.NAME}` (write `$${` for a literal `${`)
            hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn missing_variable() {
    refused_text(
        "{\"process\": {\"command\": \"x\", \"env\": {\n  \"KEY\": \"${env.MY_KEY}\"}}}",
        &expect![[r"
            error: invalid input: services/mine/service.json:2: `process.env.KEY` needs the variable `MY_KEY`, which neither the environment nor `.env` sets
            hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn shell_operator_and_open_quote() {
    refused_text(
        r#"{"process": {"command": "x | y"}}"#,
        &expect![[r"
        error: invalid input: services/mine/service.json:1: `process.command` has the shell operator `|`, but is run without a shell; say `sh -c '...'` if you need one
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
    refused_text(
        r#"{"process": {"command": "x 'y"}}"#,
        &expect![[r"
        error: invalid input: services/mine/service.json:1: `process.command` has an unclosed quote
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn port_out_of_range_and_used_twice() {
    refused_text(
        "{\"process\": {\"command\": \"x\"}, \"ports\": {\n  \"a\": {\"port\": 0},\n  \"b\": {\"port\": 65536},\n  \"c\": {\"port\": -1}}}",
        &expect![[r"
            error: invalid input, 3 problems:
              services/mine/service.json:2: `ports.a.port` is 0, but must be 1 to 65535
              services/mine/service.json:3: `ports.b.port` is 65536, but must be 1 to 65535
              services/mine/service.json:4: `ports.c.port` is -1, but must be 1 to 65535
            hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
    refused_text(
        "{\"process\": {\"command\": \"x\"}, \"ports\": {\n  \"a\": {\"port\": 9000},\n  \"b\": {\"port\": 9000}}}",
        &expect![[r"
            error: invalid input: services/mine/service.json:3: `ports.b.port` is 9000, which `ports.a` has already
            hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
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
    refused(
        &sandbox,
        &expect![[r"
        error: invalid input: services/nats/service.json:34: `ports.client.port` is {nats.client}, which `mine` has already by `ports.mine.port` in services/mine/service.json:1
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
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
    refused(
        &sandbox,
        &expect![[r"
        error: invalid input, 4 problems:
          services/fine/service.json:1: `binaries[0].name` is `Up Per`, which may only hold a-z, 0-9 and `-`
          services/fine/service.json:1: `ports.-x` has a name that may not begin or end with `-`
          services/fine/service.json:1: `process.env.A-B` is not a variable name: A-Z, a-z, 0-9 and `_`
          services/fine/service.json:1: `process.secrets[0]` names `NONE`, which `process.env` does not have
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
    sandbox.remove_service("fine");
    refused(
        &sandbox,
        &expect![[r"
        error: invalid input: services/My_Service/service.json:1: the folder's name `My_Service` may only hold a-z, 0-9 and `-`
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn dependencies_that_cannot_be() {
    let mut sandbox = Sandbox::empty();
    sandbox.dotenv("UNUSED", "x");
    let after = |other: &str, condition: &str| {
        json!({"process": {"command": fake_program(), "compose": {"depends_on": {other: {"condition": condition}}}}}).to_string()
    };
    sandbox.service_text("a", &after("b", "process_started"));
    sandbox.service_text("b", &after("c", "process_started"));
    sandbox.service_text("c", &after("a", "process_started"));
    refused(
        &sandbox,
        &expect![[r"
        error: invalid input: services/a/service.json:1: `process.compose.depends_on` is a cycle: a -> b -> c -> a
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
    sandbox.service_text("c", &after("cc", "process_started"));
    refused(
        &sandbox,
        &expect![[r"
        error: invalid input: services/c/service.json:1: `process.compose.depends_on.cc` names a service that does not exist; did you mean `c`?
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
    sandbox.service_text(
        "c",
        &json!({"process": {"command": fake_program()}}).to_string(),
    );
    sandbox.service_text("b", &after("c", "process_healthy"));
    refused(
        &sandbox,
        &expect![[r"
        error: invalid input: services/b/service.json:1: `process.compose.depends_on.c` waits for the health of `c`, which has no readiness probe
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn everything_is_told_at_once() {
    let mut sandbox = Sandbox::empty();
    sandbox.dotenv("UNUSED", "x");
    sandbox.service_text(
        "one",
        r#"{"process": {"command": "${nope}", "env": {"A": "${env.MISSING}"}}}"#,
    );
    sandbox.service_text("two", r#"{"process": {"command": "${dep.none}", "compose": {"depends_on": {"three": {"condition": "process_started"}}}}}"#);
    refused(
        &sandbox,
        &expect![[r"
        error: invalid input, 4 problems:
          services/one/service.json:1: `process.command` has the unknown placeholder `${nope}`; there are `${dep.NAME}`, `${data}`, `${state}`, `${env.VAR}`, `${env.VAR:-default}`, `${port.NAME}` and `${port.SERVICE.NAME}` (write `$${` for a literal `${`)
          services/one/service.json:1: `process.env.A` needs the variable `MISSING`, which neither the environment nor `.env` sets
          services/two/service.json:1: `process.command` needs the binary `none`, which `binaries` does not declare
          services/two/service.json:1: `process.compose.depends_on.three` names a service that does not exist
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
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
    refused(
        &sandbox,
        &expect![[r"
        error: no service found in `ROOT/services`
        hint: add a folder with a `service.json`, see docs/manifest.md"]],
    );
}
