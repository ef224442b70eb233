//! Restart, stop, start and signal, with a supervisor that misbehaves.

use std::time::Instant;

use kit::failure::exit_of;

use super::*;
use crate::supervisor::fake::bed::Bed;
use crate::supervisor::fake::{Fault, Script};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(120);

/// `b` depends on `a`; `c` is independent.
fn bed() -> Bed {
    Bed::running(&[("a", &[]), ("b", &["a"]), ("c", &[])])
}

fn options(timeout: Duration) -> Options {
    Options {
        timeout,
        lock: LockWait::For(LONG),
        with_dependents: false,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn done(bed: &Bed, verb: Verb, names: &[&str]) -> BTreeMap<String, &'static str> {
    run(&bed.ctx, verb, &words(names), options(LONG))
        .unwrap()
        .outcomes
}

fn outcomes(outcomes: &[(&str, &'static str)]) -> BTreeMap<String, &'static str> {
    let outcomes = outcomes.iter();
    outcomes
        .map(|(name, what)| ((*name).to_owned(), *what))
        .collect()
}

#[test]
fn each_restart_waits_for_the_last_one() {
    let bed = bed();
    let slow = Script {
        ends_after: SHORT,
        listed_for: SHORT / 4,
        ready_after: SHORT / 4,
        ..Script::default()
    };
    bed.fake.script("a", slow);
    let before = bed.fake.pid("a");
    let restarted = done(&bed, Verb::Restart, &["b", "a"]);
    assert_eq!(
        restarted,
        outcomes(&[("a", "restarted"), ("b", "restarted")])
    );
    assert_eq!(
        bed.fake.orders(),
        ["stop a", "start a", "stop b", "start b"]
    );
    assert_ne!(bed.fake.pid("a"), before);
    assert!(bed.fake.lost().is_empty());
}

#[test]
fn a_restart_with_dependents_ends_them_first() {
    let bed = bed();
    let all = Options {
        with_dependents: true,
        ..options(LONG)
    };
    let report = run(&bed.ctx, Verb::Restart, &words(&["a"]), all).unwrap();
    assert_eq!(
        report.outcomes,
        outcomes(&[("a", "restarted"), ("b", "restarted")])
    );
    assert_eq!(
        bed.fake.orders(),
        ["stop b", "stop a", "start a", "start b"]
    );
    assert!(report.states.values().all(|state| state.is_running));

    // A process that is not running is only started, and its dependents only if they are running.
    done(&bed, Verb::Stop, &["a", "b"]);
    bed.fake.orders();
    let report = run(&bed.ctx, Verb::Restart, &words(&["a"]), all).unwrap();
    assert_eq!(report.outcomes, outcomes(&[("a", "started")]));
    assert_eq!(bed.fake.orders(), ["stop a", "start a"]);
}

#[test]
fn a_stop_and_a_start() {
    let bed = bed();
    assert_eq!(
        done(&bed, Verb::Stop, &["a", "b"]),
        outcomes(&[("a", "stopped"), ("b", "stopped")])
    );
    assert_eq!(bed.fake.orders(), ["stop b", "stop a"]);
    assert_eq!(
        stops::load(&bed.ctx.paths),
        BTreeSet::from(["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(
        done(&bed, Verb::Stop, &["a"]),
        outcomes(&[("a", "unchanged")])
    );
    bed.fake.orders();
    // Together with its dependency.
    assert_eq!(
        done(&bed, Verb::Start, &["b"]),
        outcomes(&[("a", "started"), ("b", "started")])
    );
    assert_eq!(bed.fake.orders(), ["start a", "start b"]);
    assert!(stops::load(&bed.ctx.paths).is_empty());
    assert_eq!(
        done(&bed, Verb::Start, &["b", "c"]),
        outcomes(&[("b", "unchanged"), ("c", "unchanged")])
    );
    assert_eq!(bed.fake.orders(), [""; 0]);
    done(&bed, Verb::Stop, &["a", "b"]);
    bed.fake.orders();
    assert_eq!(
        done(&bed, Verb::Restart, &["b"]),
        outcomes(&[("a", "started"), ("b", "started")])
    );
}

#[test]
fn ends_that_are_missed_or_never_shown() {
    let missed = Script {
        missed_for: Some(LONG),
        ..Script::default()
    };
    let as_terminating = Script {
        ends_as_terminating: true,
        ..Script::default()
    };
    for script in [missed, as_terminating] {
        let bed = bed();
        bed.fake.script("a", script);
        let begun = Instant::now();
        assert_eq!(
            done(&bed, Verb::Restart, &["a"]),
            outcomes(&[("a", "restarted")])
        );
        assert_eq!(
            done(&bed, Verb::Stop, &["a"]),
            outcomes(&[("a", "stopped")])
        );
        assert_eq!(
            done(&bed, Verb::Start, &["a"]),
            outcomes(&[("a", "started")])
        );
        assert!(begun.elapsed() < LONG / 4);
        assert!(bed.fake.pid("a").1);
    }
}

#[test]
fn what_does_not_end_or_start_in_time() {
    let bed = bed();
    let never = Script {
        never_ends: true,
        ..Script::default()
    };
    bed.fake.script("c", never);
    let error = run(&bed.ctx, Verb::Restart, &words(&["c"]), options(SHORT)).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Timeout);
    assert!(
        format!("{error:#}").contains("`c` did not stop"),
        "{error:#}"
    );

    let never_ready = Script {
        never_ready: true,
        ..Script::default()
    };
    bed.fake.script("a", never_ready);
    let error = run(&bed.ctx, Verb::Restart, &words(&["a"]), options(SHORT)).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Timeout);
    assert!(format!("{error:#}").contains("`a` did not "), "{error:#}");

    let cannot = Script {
        cannot_start: true,
        ..Script::default()
    };
    bed.fake.script("a", cannot);
    let error = run(&bed.ctx, Verb::Restart, &words(&["a"]), options(LONG)).unwrap_err();
    assert_eq!(exit_of(&error), Exit::ServiceFailed);
}

#[test]
fn a_refusal_is_told_as_it_is() {
    let bed = bed();
    bed.fake
        .fault("POST /process/start/a", Fault::Refuse(400, "no idea"));
    let error = run(&bed.ctx, Verb::Restart, &words(&["a"]), options(LONG)).unwrap_err();
    assert!(format!("{error:#}").contains("no idea"), "{error:#}");
    let error = run(&bed.ctx, Verb::Restart, &words(&["nobody"]), options(LONG)).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Usage);
}

#[test]
fn signals_go_to_what_runs() {
    let bed = bed();
    assert_eq!(
        signal(&bed.ctx, &words(&["a", "b"]), 10).unwrap(),
        ["a", "b"]
    );
    assert_eq!(bed.fake.orders(), ["signal a 10", "signal b 10"]);
    done(&bed, Verb::Stop, &["b"]);
    bed.fake.orders();
    let error = signal(&bed.ctx, &words(&["a", "b"]), 10).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Unhealthy);
    assert_eq!(bed.fake.orders(), [""; 0], "nobody was signalled");
}

#[test]
fn without_a_supervisor_there_is_nobody_to_order() {
    let bed = Bed::with(&[("a", &[])]);
    let all = [
        run(&bed.ctx, Verb::Stop, &words(&["a"]), options(LONG)).map(drop),
        signal(&bed.ctx, &words(&["a"]), 1).map(drop),
    ];
    for result in all {
        assert_eq!(exit_of(&result.unwrap_err()), Exit::NotRunning);
    }
    bed.boot();
    bed.fake.fall_silent();
    let all = [
        run(&bed.ctx, Verb::Stop, &words(&["a"]), options(LONG)).map(drop),
        signal(&bed.ctx, &words(&["a"]), 1).map(drop),
    ];
    for result in all {
        let error = result.unwrap_err();
        assert_eq!(exit_of(&error), Exit::NotRunning);
        assert!(format!("{error:#}").contains("no supervisor"), "{error:#}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_supervisor_that_has_lost_a_process_is_not_ordered_about() {
    use std::os::unix::process::CommandExt as _;
    let bed = Bed::spawning(&[("astray", &[])]);
    bed.boot();
    let mut lost = std::process::Command::new("/bin/sleep")
        .arg("60")
        .env("PC_PROC_NAME", "astray")
        .process_group(0)
        .spawn()
        .unwrap();
    let result = run(&bed.ctx, Verb::Restart, &words(&["astray"]), options(LONG));
    lost.kill().unwrap();
    lost.wait().unwrap();
    let error = result.unwrap_err();
    assert_eq!(exit_of(&error), Exit::Unhealthy);
    assert!(format!("{error:#}").contains("`astray`"), "{error:#}");
    assert_eq!(bed.fake.orders(), [""; 0]);
}
