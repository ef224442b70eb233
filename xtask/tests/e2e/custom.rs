//! A service of the user: a directory with a manifest, without code of ours.

use std::time::Duration;

use expect_test::expect;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Sandbox, expected, fake_program, http, processes, same};

const SECRET: &str = "hush-3f9a";

/// Returns a service that listens, waits for Caddy, and has a secret.
fn hello() -> Value {
    json!({
        "process": {
            "command": format!("{} --say 'hello there'", fake_program()),
            "args": ["--listen", "${port.http}"],
            "env": {
                "GREETING": "${env.GREETING:-good morning}",
                "TOKEN": "${env.HELLO_TOKEN}",
                "NATS_URL": "nats://127.0.0.1:${port.nats.client}",
                "PLACES": "${data}/hello ${state}/hello",
            },
            "secrets": ["TOKEN"],
            "compose": {
                "description": "says hello",
                "depends_on": {"nats": {"condition": "process_healthy"}},
                "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
            },
        },
        "ports": {"http": {"port": 8999, "protocol": "http"}},
    })
}

fn sandbox() -> Sandbox {
    let mut sandbox = Sandbox::core();
    sandbox.service("hello", &hello());
    sandbox.dotenv("HELLO_TOKEN", SECRET);
    sandbox
}

#[test]
fn it_has_the_commands_of_every_service() {
    let sandbox = sandbox();
    let spec = sandbox.run("hello spec").succeeds();
    same("stderr", spec.stderr.as_str(), "");
    expect![[r#"
        {
          "binaries": [],
          "config": {},
          "file": "services/hello/service.json",
          "name": "hello",
          "process": {
            "command": [
              "FAKE",
              "--say",
              "hello there",
              "--listen",
              "{hello.http}"
            ],
            "depends_on": {
              "nats": "process_healthy"
            },
            "description": "says hello",
            "disabled": false,
            "env": {
              "CORE_URL": "http://127.0.0.1:{caddy.http}",
              "GREETING": "good morning",
              "NATS_MONITOR_URL": "http://127.0.0.1:{nats.http}",
              "NATS_URL": "nats://127.0.0.1:{nats.client}",
              "NATS_WS_URL": "ws://127.0.0.1:{nats.ws}",
              "PLACES": ".data/hello .core-stack/hello",
              "TOKEN": "********"
            },
            "log": {
              "max_files": 5,
              "max_size_mb": 20,
              "timestamps": true
            },
            "ports": {
              "http": {
                "port": {hello.http},
                "protocol": "http"
              }
            },
            "readiness": {
              "check": {
                "http": {
                  "url": "http://127.0.0.1:{hello.http}/"
                }
              },
              "failure_threshold": 3,
              "initial_delay_seconds": 0,
              "period_seconds": 10,
              "success_threshold": 1,
              "timeout_seconds": 60
            },
            "restart": {
              "backoff_seconds": 1,
              "max_restarts": 0,
              "restart": "always"
            },
            "runner": true,
            "service": "hello",
            "shutdown": {
              "parent_only": false,
              "signal": 15,
              "timeout_seconds": 10
            }
          },
          "schema_version": 1
        }"#]]
    .assert_eq(&sandbox.normal(&spec.stdout));
    let command = sandbox.run("hello command").succeeds();
    expect!["FAKE --say 'hello there' --listen {hello.http}"]
        .assert_eq(&sandbox.normal(&command.stdout));
    let command = sandbox.run("hello command --env").succeeds();
    expected(
        "custom/command-with-environment",
        &sandbox.normal(&command.stdout),
    );

    let mut run = sandbox.start("hello run");
    run.wait_for_stdout("hello there");
    let port = sandbox.port("hello.http");
    run.wait_for_stdout(&format!("listening on {port}"));
    same("its page", http::get(port, "/").body, format!("{port} /"));
    // Not Ctrl-C: background jobs of a shell ignore it, and so may this one.
    run.signal(Signal::TERM);
    // Without a wrapper of ours, it dies of the signal, as it would in a shell.
    run.wait().ends(143);
    sandbox.nothing_is_left_within(Duration::from_secs(2));
}

#[test]
fn it_comes_up_with_the_others_and_its_secret_is_nowhere_to_be_seen() {
    let sandbox = sandbox();
    let mut told = String::new();
    for command in [
        "up",
        "up --json",
        "status",
        "status --json",
        "hello spec",
        "hello command --env",
        "render --stdout",
        "render --check",
    ] {
        let run = sandbox.run(command).succeeds();
        told = format!("{told}\n# {command}\n{}{}", run.stdout, run.stderr);
    }
    same(
        "its page",
        http::get(sandbox.port("hello.http"), "/").status,
        200,
    );
    assert!(told.contains("TOKEN=********"), "{told}");
    assert!(!told.contains(SECRET), "{told}");
    let lines: Vec<String> = processes::all()
        .into_iter()
        .map(|process| process.line)
        .collect();
    assert!(
        !lines.iter().any(|line| line.contains(SECRET)),
        "a command line shows the secret"
    );
    for log in std::fs::read_dir(sandbox.path(".core-stack/logs")).unwrap() {
        let path = log.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains(SECRET),
            "{} shows the secret",
            path.display()
        );
    }
    let log = sandbox.read(".core-stack/logs/hello.log");
    assert!(log.contains("hello there"), "{log}");
    // Nevertheless the process received it.
    let environment = std::fs::read(format!("/proc/{}/environ", sandbox.pid("hello")));
    if let Ok(environment) = environment {
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(
            environment.contains(&format!("TOKEN={SECRET}")),
            "the process has no secret"
        );
    }
}

#[test]
fn a_failing_start_does_not_show_its_secret() {
    let mut sandbox = sandbox();
    sandbox.edit("hello", |manifest| {
        manifest["process"]["args"] = json!(["--exit", "7"]);
        manifest["process"]["compose"]["depends_on"] = json!({});
    });
    for service in ["nats", "pocketbase", "caddy", "controller"] {
        sandbox.remove_service(service);
    }
    sandbox.edit("hello", |manifest| {
        manifest["process"]["env"]["NATS_URL"] = json!("");
    });
    let run = sandbox.run("up").ends(13);
    assert!(!run.stderr.contains(SECRET), "{}", run.stderr);
    expect![[r"
        error: `hello` ended while it was starting, with exit code 7
          | TIME INF hello there
        hint: the whole log is in `.core-stack/logs/hello.log`"]]
    .assert_eq(&sandbox.normal(&run.stderr));
    sandbox.nothing_is_left_within(Duration::from_secs(2));
}

#[test]
fn a_secret_on_a_command_line_is_refused() {
    let mut sandbox = sandbox();
    sandbox.edit("hello", |manifest| {
        manifest["process"]["args"] = json!(["--say", "${env.HELLO_TOKEN}"]);
    });
    let run = sandbox.run("up").ends(10);
    assert!(!run.stderr.contains(SECRET), "{}", run.stderr);
    expected(
        "custom/secret-on-a-command-line",
        &sandbox.normal(&run.stderr),
    );
    sandbox.nothing_was_started();
}
