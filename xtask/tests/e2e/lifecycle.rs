//! `up`, `status`, `down`: the main path, with the real servers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use expect_test::expect;
use serde_json::{Value, json};

use crate::harness::{Sandbox, http, same};

/// The services in the order in which they start.
const ORDER: [&str; 4] = ["nats", "pocketbase", "caddy", "controller"];
/// Services that wait for one another.
const WAITING: [[&str; 2]; 3] = [
    ["nats", "pocketbase"],
    ["pocketbase", "caddy"],
    ["pocketbase", "controller"],
];

/// Returns the output for a user, without lines that depend on the speed of the machine: about
/// processes that were healthy at the first poll.
fn summary(sandbox: &Sandbox, stderr: &str) -> String {
    let lines = stderr.lines().filter(|line| !line.ends_with(" is healthy"));
    sandbox.normal(&lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn up_and_down_say_what_they_did() {
    let sandbox = Sandbox::core();
    let run = sandbox.run("up").succeeds();
    same("stdout", run.stdout.as_str(), "");
    expect![[r"
        started in N s
          nats        nats://127.0.0.1:{nats.client}    healthy after N ms
          pocketbase  http://127.0.0.1:{pocketbase.http}    healthy after N ms
          caddy       http://127.0.0.1:{caddy.http}    healthy after N ms
          controller                            healthy after N ms
        http://127.0.0.1:{pocketbase.http}/_/ is for the superuser whose e-mail and first password are in .data/pocketbase/superuser.json
        logs are in .core-stack/logs; stop it with `cargo xtask down`
        works without cargo, too: `.core-stack/xtask down`"]]
    .assert_eq(&summary(&sandbox, &run.stderr));
    let answer = http::get(sandbox.port("caddy.http"), "/healthz");
    let answer = (answer.status, answer.body.as_str());
    same("Caddy's own page", answer, (200, "ok"));

    let again = sandbox.run("up --detach").succeeds();
    same("stdout", again.stdout.as_str(), "");
    expect![[r"
        already running
          nats        nats://127.0.0.1:{nats.client}    healthy after N ms
          pocketbase  http://127.0.0.1:{pocketbase.http}    healthy after N ms
          caddy       http://127.0.0.1:{caddy.http}    healthy after N ms
          controller                            healthy after N ms
        http://127.0.0.1:{pocketbase.http}/_/ is for the superuser whose e-mail and first password are in .data/pocketbase/superuser.json
        logs are in .core-stack/logs; stop it with `cargo xtask down`
        works without cargo, too: `.core-stack/xtask down`"]]
    .assert_eq(&summary(&sandbox, &again.stderr));

    let down = sandbox.down();
    same("stdout", down.stdout.as_str(), "");
    expect!["stopped in N s; nothing is left running"].assert_eq(&sandbox.normal(&down.stderr));
    let again = sandbox.down();
    expect!["nothing was running"].assert_eq(&sandbox.normal(&again.stderr));
    let json = sandbox.run("down --json").succeeds().json();
    let expected = json!({"schema_version": 1, "outcome": "nothing-ran", "signalled": []});
    same("down --json", json, expected);
    sandbox.nothing_is_left_within(Duration::from_secs(2));
}

#[test]
fn each_service_starts_when_the_one_before_is_healthy() {
    let sandbox = Sandbox::core();
    let report = sandbox.up();
    same("schema", &report["schema_version"], &json!(1));
    same("outcome", &report["outcome"], &json!("started"));
    same("order", &report["order"], &json!(ORDER));
    assert!(report["ready_ms"].is_u64(), "{report:#}");
    let time = |name: &str, key: &str| {
        let time = report["processes"][name][key].as_i64();
        time.unwrap_or_else(|| panic!("no `{key}` of `{name}`: {report:#}"))
    };
    for [before, after] in WAITING {
        assert!(
            time(before, "started_ms") <= time(before, "ready_ms"),
            "{report:#}"
        );
        assert!(
            time(before, "ready_ms") <= time(after, "started_ms"),
            "{report:#}"
        );
    }
    same(
        "what Caddy waits for",
        &report["processes"]["caddy"]["depends_on"],
        &json!(["pocketbase"]),
    );

    let again = sandbox.up();
    same("outcome", &again["outcome"], &json!("unchanged"));
    for name in ORDER {
        let pid = |report: &Value| report["processes"][name]["pid"].clone();
        same(name, pid(&again), pid(&report));
    }
}

#[test]
pub(crate) fn status_tells_everything_about_a_running_stack() {
    let sandbox = Sandbox::core();
    let down = sandbox.run("status").ends(3);
    same("stdout", down.stdout.as_str(), "");
    expect!["not running; start it with `cargo xtask up`"].assert_eq(down.stderr.trim_end());
    let json = sandbox.run("status --json").ends(3).json();
    same("running", &json["running"], &json!(false));
    same(
        "state",
        &json["services"]["nats"]["processes"]["nats"]["status"],
        &json!("Stopped"),
    );

    sandbox.up();
    let run = sandbox.run("status --json").succeeds();
    same("stderr", run.stderr.as_str(), "");
    let status = run.json();
    same("schema", &status["schema_version"], &json!(1));
    same("running", &status["running"], &json!(true));
    same("healthy", &status["healthy"], &json!(true));
    let services = status["services"].as_object().unwrap();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    same(
        "services",
        names,
        vec!["caddy", "controller", "nats", "pocketbase"],
    );
    for name in ORDER {
        let process = &status["services"][name]["processes"][name];
        same(name, &process["status"], &json!("Running"));
        same(name, &process["ready"], &json!(true));
        same(name, &process["answers"], &json!(true));
        same(name, &process["restarts"], &json!(0));
        assert!(
            process["pid"].is_i64() && process["uptime_seconds"].is_f64(),
            "{process}"
        );
    }
    let nats = &status["services"]["nats"];
    same(
        "version",
        &nats["versions"],
        &json!({"nats-server": "2.15.0"}),
    );
    let client = sandbox.port("nats.client");
    same(
        "url",
        &nats["url"],
        &json!(format!("nats://127.0.0.1:{client}")),
    );
    same(
        "port",
        &nats["ports"]["client"],
        &json!({"port": client, "protocol": "nats"}),
    );

    let table = sandbox.run("status").succeeds();
    same("stderr", table.stderr.as_str(), "");
    let lines: Vec<Vec<&str>> = table
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let expected = ["PROCESS", "STATE", "PID", "RESTARTS", "UPTIME", "URL"];
    same("heading", lines[0].as_slice(), &expected);
    let states: Vec<_> = lines[1..=4].iter().map(|line| (line[0], line[1])).collect();
    same(
        "states",
        states,
        vec![
            ("caddy", "healthy"),
            ("controller", "healthy"),
            ("nats", "healthy"),
            ("pocketbase", "healthy"),
        ],
    );
}

/// Returns everything below a directory, and the directory.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_path_buf()];
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(below(&entry.unwrap().path()));
        }
    }
    all
}

#[test]
fn state_and_data_are_the_owners_alone() {
    let sandbox = Sandbox::core();
    sandbox.up();
    for name in ORDER {
        let log = sandbox.read(&format!(".core-stack/logs/{name}.log"));
        assert!(log.contains("READY: "), "{name}: {log}");
    }
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    same("the state", mode(&sandbox.path(".core-stack")), 0o700);
    same(
        "the file",
        mode(&sandbox.path(".core-stack/process-compose.yaml")),
        0o600,
    );
    for directory in [".data/nats", ".data/pocketbase", ".data/caddy"] {
        same(directory, mode(&sandbox.path(directory)), 0o700);
    }
    // In a directory that only its owner may enter, a file's mode is a second protection; files
    // with secrets have it.
    for secret in [".core-stack/nats/nats.conf", ".data/nats/credentials.json"] {
        same(secret, mode(&sandbox.path(secret)), 0o600);
    }
    let run = sandbox.root().parent().unwrap().join("run/core-stack");
    same("the directory of the socket", mode(&run), 0o700);
    same("sockets", below(&run).len(), 2);

    sandbox.down();
    same("sockets", below(&run).len(), 1);
    assert!(
        !sandbox.path(".core-stack/process-compose.yaml").exists(),
        "it holds secrets"
    );
    for secret in [
        "nats/nats.conf",
        "pocketbase/controller.json",
        "caddy/settings.json",
    ] {
        let file = sandbox.path(".core-stack").join(secret);
        assert!(!file.exists(), "`{secret}` is left");
    }
    assert!(
        sandbox.path(".core-stack/logs/nats.log").exists(),
        "logs stay"
    );
    assert!(
        sandbox.path(".data/pocketbase/pb_data/data.db").exists(),
        "data stays"
    );
}

#[test]
fn nothing_is_written_through_a_link_and_data_are_made_private() {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let mut sandbox = Sandbox::empty();
    sandbox.service(
        "one",
        &serde_json::json!({"process": {"command": "sleep 1000"}}),
    );
    let outside = sandbox.root().with_file_name("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "text").unwrap();
    let state = sandbox.path(".core-stack");
    symlink(&outside, &state).unwrap();
    let run = sandbox.run("up").ends(10);
    assert!(
        run.stderr.contains("`.core-stack` is a link"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("\nhint: rm") || run.stderr.contains("rm '"),
        "{}",
        run.stderr
    );
    fs::remove_file(&state).unwrap();
    for link in [
        "operation.lock",
        "alive.lock",
        "logs/one.log",
        "applied.json",
        "logs",
    ] {
        let path = state.join(link);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir(&path);
        let target = if link == "logs" {
            outside.clone()
        } else {
            outside.join("file")
        };
        symlink(target, &path).unwrap();
        let run = sandbox.run("up").ends(10);
        let told = format!("`.core-stack/{link}` is a link");
        assert!(run.stderr.contains(&told), "{}", run.stderr);
        fs::remove_file(&path).unwrap();
    }
    same(
        "outside",
        fs::read_to_string(outside.join("file")).unwrap().as_str(),
        "text",
    );
    same("files outside", fs::read_dir(&outside).unwrap().count(), 1);

    let data = sandbox.path(".data");
    let mode = || fs::metadata(&data).unwrap().permissions().mode() & 0o777;
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    let run = sandbox.run("up").succeeds();
    assert!(run.stderr.contains("made private"), "{}", run.stderr);
    same("mode", mode(), 0o700);
}
