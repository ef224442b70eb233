//! Orders to a supervisor, and to processes, that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kit::Exit;
use kit::failure::exit_of;

use super::*;
use crate::base::interrupt::Interrupted;
use crate::supervisor::fake::bed::Bed;
use crate::supervisor::fake::{Fault, Script};
use crate::supervisor::state::Change;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(60);

/// Runs `order` on a stack of `a`, of `b`, which depends on it, and of `c`.
fn ordering(script: Script, order: impl FnOnce(&Bed, &Control<'_>)) {
    let bed = Bed::with(&[("a", &[]), ("b", &["a"]), ("c", &[])]);
    bed.fake.script("c", script);
    bed.boot();
    let (client, never) = (bed.ctx.client().unwrap(), Interrupt::default());
    order(&bed, &Control::new(&bed.ctx.paths, &client, &never));
}

fn within(limit: Duration) -> Limit {
    Limit::of(limit)
}

#[test]
fn a_stop_is_over_when_the_supervisor_has_let_go() {
    let listed_for = Duration::from_millis(60);
    let script = Script {
        listed_for,
        ..Script::default()
    };
    ordering(script, |bed, control| {
        let begun = Instant::now();
        assert!(control.stop("c", within(LONG)).unwrap());
        assert!(begun.elapsed() >= listed_for);
        assert!(!bed.fake.pid("c").1);
        assert_eq!(bed.fake.orders(), ["stop c"]);
        assert!(!control.stop("c", within(LONG)).unwrap(), "it ran no more");
        assert!(!control.stop("nobody", within(LONG)).unwrap());
        control.start(&["c"]).unwrap();
        assert!(bed.fake.pid("c").1);
    });
}

#[test]
fn an_end_may_be_late() {
    let ends_after = Duration::from_millis(300);
    let script = Script {
        ends_after,
        ..Script::default()
    };
    ordering(script, |bed, control| {
        let begun = Instant::now();
        assert!(control.stop("c", within(LONG)).unwrap());
        let took = begun.elapsed();
        assert!(took >= ends_after && took < 2 * ends_after, "{took:?}");
        assert!(!bed.fake.pid("c").1);
    });
}

#[test]
fn an_end_may_be_missed() {
    // The answer comes after the whole shutdown timeout, or not before we disconnect.
    for missed_for in [Duration::from_millis(30), LONG] {
        let script = Script {
            missed_for: Some(missed_for),
            ..Script::default()
        };
        ordering(script, |bed, control| {
            let begun = Instant::now();
            assert!(control.stop("c", within(LONG)).unwrap());
            assert!(begun.elapsed() < LONG / 10, "nobody waits for the answer");
            control.start(&["c"]).unwrap();
            assert_eq!(bed.fake.orders(), ["stop c", "start c"]);
        });
    }
}

#[test]
fn what_does_not_end_is_an_error_that_names_it() {
    let script = Script {
        never_ends: true,
        ..Script::default()
    };
    ordering(script, |_, control| {
        let error = control.stop("c", within(SHORT)).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Timeout);
        assert!(
            format!("{error:#}").contains("`c` did not stop"),
            "{error:#}"
        );
    });
}

#[test]
fn what_is_said_to_be_terminating_for_ever_has_ended_when_the_list_says_so() {
    let script = Script {
        ends_as_terminating: true,
        ..Script::default()
    };
    ordering(script, |bed, control| {
        assert!(control.stop("c", within(LONG)).unwrap());
        control.stop("c", within(LONG)).unwrap();
        control.start(&["c"]).unwrap();
        assert!(bed.fake.pid("c").1);
    });
}

#[test]
fn what_waits_for_another_ends_with_that() {
    let bed = Bed::with(&[("a", &[]), ("b", &["a"])]);
    let never_ready = Script {
        never_ready: true,
        ..Script::default()
    };
    bed.fake.script("a", never_ready);
    let (client, never) = (bed.ctx.client().unwrap(), Interrupt::default());
    let control = Control::new(&bed.ctx.paths, &client, &never);
    bed.begin();
    let waits = || {
        let states = client.processes().unwrap_or_default();
        states
            .get("b")
            .is_some_and(|state| state.status.as_str() == "Pending")
    };
    assert!(crate::base::poll::holds_by(
        Instant::now() + LONG,
        POLL,
        waits
    ));
    let error = control.stop("b", within(SHORT)).unwrap_err();
    assert_eq!(
        exit_of(&error),
        Exit::Timeout,
        "it is on the list, and waits"
    );
    let order = control.start(&["b"]).unwrap_err();
    assert!(
        format!("{order:#}").contains("running already"),
        "{order:#}"
    );
    control.stop("a", within(LONG)).unwrap();
    control.stop("b", within(LONG)).unwrap();
    assert!(!bed.fake.pid("b").1);
    bed.fake.crash();
}

#[test]
fn one_that_is_about_to_be_started_again_is_not() {
    let script = Script {
        restarts: Some((LONG, 9)),
        ..Script::default()
    };
    ordering(script, |bed, control| {
        bed.fake.end("c", 3);
        assert!(control.stop("c", within(LONG)).unwrap());
        assert!(!bed.fake.pid("c").1);
    });
}

#[test]
fn other_refusals_and_interrupts_end_an_order() {
    let script = Script {
        never_ends: true,
        ..Script::default()
    };
    ordering(script, |bed, control| {
        bed.fake
            .fault("PATCH /process/stop/c", Fault::Refuse(500, "no idea"));
        let error = control.stop("c", within(LONG)).unwrap_err();
        assert!(format!("{error:#}").contains("500: no idea"), "{error:#}");
        bed.fake
            .fault("POST /process/start/c", Fault::Refuse(400, "no idea"));
        assert!(control.start(&["c"]).is_err());

        let flag = Arc::new(AtomicBool::new(true));
        let interrupt = Interrupt::by_flag(Arc::clone(&flag));
        let client = bed.ctx.client().unwrap();
        let interrupted = Control::new(&bed.ctx.paths, &client, &interrupt);
        let error = interrupted.stop("c", within(LONG)).unwrap_err();
        assert!(error.is::<Interrupted>(), "{error:#}");
        flag.store(false, Ordering::Relaxed);
        bed.fake.end("c", 0);
        interrupted.stop("c", within(LONG)).unwrap();
        let slow = Script {
            accepted_for: LONG,
            ..Script::default()
        };
        bed.fake.script("c", slow);
        flag.store(true, Ordering::Relaxed);
        let error = interrupted.start(&["c"]).unwrap_err();
        assert!(error.is::<Interrupted>(), "{error:#}");
    });
}

#[test]
fn a_start_waits_for_the_books_and_for_the_first_sign() {
    let script = Script {
        listed_for: SHORT,
        accepted_for: SHORT,
        ..Script::default()
    };
    ordering(script, |bed, control| {
        bed.fake.end("c", 0);
        let begun = Instant::now();
        control.start(&["c"]).unwrap();
        assert!(begun.elapsed() >= 2 * SHORT);
        assert!(bed.fake.pid("c").1);
        // It is running by now, as requested.
        control.start(&["c"]).unwrap();
        control.signal("c", 1).unwrap();
        control.stop("c", within(LONG)).unwrap();
        assert!(control.signal("c", 1).is_err());
    });
}

#[test]
fn cut_and_unreadable_answers() {
    ordering(Script::default(), |bed, control| {
        let client = bed.ctx.client().unwrap();
        bed.fake.fault("GET /processes", Fault::Cut);
        assert_eq!(client.processes().unwrap().len(), 3, "asked again");
        bed.fake.fault("GET /processes", Fault::Cut);
        bed.fake.fault("GET /processes", Fault::Cut);
        let error = client.processes().unwrap_err();
        assert!(matches!(error.kind, Kind::Cut(_)), "{error:?}");
        bed.fake.fault("GET /processes", Fault::Garbage);
        let error = client.processes().unwrap_err();
        assert!(matches!(error.kind, Kind::Unreadable(_)), "{error:?}");
        for fault in [Fault::Cut, Fault::CutAfter, Fault::Silent] {
            bed.fake.fault("PATCH /process/stop/c", fault);
            assert!(control.stop("c", within(LONG)).unwrap());
            control.start(&["c"]).unwrap();
        }
        bed.fake.crash();
        let error = client.processes().unwrap_err();
        assert!(matches!(error.kind, Kind::Unreachable(_)), "{error:?}");
        assert!(control.stop("c", within(LONG)).is_err());
    });
}

#[test]
fn a_reload_that_has_lost_count_is_counted_by_us() {
    ordering(Script::default(), |bed, control| {
        let before = bed.ctx.client().unwrap().processes().unwrap();
        bed.fake.fault(
            "POST /project/configuration",
            Fault::Refuse(400, "no such process"),
        );
        bed.fake.end("c", 1);
        control.start(&["c"]).unwrap();
        let changes = control.reload(&before, LONG).unwrap();
        assert_eq!(changes, [("c".to_owned(), Change::Updated)].into());
        bed.fake.fault(
            "POST /project/configuration",
            Fault::Refuse(400, "yaml: line 3"),
        );
        let error = control.reload(&before, LONG).unwrap_err();
        assert!(matches!(error.kind, Kind::Refused { status: 400, .. }));
        bed.fake
            .fault("POST /project/configuration", Fault::Garbage);
        let error = control.reload(&before, LONG).unwrap_err();
        assert!(matches!(error.kind, Kind::Unreadable(_)));
    });
}
