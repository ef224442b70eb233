//! Bad `.env` files and variables, and ports that others hold: the whole text, nothing started.

use std::net::TcpListener;

use expect_test::{Expect, expect};
use serde_json::json;

use crate::harness::{Sandbox, fake_program, same, stranger};

/// Runs `up`, which must refuse its input with this text, without having started anything.
#[track_caller]
fn refused(sandbox: &Sandbox, code: u8, expected: &Expect) {
    let run = sandbox.run("up").ends(code);
    same("stdout", run.stdout.as_str(), "");
    expected.assert_eq(&sandbox.normal(&run.stderr));
    sandbox.nothing_was_started();
}

/// The checkout's services with these variables in `.env`.
#[track_caller]
fn refused_with(variables: &[(&str, &str)], expected: &Expect) {
    let mut sandbox = Sandbox::core();
    for (name, value) in variables {
        sandbox.dotenv(name, value);
    }
    refused(&sandbox, 10, expected);
}

#[test]
fn a_bad_line_is_named_and_not_shown() {
    let sandbox = Sandbox::core();
    sandbox.dotenv_line("# fine");
    sandbox.dotenv_line("PASSWORD = very secret words");
    let lines = sandbox.read(".env").lines().count();
    let run = sandbox.run("up").ends(10);
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
    same(
        "stderr",
        run.stderr,
        format!(
            "error: cannot parse `.env`: line {lines} is not `NAME=value`\n\
         hint: put values with spaces, `#` or `$` into single quotes: NAME='a value'\n"
        ),
    );
    sandbox.nothing_was_started();
}

#[test]
fn a_stack_can_be_stopped_whatever_its_inputs_have_become() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &json!({"process": {"command": fake_program()}}));
    sandbox.up();
    sandbox.dotenv_line("not a line");
    sandbox.service_text("one", "not a manifest");
    same("up", sandbox.run("up").code, 10);
    let down = sandbox.down();
    let expected = "stopped in N s; nothing is left running";
    same("stderr", sandbox.normal(&down.stderr).as_str(), expected);
}

#[test]
fn port_variables() {
    refused_with(
        &[("CORE_PORT_NATS_CLEINT", "4222")],
        &expect![[r"
        error: invalid input: environment: `CORE_PORT_NATS_CLEINT` names no port of any service; did you mean `CORE_PORT_NATS_CLIENT`?
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
    refused_with(
        &[("CORE_PORT_NATS_CLIENT", "70000")],
        &expect![[r"
        error: invalid input: environment: `CORE_PORT_NATS_CLIENT` must be a port, 1 to 65535
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
    let mut sandbox = Sandbox::core();
    let taken = sandbox.port("nats.client").to_string();
    sandbox.dotenv("CORE_PORT_CADDY_HTTP", &taken);
    refused(
        &sandbox,
        10,
        &expect![[r"
        error: invalid input: services/nats/service.json:34: `ports.client.port` is {nats.client}, which `caddy` has already by `CORE_PORT_CADDY_HTTP`
        hint: nothing was changed; correct it and check with `cargo xtask render --check`"]],
    );
}

#[test]
fn superuser() {
    let (email, password) = (
        "CORE_POCKETBASE_ADMIN_EMAIL",
        "CORE_POCKETBASE_ADMIN_PASSWORD",
    );
    refused_with(
        &[(email, "admin@localhost"), (password, "long enough")],
        &expect![[r"
            error: `pocketbase` refuses its settings: CORE_POCKETBASE_ADMIN_EMAIL: `admin@localhost` is not an e-mail address that PocketBase takes (its domain needs a dot: admin@core.local)
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
    refused_with(
        &[(email, "a@b.example"), (password, "short")],
        &expect![[r"
            error: `pocketbase` refuses its settings: CORE_POCKETBASE_ADMIN_PASSWORD must have 8 to 71 characters, not 5
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
    refused_with(
        &[(email, "a@b.example"), (password, &"x".repeat(72))],
        &expect![[r"
            error: `pocketbase` refuses its settings: CORE_POCKETBASE_ADMIN_PASSWORD must have 8 to 71 characters, not 72
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
    refused_with(
        &[(email, "a@b.example")],
        &expect![[r"
            error: `pocketbase` refuses its settings: CORE_POCKETBASE_ADMIN_EMAIL is set, so CORE_POCKETBASE_ADMIN_PASSWORD must be, too
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
    refused_with(
        &[(password, "long enough")],
        &expect![[r"
            error: `pocketbase` refuses its settings: CORE_POCKETBASE_ADMIN_PASSWORD is set, so CORE_POCKETBASE_ADMIN_EMAIL must be, too
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
    refused_with(
        &[(email, "nobody"), (password, "short")],
        &expect![[r"
            error: `pocketbase` refuses its settings:
              CORE_POCKETBASE_ADMIN_EMAIL: `nobody` is not an e-mail address that PocketBase takes (its domain needs a dot: admin@core.local)
              CORE_POCKETBASE_ADMIN_PASSWORD must have 8 to 71 characters, not 5
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
}

#[test]
fn hosts() {
    refused_with(
        &[("CADDY_HOST", "example.com")],
        &expect![[r"
            error: `caddy` refuses its settings: CADDY_HOST: `example.com` is not an IP address (127.0.0.1, 0.0.0.0 ...)
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
    refused_with(
        &[("NATS_HOST", "0.0.0.0")],
        &expect![[r"
            error: `nats` refuses its settings: NATS_HOST is 0.0.0.0, which others can reach: set NATS_USER and NATS_PASSWORD, too
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
    refused_with(
        &[("NATS_USER", "me")],
        &expect![[r"
            error: `nats` refuses its settings: NATS_USER is set, so NATS_PASSWORD must be, too
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
    refused_with(
        &[("NATS_WS_ALLOWED_ORIGINS", "*")],
        &expect![[r"
            error: `nats` refuses its settings: NATS_WS_ALLOWED_ORIGINS: `*` is not an origin (http://localhost:2015)
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
    // Every service that refuses says so.
    refused_with(
        &[("CADDY_HOST", "x"), ("POCKETBASE_HOST", "y")],
        &expect![[r"
            error: `caddy` refuses its settings: CADDY_HOST: `x` is not an IP address (127.0.0.1, 0.0.0.0 ...)
            `pocketbase` refuses its settings: POCKETBASE_HOST: `y` is not an IP address (127.0.0.1, 0.0.0.0 ...)
            hint: nothing was started; correct the variable in `.env` or the environment"]],
    );
}

#[test]
fn the_environment_comes_before_the_file() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("CADDY_HOST", "example.com");
    let run = sandbox
        .run_with("caddy command --env", &[("CADDY_HOST", "127.0.0.2")])
        .succeeds();
    assert!(
        run.stdout.contains("CADDY_HOST=127.0.0.2"),
        "{}",
        run.stdout
    );
    let run = sandbox.run("caddy command --env").succeeds();
    assert!(
        run.stdout.contains("CADDY_HOST=example.com"),
        "{}",
        run.stdout
    );
}

#[test]
pub(crate) fn a_port_that_a_stranger_holds() {
    let sandbox = Sandbox::core();
    let port = sandbox.port("pocketbase.http");
    let stranger = stranger(port);
    let run = sandbox.run("up").ends(11);
    same("stdout", run.stdout.as_str(), "");
    assert!(
        run.stderr
            .contains(&format!("`xtask-fake` (pid {})", stranger.pid())),
        "{}",
        run.stderr
    );
    expect![[r"
        error: port {pocketbase.http} of `pocketbase` (`CORE_PORT_POCKETBASE_HTTP`) is taken by `xtask-fake` (pid N)
        hint: end that program, or choose another port in `.env`: CORE_PORT_POCKETBASE_HTTP=NUMBER"]].assert_eq(&sandbox.normal(&run.stderr));
    drop(stranger);
    sandbox.nothing_was_started();
}

#[test]
fn a_declared_port_is_named_with_its_manifest() {
    let mut sandbox = Sandbox::empty();
    let port = sandbox.spare_port("held");
    let text = format!(
        "{{\n  \"process\": {{\"command\": \"x\"}},\n  \"ports\": {{\n    \"web\": {{\"port\": {port}}}\n  }}\n}}"
    );
    sandbox.service_text("mine", &text);
    let stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let run = sandbox.run("up").ends(11);
    drop(stranger);
    let told = sandbox.normal(&run.stderr);
    let told = told
        .lines()
        .map(|line| line.split(" by `").next().unwrap_or_default());
    expect![[r"
        error: port {held} of `mine` (`ports.web.port` in services/mine/service.json:4) is taken
        hint: end that program, or choose another port in `.env`: CORE_PORT_MINE_WEB=NUMBER"]]
    .assert_eq(&told.collect::<Vec<_>>().join("\n"));
    sandbox.nothing_was_started();
}
