//! The order of stages that are no checks of Core: the output about each, and the end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;

fn pass_these(stages: &[Stage], system: System, interrupt: &Interrupt) -> (Report, String) {
    let surroundings = Surroundings {
        root: std::env::temp_dir(),
        system,
        interrupt,
        // Other tests of this process have children, too.
        owns_children: false,
    };
    let mut out = Vec::new();
    let report = pass(stages, &surroundings, &mut out);
    (report, String::from_utf8(out).unwrap())
}

fn pass_quietly(stages: &[Stage]) -> (Report, String) {
    pass_these(stages, System::Other, &Interrupt::default())
}

#[test]
fn all_stages_pass() {
    let (report, out) = pass_quietly(&[stage("one", "true"), stage("two", "sh -c 'exit 0'")]);
    assert_eq!(report.code.unwrap(), 0);
    assert_eq!(
        report.summary,
        "== summary\n     0 s  one\n     0 s  two\nnothing was left out"
    );
    assert_eq!(out, "\n== one\n== one: 0 s\n\n== two\n== two: 0 s\n");
}

#[test]
fn a_stage_that_fails_is_the_last_one_and_gives_its_code() {
    let failing = [
        stage("one", "true"),
        stage("two", "sh -c 'exit 7'"),
        stage("three", "true"),
    ];
    let (report, out) = pass_quietly(&failing);
    assert_eq!(report.code.unwrap(), 7);
    assert!(!out.contains("three"), "{out}");
    let end = "\n     0 s  two\nnothing was left out\nfailed: two (exit 7): sh -c 'exit 7'";
    assert!(report.summary.ends_with(end), "{}", report.summary);
    let (report, _) = pass_quietly(&[stage("one", "false")]);
    assert_eq!(report.code.unwrap(), 1);
    let (report, _) = pass_quietly(&[stage("one", "sh -c 'kill -9 $$'")]);
    assert_eq!(report.code.unwrap(), 128 + 9);
}

#[test]
fn what_is_missing_is_counted_also_when_tests_fail() {
    let script = r#"sh -c '
        echo "missing: b" >>"$CORE_TESTS_MISSING"; echo "missing: a" >>"$CORE_TESTS_MISSING"
        echo "file: $CORE_TESTS_MISSING"; echo "test x ... FAILED" >&2; exit 101'"#;
    let tests = Stage {
        has_tests: true,
        ..stage("tests", script)
    };
    let (report, out) = pass_quietly(&[tests]);
    assert_eq!(report.code.unwrap(), 101);
    let expected = "== summary\n     0 s  tests\n2 not run:\nmissing: a\nmissing: b\n\
        test x ... FAILED\nfailed: tests (exit 101): ";
    assert!(report.summary.starts_with(expected), "{}", report.summary);
    let file = out.lines().find_map(|line| line.strip_prefix("file: "));
    assert!(!std::path::Path::new(file.unwrap()).exists(), "{out}");
    assert!(out.contains("\ntest x ... FAILED\n"), "{out}");
}

#[test]
fn a_program_that_is_not_there_has_a_summary_too() {
    let (report, _) = pass_quietly(&[stage("one", "no-such-program-of-core --check")]);
    let error = format!("{:#}", report.code.unwrap_err());
    let expected = "cannot run `no-such-program-of-core --check`: ";
    assert!(error.starts_with(expected), "{error}");
    assert!(report.summary.contains("\nfailed: one: no-such-program"));
}

#[test]
fn a_signal_ends_it_with_a_summary() {
    let interrupt = Interrupt::by_flag(Arc::new(AtomicBool::new(true)));
    let (report, _) = pass_these(&[stage("one", "true")], System::Other, &interrupt);
    assert!(
        report
            .code
            .unwrap_err()
            .is::<engine::base::interrupt::Interrupted>()
    );
    assert!(report.summary.ends_with("\ninterrupted: one"));
}

#[test]
fn a_stage_is_a_group_whose_output_issues_no_command() {
    let tests = Stage {
        has_tests: true,
        ..stage("tests", "echo ::error::x")
    };
    let (_, out) = pass_these(&[tests], System::GitHub, &Interrupt::default());
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[1], "::group::tests", "{out}");
    let token = lines[2].strip_prefix("::stop-commands::").unwrap();
    let end = format!("::{token}::");
    assert_eq!(
        lines[3..],
        ["::error::x", &end, "::endgroup::", "== tests: 0 s"]
    );
}
