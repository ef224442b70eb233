//! Bad `.env` files and variables, and ports that others hold: full message, nothing started.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Sandbox, expected, fake_program, same, stranger};

/// Limit of a command that waits at most for a deadline of two seconds.
const QUICK: Duration = Duration::from_secs(15);

/// Runs `up`, which must refuse its input with this text, without having started anything.
#[track_caller]
fn refused(sandbox: &Sandbox, code: u8, name: &str) {
    let run = sandbox.run("up").ends(code);
    same("stdout", run.stdout.as_str(), "");
    expected(name, &sandbox.normal(&run.stderr));
    sandbox.nothing_was_started();
}

/// Like `refused`, for the checkout's services with these variables in `.env`.
#[track_caller]
fn refused_with(variables: &[(&str, &str)], name: &str) {
    let mut sandbox = Sandbox::core();
    for (name, value) in variables {
        sandbox.dotenv(name, value);
    }
    refused(&sandbox, 10, name);
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
fn a_stack_can_be_seen_and_stopped_whatever_its_inputs_have_become() {
    let mut sandbox = Sandbox::empty();
    let listening = json!({
        "process": {
            "command": fake_program(), "args": ["--listen", "${port.http}"],
            "compose": {"readiness_probe": {"tcp": {"port": "${port.http}"}}},
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
    });
    sandbox.service("one", &listening);
    sandbox.up();
    let before = sandbox.run("status --json").succeeds().json();
    let elsewhere = [("CORE_PORT_ONE_HTTP", "1")];
    let after = sandbox
        .run_with("status --json", &elsewhere)
        .succeeds()
        .json();
    same(
        "ports",
        &after["services"]["one"]["ports"],
        &before["services"]["one"]["ports"],
    );
    sandbox.dotenv_line("not a line");
    sandbox.service_text("one", "not a manifest");
    same("up", sandbox.run("up").code, 10);
    let after = sandbox.run("status --json").succeeds().json();
    same(
        "ports",
        &after["services"]["one"]["ports"],
        &before["services"]["one"]["ports"],
    );
    let down = sandbox.down();
    let expected = "stopped in N s; nothing is left running";
    same("stderr", sandbox.normal(&down.stderr).as_str(), expected);
}

#[test]
fn port_variables() {
    refused_with(
        &[("CORE_PORT_NATS_CLEINT", "4222")],
        "bad-environment/port-variable-unknown",
    );
    refused_with(
        &[("CORE_PORT_NATS_CLIENT", "70000")],
        "bad-environment/port-variable-no-port",
    );
    let mut sandbox = Sandbox::core();
    let taken = sandbox.port("nats.client").to_string();
    sandbox.dotenv("CORE_PORT_CADDY_HTTP", &taken);
    refused(&sandbox, 10, "bad-environment/port-variable-taken");
}

#[test]
fn superuser() {
    let (email, password) = (
        "CORE_POCKETBASE_ADMIN_EMAIL",
        "CORE_POCKETBASE_ADMIN_PASSWORD",
    );
    refused_with(
        &[(email, "admin@localhost"), (password, "long enough")],
        "bad-environment/superuser-email",
    );
    refused_with(
        &[(email, "a@b.example"), (password, "short")],
        "bad-environment/superuser-short-password",
    );
    refused_with(
        &[(email, "a@b.example"), (password, &"x".repeat(72))],
        "bad-environment/superuser-long-password",
    );
    refused_with(
        &[(email, "a@b.example")],
        "bad-environment/superuser-no-password",
    );
    refused_with(
        &[(password, "long enough")],
        "bad-environment/superuser-no-email",
    );
    refused_with(
        &[(email, "nobody"), (password, "short")],
        "bad-environment/superuser-two-mistakes",
    );
}

#[test]
fn hosts() {
    let email = "CORE_POCKETBASE_ADMIN_EMAIL";
    refused_with(
        &[("CADDY_HOST", "example.com")],
        "bad-environment/host-name",
    );
    refused_with(
        &[("NATS_HOST", "0.0.0.0")],
        "bad-environment/nats-on-the-network",
    );
    refused_with(&[("NATS_USER", "me")], "bad-environment/nats-half-a-login");
    refused_with(
        &[("NATS_WS_ALLOWED_ORIGINS", "*")],
        "bad-environment/nats-any-origin",
    );
    // Every service that refuses reports it.
    refused_with(
        &[("NATS_USER", "me"), (email, "a@b.c")],
        "bad-environment/two-services",
    );
}

#[test]
fn the_environment_comes_before_the_file() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("CADDY_HOST", "127.0.0.3");
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
        run.stdout.contains("CADDY_HOST=127.0.0.3"),
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
    expected(
        "bad-environment/port-of-a-stranger",
        &sandbox.normal(&run.stderr),
    );
    drop(stranger);
    sandbox.nothing_was_started();
}

#[test]
fn a_declared_port_is_named_with_its_manifest() {
    let mut sandbox = Sandbox::empty();
    let port = sandbox.spare_port("held");
    let text = format!(
        "{{\"process\": {{\"command\": \"x\"}},\n \"ports\": {{\n\"web\": {{\"port\": {port}}}}}}}"
    );
    sandbox.service_text("mine", &text);
    let stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let run = sandbox.run("up").ends(11);
    drop(stranger);
    let told = sandbox.normal(&run.stderr);
    let told = told
        .lines()
        .map(|line| line.split(" by `").next().unwrap_or_default());
    expected(
        "bad-environment/port-of-a-manifest",
        &told.collect::<Vec<_>>().join("\n"),
    );
    sandbox.nothing_was_started();
}

#[test]
fn a_value_that_is_not_what_its_line_says_is_refused_where_it_is_read() {
    let mut sandbox = Sandbox::empty();
    let reads = json!({"process": {
        "command": "sleep 1000", "env": {"A": "${env.MINE:-}", "B": "${env.NATS_HOST:-}"},
    }});
    sandbox.service("one", &reads);
    sandbox.dotenv_line("# a comment");
    for line in [
        r#"MINE={"hunter2":"b"}"#,
        "MINE=#hunter2",
        "MINE=hunter2 #word",
        "MINE=hunter2$word99",
        "MINE=\"hunter2$word99 b\"",
        "MINE=hunter2'b'",
    ] {
        let before = sandbox.read(".env");
        sandbox.dotenv_line(line);
        let number = sandbox.read(".env").lines().count();
        for command in ["up", "plan", "render --check"] {
            let run = sandbox.run(command).ends(10);
            let told = format!("`.env`:{number}: the value of `MINE`");
            assert!(run.stderr.contains(&told), "{line}: {}", run.stderr);
            assert!(run.stderr.contains("\nhint: "), "{line}: {}", run.stderr);
            assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
        }
        sandbox.run("down").succeeds();
        std::fs::write(sandbox.path(".env"), before).unwrap();
    }
    sandbox.nothing_was_started();
    // Unused variables are reported, and do not prevent a start.
    sandbox.dotenv_line("OTHER={\"hunter2\":1}");
    sandbox.dotenv_line("NATS_HOTS=127.0.0.1");
    sandbox.dotenv_line("MINE='{\"a\": \"b # $c\"}'");
    let last = sandbox.read(".env").lines().count();
    let run = sandbox.run("up").succeeds();
    let unread = format!("`.env`:{}: nothing reads `NATS_HOTS`", last - 1);
    for told in [
        &format!("`.env`:{}: the value of `OTHER`", last - 2),
        &unread,
    ] {
        assert!(run.stderr.contains(told.as_str()), "{}", run.stderr);
    }
    assert!(
        run.stderr.contains("did you mean `NATS_HOST`?"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
}

#[test]
fn a_pipe_without_a_writer_holds_nobody_up() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &json!({"process": {"command": "sleep 1000"}}));
    let text = sandbox.read(".env");
    sandbox.up();
    let pipe = sandbox.pipe(".env");
    for command in ["status", "ps", "logs"] {
        let run = sandbox.run(command).succeeds();
        assert!(run.took < QUICK, "{command}: {:?}", run.took);
    }
    let named = sandbox.run("status --instance default").succeeds();
    assert!(
        !named.stderr.contains(".env"),
        "it is not needed: {}",
        named.stderr
    );
    // A pipe that is written whenever it is read, as password managers do.
    let (to, done) = (pipe.clone(), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&done);
    let writer = thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            // Without a reader, this open fails.
            let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().try_into().unwrap();
            let open = OpenOptions::new()
                .write(true)
                .custom_flags(nonblocking)
                .open(&to);
            if let Ok(mut file) = open {
                let _ = file.write_all(format!("{text}A=1\n").as_bytes());
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
    let run = sandbox.run("up");
    done.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    run.succeeds();
    let run = sandbox.run("down").succeeds();
    assert!(run.took < QUICK, "{:?}", run.took);
    assert!(
        run.stderr.contains("nothing was written into it"),
        "{}",
        run.stderr
    );
}

#[test]
fn an_open_file_with_a_password_is_told_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &json!({"process": {"command": "sleep 1000"}}));
    sandbox.dotenv_line("MY_PASSWORD=hunter2");
    let open = |mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(sandbox.path(".env"), mode).unwrap();
    };
    let tells = || {
        let run = sandbox.run("up").succeeds();
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
        run.stderr.contains("MY_PASSWORD in `.env`")
    };
    open(0o644);
    same("told", [tells(), tells()], [true, false]);
    sandbox.down();
    sandbox.dotenv_line("# changed");
    open(0o640);
    same("after a change", [tells(), tells()], [true, false]);
    open(0o600);
    same("private", tells(), false);
}
