//! In CI: sections, annotations, and no network when everything is installed.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use expect_test::expect;
use serde_json::json;

use crate::harness::{Sandbox, fake_program, same};

const GITHUB: [(&str, &str); 2] = [("CI", "true"), ("GITHUB_ACTIONS", "true")];
const GITLAB: [(&str, &str); 2] = [("CI", "true"), ("GITLAB_CI", "true")];

/// Returns the lines of an output that GitHub Actions executes: its runner stops at
/// `::stop-commands::TOKEN`, until `::TOKEN::`.
fn obeyed(output: &str) -> Vec<String> {
    let mut stopped: Option<String> = None;
    let mut commands = Vec::new();
    for line in output.lines() {
        let line = line.trim_start();
        if let Some(token) = &stopped {
            if line == format!("::{token}::") {
                stopped = None;
            }
        } else if let Some(token) = line.strip_prefix("::stop-commands::") {
            assert!(token.len() > 20, "a token that can be guessed: {token}");
            stopped = Some(token.to_owned());
        } else if line.starts_with("::") || line.contains("##[") {
            commands.push(line.to_owned());
        }
    }
    assert_eq!(stopped, None, "commands stay stopped:\n{output}");
    commands
}

#[test]
fn a_start_is_one_section_and_its_result_is_the_usual_one() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &json!({"process": {"command": fake_program()}}));
    let run = sandbox.run_with("up --ci --json", &GITHUB).succeeds();
    same("outcome", &run.json()["outcome"], &json!("started"));
    let commands = ["::group::cargo xtask up", "::endgroup::"];
    same(
        "commands",
        obeyed(&run.stderr),
        commands.map(str::to_owned).to_vec(),
    );
    sandbox.down();
    let run = sandbox.run_with("up --ci", &GITLAB).succeeds();
    same("stdout", run.stdout.as_str(), "");
    let starts = run.stderr.matches("\x1b[0Ksection_start:").count();
    let ends = run.stderr.matches("\x1b[0Ksection_end:").count();
    same("sections", (starts, ends), (1, 1));
    sandbox.down();
    let run = sandbox.run("up --ci").succeeds();
    assert!(
        run.stderr.starts_with("== cargo xtask up\n"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("::"), "{}", run.stderr);
}

#[test]
fn a_log_can_issue_no_command() {
    let mut sandbox = Sandbox::empty();
    let words = "'::set-output name=a::b' --say '##[add-mask]x' --say '::endgroup::'";
    let command = format!("{} --say {words} --exit 7", fake_program());
    let log = json!({"timestamps": false});
    let compose = json!({"availability": {"restart": "no"}, "log": log});
    let manifest = json!({"process": {"command": command, "compose": compose}});
    sandbox.service("hello", &manifest);
    let run = sandbox.run_with("up --ci", &GITHUB).ends(13);
    same("stdout", run.stdout.as_str(), "");
    assert!(
        run.stderr.contains("add-mask"),
        "the log is shown: {}",
        run.stderr
    );
    let commands = obeyed(&run.stderr);
    let (last, groups) = commands.split_last().unwrap();
    expect![[r#"
        [
            "::group::cargo xtask up",
            "::endgroup::",
            "::group::the log of `hello`",
            "::endgroup::",
            "::group::why it failed",
            "::endgroup::",
        ]
    "#]]
    .assert_debug_eq(&groups);
    let start = "::error file=services/hello/service.json,title=hello::`hello` ended while it was \
                 starting, with exit code 7%0A";
    assert!(last.starts_with(start), "{last}");
    // GitLab's marks begin with an escape, which is removed from log lines.
    let run = sandbox.run_with("up --ci", &GITLAB).ends(13);
    let marks = run.stderr.matches("\x1b[0Ksection_").count();
    same("marks", marks, 6);
    assert!(
        run.stderr.contains("error: `hello` ended"),
        "{}",
        run.stderr
    );
}

#[test]
fn what_is_wrong_in_a_manifest_is_annotated_at_its_line() {
    let mut sandbox = Sandbox::empty();
    let text =
        "{\n  \"process\": {\n    \"command\": \"${nope}\",\n    \"env\": {\"A\": 1}\n  }\n}\n";
    sandbox.service_text("hello", text);
    let run = sandbox.run_with("up --ci", &GITHUB).ends(10);
    let errors = |output: &str| -> Vec<String> {
        let commands = obeyed(output).into_iter();
        commands
            .filter(|line| line.starts_with("::error"))
            .collect()
    };
    expect![[r#"
        [
            "::error file=services/hello/service.json,line=4,title=services/hello/service.json::`process.env.A` must be a string, not a number",
        ]
    "#]]
    .assert_debug_eq(&errors(&run.stderr));
    sandbox.service("hello", &json!({"process": {"command": fake_program()}}));
    sandbox.dotenv("CORE_PORT_NOWHERE", "1");
    let run = sandbox.run_with("up --ci", &GITHUB).ends(10);
    expect![[r#"
        [
            "::error title=environment::`CORE_PORT_NOWHERE` names no port of any service",
        ]
    "#]]
    .assert_debug_eq(&errors(&run.stderr));
    sandbox.nothing_was_started();
}

/// Whether a program can run without any network but the loopback device.
fn can_be_cut_off() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["--map-root-user", "--net", "ip", "link", "set", "lo", "up"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

#[test]
fn offline_needs_no_network_once_the_binaries_are_there() {
    let sandbox = Sandbox::core();
    let xtask = env!("CARGO_BIN_EXE_xtask");
    // Elsewhere a proxy that counts replaces the network.
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    thread::spawn(move || {
        for _ in proxy.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let proxies = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].map(|name| (name, address.as_str()));
    let run = sandbox
        .run_with("up --offline --locked", &proxies)
        .succeeds();
    assert!(run.stderr.contains("started in"), "{}", run.stderr);
    same("requests", asked.load(Ordering::SeqCst), 0);
    sandbox.down();
    if !can_be_cut_off() {
        return;
    }
    let script = format!(
        "ip link set lo up && [ \"$(ip -o link | wc -l)\" = 1 ] && \
         {xtask} up --offline --locked && {xtask} status >&2 && {xtask} down"
    );
    let arguments = ["--map-root-user", "--net", "sh", "-c", &script];
    let run = sandbox.program(Path::new("unshare"), &arguments).succeeds();
    assert!(run.stderr.contains("started in"), "{}", run.stderr);
    assert!(
        run.stderr.contains("nothing is left running"),
        "{}",
        run.stderr
    );
}
