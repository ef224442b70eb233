//! The last output of a process: it is shown, in any format, and no file grows without a bound.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{SOON, Sandbox, eventually};

/// How long a supervisor that exited may still appear to hold its files.
const GONE_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

/// The longest line of a log, its time included.
const LINE_MAX: usize = 17 << 10;

/// Returns a service that runs a script, with a log of 1 MB and one old file.
fn script(script: &str) -> Value {
    json!({"process": {"command": "sh", "args": ["-c", script], "compose": {
        "log": {"max_size": "1mb", "max_files": 1},
    }}})
}

#[test]
fn the_line_with_the_reason_is_shown_before_the_stack_that_hides_it() {
    let sandbox = Sandbox::core();
    let hooks = sandbox.own_service("pocketbase").join("pb_hooks");
    if hooks.is_symlink() {
        fs::remove_file(&hooks).unwrap();
    }
    fs::create_dir_all(&hooks).unwrap();
    let hook = "// A mistake, two lines below.\nonBootstrap((e) => {\n  const x = ;\n});\n";
    fs::write(hooks.join("typo.pb.js"), hook).unwrap();
    let run = sandbox.run("up").ends(13);
    for expected in ["typo.pb.js", "SyntaxError", "Line 3"] {
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
    sandbox.nothing_is_left_within(GONE_LIMIT);
}

#[test]
fn nothing_is_lost_after_a_line_longer_than_the_log_may_be() {
    let mut sandbox = Sandbox::empty();
    let long = "echo before; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo THE END; \
        exec sleep 3600";
    sandbox.service("long", &script(long));
    sandbox.up();
    eventually("the line after the long one", SOON, || {
        let lines = sandbox.run("logs long --tail 1").succeeds().stdout;
        lines.contains("THE END").then_some(())
    });
    let logs = sandbox.path(".core-stack/logs");
    let is_own = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("long");
    eventually("the end of what is too old", SOON, || {
        let entries = fs::read_dir(&logs).unwrap().flatten();
        (entries.filter(is_own).count() == 2).then_some(())
    });
    for entry in fs::read_dir(&logs).unwrap() {
        let entry = entry.unwrap();
        let size = entry.metadata().unwrap().len();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("long") {
            assert!(size <= 1 << 20, "{name} has {size} bytes");
            let text = fs::read_to_string(entry.path()).unwrap();
            let longest = text.lines().map(str::len).max();
            assert!(longest <= Some(LINE_MAX), "{name}: {longest:?}");
        } else {
            // The supervisor does not repeat the output of its processes.
            assert!(size < 16 << 10, "{name} has {size} bytes");
        }
    }
}

#[test]
fn a_variable_that_no_program_can_get_is_refused_at_once() {
    let mut sandbox = Sandbox::empty();
    let mut service = script("exec sleep 3600");
    let long = "x".repeat(200_000);
    service["process"]["env"] = json!({"BIG": long, "SMALL": "y"});
    sandbox.service("big", &service);
    for command in ["up", "big run"] {
        let run = sandbox.run(command).ends(10);
        assert!(
            run.stderr.contains("BIG of `big` has 200000 bytes"),
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("xxx"), "no value is shown");
    }
    sandbox.nothing_was_started();
    let doctor = sandbox.run("doctor --offline").ends(10);
    assert!(doctor.stdout.contains("BIG of `big`"), "{}", doctor.stdout);
    service["process"]["env"] = json!({"BIG": "x".repeat(120_000)});
    sandbox.edit("big", |manifest| *manifest = service);
    sandbox.up();
}

#[test]
fn a_running_stack_without_logs_is_not_told_to_be_started() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("silent", &script("exec sleep 3600"));
    let run = sandbox.run("logs").succeeds();
    assert!(
        run.stderr.contains("no logs yet; start the stack"),
        "{}",
        run.stderr
    );
    sandbox.up();
    for command in ["logs", "logs silent"] {
        let run = sandbox.run(command).succeeds();
        assert!(run.stderr.contains("the stack runs"), "{}", run.stderr);
        assert!(!run.stderr.contains("start"), "{}", run.stderr);
    }
}

#[test]
fn a_hint_names_no_log_that_does_not_exist() {
    let mut sandbox = Sandbox::empty();
    let mut service = script("exec false");
    service["process"]["compose"]["readiness_probe"] = json!({"tcp": {"port": "${port.http}"}});
    service["ports"] = json!({"http": {"port": 1}});
    sandbox.service("wordless", &service);
    let run = sandbox.run("up").ends(13);
    let hint = run
        .stderr
        .lines()
        .find(|line| line.starts_with("hint: "))
        .unwrap();
    let named = hint.split('`').nth(1).unwrap();
    assert!(sandbox.path(named).is_file(), "{hint}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_that_ends_the_supervisor_is_named() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &script("exec sleep 3600"));
    sandbox.service("two", &script("exec sleep 3600"));
    for (limit, expected) in [
        ("-n 20", "the limit of open files is 20"),
        ("-v 300000", "the limit of memory is 307 MB"),
    ] {
        let xtask = env!("CARGO_BIN_EXE_xtask");
        let script = format!("ulimit {limit}; exec {xtask} up");
        let run = sandbox.program(Path::new("/bin/sh"), &["-c", &script]);
        assert_ne!(run.code, 0, "{}", run.stderr);
        let hint = run.stderr.lines().find(|line| line.starts_with("hint: "));
        assert!(
            hint.is_some_and(|hint| hint.contains(expected)),
            "{}",
            run.stderr
        );
        sandbox.nothing_is_left_within(GONE_LIMIT);
    }
    sandbox.up();
}
