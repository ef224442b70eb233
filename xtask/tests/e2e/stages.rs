//! `cargo xtask ci` with a fake cargo that simulates the stages.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Sandbox, same};

/// Creates a cargo that runs `tests` for tests, and succeeds with everything else.
fn cargo(sandbox: &Sandbox, tests: &str) -> String {
    let script = sandbox.path("fake-cargo");
    let text = format!("#!/bin/sh\n[ \"$1\" = test ] || exit 0\n{tests}\n");
    fs::write(&script, text).expect("the sandbox can be written to");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    script.display().to_string()
}

/// Returns the summary, without times.
fn summary(stdout: &str) -> Vec<&str> {
    let lines = stdout.lines().skip_while(|line| *line != "== summary");
    let stage = |line| str::rsplit_once(line, " s  ").map_or(line, |(_, stage)| stage);
    lines.skip(1).map(stage).collect()
}

#[test]
fn a_stage_that_fails_gives_its_code_and_ends_it() {
    let sandbox = Sandbox::empty();
    let cargo = cargo(&sandbox, "echo 'test x ... FAILED'; exit 101");
    let run = sandbox.run_with("ci", &[("CARGO", &cargo)]).ends(101);
    let expected = [
        "formatting",
        "lints",
        "tests",
        "nothing was left out",
        "test x ... FAILED",
        "failed: tests (exit 101): cargo test --workspace",
    ];
    same("summary", summary(&run.stdout), expected.to_vec());
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_all_that_the_stage_started_and_the_summary_is_told() {
    use crate::harness::processes;
    use rustix::process::Signal;

    // Like a test that started a stack: in its own session, with a parent that has exited.
    let daemon = "(setsid sh -c 'echo $$ >daemon; echo ready; exec sleep 1000' &)\n\
                  echo 'missing: x' >>\"$CORE_TESTS_MISSING\"; sleep 1000";
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let sandbox = Sandbox::empty();
        let cargo = cargo(&sandbox, daemon);
        let mut running = sandbox.start_with("ci", &[("CARGO", &cargo)]);
        running.wait_for_stdout("ready");
        running.signal(signal);
        let run = running.wait().ends(code);
        let lines = summary(&run.stdout);
        same("last", lines.last(), Some(&"interrupted: tests"));
        let pid = sandbox.read("daemon").trim().parse().unwrap();
        same("daemon", processes::find(pid), None);
    }
}
