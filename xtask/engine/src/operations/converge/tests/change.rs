//! Changes of a running stack.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use kit::Exit;
use kit::failure::exit_of;
use serde_json::json;

use super::*;
use crate::base::digest;
use crate::plan::binaries::Installed;
use crate::supervisor::fake::{Fault, Script};
use crate::supervisor::stops;

/// `b` depends on `a`, `c` on `b`; `d` is independent.
const STACK: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &[])];

/// Checks that all run as the file says, none is lost, and `d` is the same process.
fn is_sound(bed: &Bed, d: (i32, bool)) {
    assert!(bed.fake.lost().is_empty(), "{:?}", bed.fake.lost());
    bed.fake.orders();
    let report = bed.up().unwrap();
    assert_eq!(report.outcome, Outcome::Unchanged);
    assert_eq!(bed.fake.orders(), ["reload"]);
    assert!(report.states.values().all(|state| state.is_running));
    assert_eq!(bed.fake.pid("d"), d);
}

#[test]
fn what_changes_is_stopped_before_the_file_is_read_and_started_in_order() {
    let bed = Bed::running(STACK);
    let d = bed.fake.pid("d");
    bed.change("a", &[]);
    bed.change("b", &["a"]);
    let slow = Script {
        ends_after: SHORT / 4,
        listed_for: SHORT / 8,
        ready_after: SHORT / 8,
        ..Script::default()
    };
    bed.fake.script("a", slow);
    let report = bed.up().unwrap();
    assert_eq!(
        changed(&report),
        [("a", "updated"), ("b", "updated")].into()
    );
    // The supervisor skips `b`, because `a` had ended when it checked.
    assert_eq!(bed.fake.orders(), ["stop b", "stop a", "reload", "start b"]);
    is_sound(&bed, d);
}

#[test]
fn what_comes_and_what_goes() {
    let bed = Bed::running(STACK);
    let d = bed.fake.pid("d");
    bed.remove("c");
    bed.service("e", &["b"], &json!({}));
    let report = bed.up().unwrap();
    assert_eq!(changed(&report), [("c", "removed"), ("e", "added")].into());
    assert_eq!(bed.fake.orders(), ["stop c", "reload"]);
    is_sound(&bed, d);
}

#[test]
fn a_missed_end_costs_no_process_and_no_time() {
    let bed = Bed::running(STACK);
    let d = bed.fake.pid("d");
    let missed = Script {
        missed_for: Some(LONG),
        ..Script::default()
    };
    bed.fake.script("a", missed);
    bed.change("a", &[]);
    let begun = Instant::now();
    assert_eq!(changed(&bed.up().unwrap()), [("a", "updated")].into());
    assert!(begun.elapsed() < LONG / 5);
    is_sound(&bed, d);
}

#[test]
fn a_refused_change_leaves_everything_running() {
    let refusal = Fault::Refuse(400, "yaml: line 3");
    for fault in [refusal, Fault::Cut, Fault::CutAfter, Fault::Garbage] {
        let bed = Bed::running(STACK);
        let d = bed.fake.pid("d");
        let file = fs::read(bed.ctx.paths.compose_file()).unwrap();
        bed.change("a", &[]);
        bed.fake.fault("POST /project/configuration", fault.clone());
        let error = bed.up().unwrap_err();
        assert_eq!(exit_of(&error), Exit::ReloadFailed, "{fault:?}");
        let text = format!("{error:#}");
        assert!(text.contains("was restored"), "{text}");
        assert_eq!(fs::read(bed.ctx.paths.compose_file()).unwrap(), file);
        bed.service("a", &[], &json!({}));
        is_sound(&bed, d);
    }
}

#[test]
fn a_change_that_fails_is_taken_back() {
    let never_ready = Script {
        never_ready: true,
        ..Script::default()
    };
    let crashes = Script {
        ends_with: Some((SHORT / 40, 3)),
        ..Script::default()
    };
    for (script, exit) in [(never_ready, Exit::Timeout), (crashes, Exit::ServiceFailed)] {
        let bed = Bed::running(STACK);
        let d = bed.fake.pid("d");
        let file = bed.ctx.paths.compose_file();
        let before = fs::read(&file).unwrap();
        let script = Script {
            once_changed: true,
            ..script
        };
        bed.fake.script("a", script);
        bed.change("a", &[]);
        bed.change("b", &["a"]);
        let limit = if exit == Exit::Timeout { SHORT } else { LONG };
        let error = within(&bed, limit).unwrap_err();
        assert_eq!(exit_of(&error), Exit::ReloadFailed);
        let text = format!("{error:#}");
        assert!(
            text.contains("`a`") && text.contains("was restored"),
            "{text}"
        );
        let what = if exit == Exit::Timeout {
            "healthy within"
        } else {
            "exit code 3"
        };
        assert!(text.contains(what), "{text}");
        assert_eq!(fs::read(&file).unwrap(), before);
        bed.service("a", &[], &json!({}));
        bed.service("b", &["a"], &json!({}));
        is_sound(&bed, d);
    }
}

#[test]
fn an_interrupted_change_is_taken_back() {
    let bed = Bed::running(STACK);
    let d = bed.fake.pid("d");
    bed.change("a", &[]);
    let slow = Script {
        ready_after: LONG,
        once_changed: true,
        ..Script::default()
    };
    bed.fake.script("a", slow);
    let interrupt = Interrupt::by_flag(Arc::new(AtomicBool::new(true)));
    let error = bed.converge(&options(), &interrupt).unwrap_err();
    assert!(format!("{error:#}").contains("was restored"), "{error:#}");
    bed.service("a", &[], &json!({}));
    bed.up().unwrap();
    is_sound(&bed, d);
}

#[test]
fn a_supervisor_may_crash_in_the_middle() {
    let bed = Bed::spawning(STACK);
    bed.boot();
    bed.change("a", &[]);
    bed.fake.fault("POST /project/configuration", Fault::Crash);
    let error = bed.up().unwrap_err();
    assert_eq!(exit_of(&error), Exit::ReloadFailed, "{error:#}");
    assert!(
        format!("{error:#}").contains("so did restoring"),
        "{error:#}"
    );
    assert_eq!(bed.up().unwrap().outcome, Outcome::Started);
}

#[test]
fn what_a_killed_command_has_stopped_is_started() {
    let bed = Bed::with(STACK);
    let once = json!({"process": {"command": "true"}});
    bed.manifest("e", &once);
    bed.boot();
    let d = bed.fake.pid("d");
    // The file was written, and the supervisor has not read it. `e` has no probe.
    let paths = &bed.ctx.paths;
    super::super::under_way::add(paths, &["a".to_owned(), "e".to_owned()].into()).unwrap();
    bed.fake.end("a", 0);
    bed.fake.end("e", 0);
    let report = bed.up().unwrap();
    assert_eq!(
        changed(&report),
        [("a", "started"), ("e", "started")].into()
    );
    is_sound(&bed, d);
    // It exited by itself with code 0 and has no probe, so its work is done.
    bed.fake.end("e", 0);
    assert_eq!(bed.up().unwrap().outcome, Outcome::Unchanged);
}

#[test]
fn what_had_ended_is_started_again() {
    let bed = Bed::running(STACK);
    let d = bed.fake.pid("d");
    stops::save(&bed.ctx.paths, &["b".to_owned()].into()).unwrap();
    bed.fake.end("b", 0);
    bed.fake.end("c", 1);
    let report = bed.up().unwrap();
    assert_eq!(
        changed(&report),
        [("b", "started"), ("c", "started")].into()
    );
    assert_eq!(bed.fake.orders(), ["reload", "start b", "start c"]);
    assert!(stops::load(&bed.ctx.paths).is_empty());
    is_sound(&bed, d);
    let ends = Script {
        ends_as_terminating: true,
        ..Script::default()
    };
    bed.fake.script("a", ends);
    bed.fake.end("a", 0);
    bed.up().unwrap();
    assert_eq!(bed.fake.orders(), ["stop a", "reload", "start a"]);
    is_sound(&bed, d);
}

#[test]
fn a_program_that_was_replaced_is_started_again() {
    let bed = Bed::spawning(STACK);
    bed.boot();
    let path = bed.ctx.paths.root().join("program");
    fs::copy("/bin/sleep", &path).unwrap();
    let mut installed = bed.installed();
    let mut child = Command::new(&path).arg("60").spawn().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another program").unwrap();
    let program = Installed {
        sha256: digest::of_file(&path).unwrap(),
        path,
        ..installed["process-compose"].clone()
    };
    installed.insert("program".to_owned(), program);
    bed.fake
        .lie("a", "Running", i32::try_from(child.id()).unwrap());
    let report = bed.converge_with(installed, &options(), &Interrupt::default());
    child.kill().unwrap();
    child.wait().unwrap();
    let report = report.unwrap();
    assert_eq!(changed(&report), [("a", "restarted (new binary)")].into());
    assert_eq!(bed.fake.orders(), ["reload", "stop a", "start a"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_an_older_command_has_lost_is_ended_with_all() {
    let bed = Bed::spawning(&[("lost", &[]), ("d", &[])]);
    bed.boot();
    // A child of the supervisor that leads its own group, and is not on the list.
    let mut lost = Command::new("/bin/sleep")
        .arg("60")
        .env("PC_PROC_NAME", "lost")
        .process_group(0)
        .spawn()
        .unwrap();
    let report = bed.up().unwrap();
    let ended = lost.try_wait().unwrap();
    lost.kill().unwrap();
    assert!(ended.is_some());
    assert_eq!(report.outcome, Outcome::Started);
    assert_eq!(bed.fake.orders(), ["down"]);
}
