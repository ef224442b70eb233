//! Starts from nothing, or from what an earlier run left.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use kit::Exit;
use kit::failure::exit_of;

use super::*;
use crate::base::interrupt::Interrupted;
use crate::base::poll::holds_by;
use crate::operations::up::Mode;
use crate::supervisor::BINARY;
use crate::supervisor::alive;
use crate::supervisor::fake::Script;
use crate::supervisor::operation::StopRequest;

/// Whether nothing is left of the stack.
fn is_down(bed: &Bed) -> bool {
    let paths = &bed.ctx.paths;
    !alive::is_held(&paths.alive_lock()).unwrap()
        && !paths.compose_file().exists()
        && !bed.ctx.client().unwrap().is_reachable()
}

#[test]
fn everything_is_started_in_order() {
    let bed = Bed::spawning(&[("a", &[]), ("b", &["a"])]);
    let slow = Script {
        ready_after: Duration::from_millis(30),
        ..Script::default()
    };
    bed.fake.script("a", slow);
    let report = bed.up().unwrap();
    assert_eq!(report.outcome, Outcome::Started);
    assert!(report.states.values().all(|state| state.is_running));
    assert!(report.states["a"].process_ready_time <= report.states["b"].process_start_time);
    assert!(alive::is_held(&bed.ctx.paths.alive_lock()).unwrap());
    assert_eq!(bed.fake.orders(), [""; 0]);
}

#[test]
fn what_does_not_become_healthy_is_stopped_again() {
    let never_ready = Script {
        never_ready: true,
        ..Script::default()
    };
    let crashes = Script {
        ends_with: Some((Duration::from_millis(5), 3)),
        ..Script::default()
    };
    let cannot_start = Script {
        cannot_start: true,
        ..Script::default()
    };
    for (script, exit, words) in [
        (never_ready, Exit::Timeout, "did not become healthy"),
        (crashes, Exit::ServiceFailed, "with exit code 3"),
        (cannot_start, Exit::ServiceFailed, "cannot be started"),
    ] {
        let bed = Bed::spawning(&[("a", &[]), ("b", &["a"])]);
        bed.fake.script("a", script);
        let limit = if exit == Exit::Timeout { SHORT } else { LONG };
        let error = within(&bed, limit).unwrap_err();
        assert_eq!(exit_of(&error), exit, "{error:#}");
        let text = format!("{error:#}");
        assert!(text.contains("`a`") && text.contains(words), "{text}");
        assert_eq!(bed.fake.orders(), ["down"]);
        assert!(is_down(&bed));
    }
}

#[test]
fn a_user_may_give_up() {
    let bed = Bed::spawning(&[("a", &[])]);
    let interrupt = Interrupt::by_flag(Arc::new(AtomicBool::new(true)));
    let never_ready = Script {
        never_ready: true,
        ..Script::default()
    };
    bed.fake.script("a", never_ready);
    let error = bed.converge(&options(), &interrupt).unwrap_err();
    assert!(error.is::<Interrupted>(), "{error:#}");
    assert!(is_down(&bed));

    let _down = StopRequest::announce(&bed.ctx.paths).unwrap().unwrap();
    let error = bed.up().unwrap_err();
    assert_eq!(exit_of(&error), Exit::ServiceFailed);
    assert!(format!("{error:#}").contains("down"), "{error:#}");
    assert!(is_down(&bed));
}

#[test]
fn a_supervisor_may_end_while_it_starts() {
    let bed = Bed::spawning(&[("a", &[])]);
    let program = bed.ctx.paths.root().join(BINARY);
    fs::write(&program, "#!/bin/sh\necho no such thing >&2\nexit 7\n").unwrap();
    let error = bed.up().unwrap_err();
    assert_eq!(exit_of(&error), Exit::ServiceFailed);
    assert!(format!("{error:#}").contains("no such thing"), "{error:#}");
    assert!(is_down(&bed));
    fs::remove_file(&program).unwrap();
    assert!(bed.up().is_err());
    assert!(is_down(&bed));
}

#[test]
fn a_supervisor_may_end_while_it_is_waited_for() {
    let bed = Bed::spawning(&[("a", &[])]);
    let never_ready = Script {
        never_ready: true,
        ..Script::default()
    };
    bed.fake.script("a", never_ready);
    let error = thread::scope(|scope| {
        let up = scope.spawn(|| bed.up());
        let client = bed.ctx.client().unwrap();
        let is_live = || client.is_live();
        assert!(holds_by(Instant::now() + LONG, SHORT / 100, is_live));
        bed.fake.crash();
        up.join().unwrap().unwrap_err()
    });
    assert_eq!(exit_of(&error), Exit::ServiceFailed, "{error:#}");
    assert!(is_down(&bed));
}

#[test]
fn a_reload_needs_something_that_runs() {
    let bed = Bed::spawning(&[("a", &[])]);
    let reload = UpOptions {
        mode: Mode::Reload,
        ..options()
    };
    let error = bed.converge(&reload, &Interrupt::default()).unwrap_err();
    assert_eq!(exit_of(&error), Exit::NotRunning);
    assert!(!bed.ctx.paths.compose_file().exists());
}

#[test]
fn what_is_about_to_end_is_waited_for() {
    let bed = Bed::spawning(&[("a", &[])]);
    kit::files::create_private_dir(&bed.ctx.paths.state()).unwrap();
    let lock = alive::try_claim(&bed.ctx.paths.alive_lock())
        .unwrap()
        .unwrap();
    let report = thread::scope(|scope| {
        let up = scope.spawn(|| bed.up());
        // Meanwhile the command polls for an answer.
        thread::sleep(crate::supervisor::fake::A_MOMENT);
        drop(lock);
        up.join().unwrap().unwrap()
    });
    assert_eq!(report.outcome, Outcome::Started);
}

#[test]
fn a_supervisor_whose_directory_was_deleted_is_stopped_first() {
    let bed = Bed::spawning(&[("a", &[])]);
    bed.boot();
    fs::remove_dir_all(bed.ctx.paths.state()).unwrap();
    assert_eq!(bed.up().unwrap().outcome, Outcome::Started);
    assert_eq!(bed.fake.orders(), ["down"]);
}
