//! `cargo xtask logs`: lines with process and time; escaped, and for as long as wanted.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Sandbox, same};

/// Bytes that clear a screen, set a title and are no text.
const HOSTILE: &str = r"printf '\033[31mred\033[0m \033[2J\033]0;title\007 \377 end\n'";

/// Returns a service that runs a script and then waits for its stop.
fn script(script: &str) -> Value {
    let script = format!("{script}; exec sleep 3600");
    json!({"process": {"command": "sh", "args": ["-c", script]}})
}

/// Returns the times of plain lines.
fn times(text: &str) -> Vec<&str> {
    let line = |line: &'_ str| {
        line.split(' ')
            .find(|word| word.starts_with("20"))
            .map(str::len)
    };
    assert!(text.lines().all(|text| line(text) == Some(24)), "{text}");
    let of = |line| str::split(line, ' ').find(|word: &&str| word.starts_with("20"));
    text.lines().filter_map(of).collect()
}

#[test]
fn logs_of_all_processes_by_time_also_after_the_stack_is_down() {
    let sandbox = Sandbox::core();
    let none = sandbox.run("logs").succeeds();
    same("no logs", none.stdout.as_str(), "");
    assert!(none.stderr.starts_with("no logs yet"), "{}", none.stderr);

    sandbox.up();
    let all = sandbox.run("logs").succeeds();
    same("talk", all.stderr.as_str(), "");
    assert!(times(&all.stdout).is_sorted(), "{}", all.stdout);
    let ready: Vec<&str> = all
        .stdout
        .lines()
        .filter(|line| line.contains("READY: "))
        .collect();
    let names: Vec<&str> = ready
        .iter()
        .filter_map(|line| line.split(' ').next())
        // It starts in parallel with Caddy.
        .filter(|name| *name != "controller")
        .collect();
    same("the order", names, vec!["nats", "pocketbase", "caddy"]);
    assert!(ready[0].starts_with("nats       | 20"), "{}", ready[0]);
    assert!(!all.stdout.contains('\x1b'), "no colours in a pipe");

    let some = sandbox
        .run("logs caddy nats --grep ^READY")
        .succeeds()
        .stdout;
    same("two", some.lines().count(), 2);
    let warnings = sandbox.run("logs --level warn").succeeds().stdout;
    assert!(
        warnings.contains("[WRN]") && warnings.contains(r#""level":"warn""#),
        "{warnings}"
    );
    assert!(
        !warnings.contains("[INF]") && !warnings.contains("READY"),
        "{warnings}"
    );
    let last = sandbox.run("logs --tail 2").succeeds().stdout;
    same("the last", last.lines().count(), 2);
    assert!(all.stdout.contains(&last), "{last}");
    let recent = sandbox.run("logs --since 1h").succeeds().stdout;
    assert!(recent.contains(&all.stdout), "{recent}");
    let future = sandbox.run("logs --since 2200-01-01T00:00:00Z").succeeds();
    same("nothing", future.stdout.as_str(), "");

    let objects = sandbox.run("logs nats --json").succeeds().stdout;
    for line in objects.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        same("version", &object["schema_version"], &json!(1));
        same("process", &object["process"], &json!("nats"));
        assert!(
            object["time"].is_string() && object["text"].is_string(),
            "{line}"
        );
    }
    assert!(objects.contains(r#""level":"warn""#), "{objects}");

    sandbox.down();
    let after = sandbox.run("logs").succeeds().stdout;
    assert!(
        after.starts_with(&all.stdout),
        "they are still there: {after}"
    );
}

#[test]
fn names_that_nobody_has() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("hello", &script("echo hi"));
    let run = sandbox.run("logs helo").ends(2);
    same("stdout", run.stdout.as_str(), "");
    let expected =
        "error: `helo` is neither a service nor a process\nhint: did you mean `hello`?\n";
    same("stderr", run.stderr.as_str(), expected);
    sandbox.run("logs --grep (").ends(2);
    // Its log outlives its manifest, and a broken manifest hides no log.
    sandbox.up();
    sandbox.down();
    sandbox.service_text("hello", "{");
    let run = sandbox.run("logs hello").succeeds();
    assert!(run.stdout.ends_with("Z hi\n"), "{}", run.stdout);
}

#[test]
fn a_log_cannot_drive_the_terminal() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("hostile", &script(HOSTILE));
    sandbox.up();
    let mut follow = sandbox.start("logs -f");
    follow.wait_for_stdout(" end\n");
    follow.signal(Signal::INT);
    let run = follow.wait().succeeds();
    // The supervisor has replaced the byte that is no text by U+FFFD.
    let expected = " red ^[[2J^[]0;title^G \u{fffd} end\n";
    assert!(run.stdout.ends_with(expected), "{:?}", run.stdout);
    let object = sandbox.run("logs --json").succeeds();
    let text = object.json()["text"].clone();
    same(
        "text",
        text,
        json!("red \u{1b}[2J\u{1b}]0;title\u{7} \u{fffd} end"),
    );
    assert!(!object.stdout.contains('\x1b'), "{}", object.stdout);

    // On a terminal only the name has a colour.
    let mut terminal = sandbox.on_terminal("logs", &[]);
    terminal.wait_for_stdout(" end");
    let run = terminal.wait().succeeds();
    same("escapes", run.stdout.matches('\x1b').count(), 2);
    assert!(
        run.stdout.contains("\x1b[36mhostile |\x1b[0m 20"),
        "{:?}",
        run.stdout
    );
    let mut terminal = sandbox.on_terminal("logs", &[("NO_COLOR", "1")]);
    terminal.wait_for_stdout(" end");
    let run = terminal.wait().succeeds();
    same("escapes", run.stdout.matches('\x1b').count(), 0);
}

#[test]
fn following_misses_nothing_through_rotation_and_restarts() {
    let mut sandbox = Sandbox::empty();
    // Some 3 MB, rotated at 1 MB.
    let count = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo \"tick $i $pad\"; done; echo over";
    let mut manifest = script(&format!("pad=$(printf '%1000s' x); {count}"));
    manifest["process"]["compose"] = json!({"log": {"max_size": "1mb"}});
    sandbox.service("chatty", &manifest);
    let mut follow = sandbox.start("logs -f");
    sandbox.up();
    follow.wait_for_stdout(" over\n");
    sandbox.run("restart chatty").succeeds();
    let both = |text: &str| text.matches(" over\n").count() == 2;
    crate::harness::eventually("the second run", crate::harness::SOON, || {
        both(&follow.stdout()).then_some(())
    });
    follow.signal(Signal::INT);
    let run = follow.wait().succeeds();
    let ticks: Vec<u32> = run
        .stdout
        .lines()
        .filter_map(|line| line.split(" tick ").nth(1)?.split(' ').next()?.parse().ok())
        .collect();
    let expected: Vec<u32> = (1..=3000).chain(1..=3000).collect();
    assert!(
        ticks == expected,
        "{} lines, {:?} ...",
        ticks.len(),
        &ticks[..10]
    );
    let logs = std::fs::read_dir(sandbox.path(".core-stack/logs")).unwrap();
    let rotated = logs
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("chatty-"));
    assert!(rotated.count() >= 2, "it was rotated");
    let again = sandbox.run("logs chatty --grep tick").succeeds();
    same("all of it", again.stdout.lines().count(), 6000);
}

#[test]
fn following_ends_with_its_reader_though_nothing_is_said() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("quiet", &script("echo once"));
    sandbox.up();
    let pipe = format!("'{}' logs -f | head -n 1", env!("CARGO_BIN_EXE_xtask"));
    let run = sandbox
        .program("/bin/sh".as_ref(), &["-c", &pipe])
        .succeeds();
    assert!(run.stdout.ends_with(" once\n"), "{}", run.stdout);
}
