//! The measured pushes of process-compose in each case, and the resulting events.

use engine::checkout::paths::Paths;
use serde_json::json;

use super::*;

const FIRST: &str = "2026-01-01T00:00:00.5Z";
/// The same as long as the entry lives, whatever happened since.
const HEALTHY: &str = "2026-01-01T00:00:00.75Z";
const SECOND: &str = "2026-01-02T00:00:00.5Z";

/// A state: status, readiness, process id, exit code, restarts, first start.
type Line = (&'static str, &'static str, i32, i32, u32, &'static str);

fn seen(number: usize, line: Line) -> Seen {
    let (status, is_ready, pid, exit_code, restarts, start) = line;
    let state = json!({"name": "nats", "status": status, "is_ready": is_ready, "pid": pid,
        "has_ready_probe": true, "restarts": restarts, "exit_code": exit_code, "age": 0,
        "is_running": true, "process_start_time": start, "process_ready_time": HEALTHY});
    Seen {
        at: format!("{number}"),
        state: serde_json::from_value(state).unwrap(),
    }
}

/// Returns all events that follow from states: event, process id, exit code, restarts.
fn told(known: Option<Known>, lines: &[Line]) -> (Option<Known>, Vec<String>) {
    let mut known = known;
    let mut told = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if let Some((now, facts)) = step(known.as_ref(), &seen(number, *line)) {
            known = Some(now);
            told.extend(facts.iter().map(|fact| {
                let pid = fact.pid.map_or("-".to_owned(), |pid| pid.to_string());
                let code = fact.exit_code.filter(|_| fact.kind == Kind::Crashed);
                let code = code.map_or(String::new(), |code| format!(" code {code}"));
                format!(
                    "{} {pid}{code} r{}",
                    kit::names::word(fact.kind),
                    fact.restarts
                )
            }));
        }
    }
    (known, told)
}

/// Returns what the next controller knows: the state after the last event.
fn from_the_stream(lines: &[Line]) -> Known {
    let mut known = None;
    let mut last = None;
    for (number, line) in lines.iter().enumerate() {
        if let Some((now, facts)) = step(known.as_ref(), &seen(number, *line)) {
            known = Some(now);
            last = facts.into_iter().next_back().or(last);
        }
    }
    let fact = last.expect("something has happened");
    let event = Event {
        pid: fact.pid,
        restarts: Some(fact.restarts),
        first_start: fact.first_start,
        ..Event::new(fact.kind, fact.at, &Paths::new("/x".into()))
    };
    Known::of(&event).expect("it is of a process")
}

const UP: [Line; 3] = [
    ("Pending", "-", 0, 0, 0, ""),
    ("Running", "-", 0, 0, 0, ""),
    ("Running", "Ready", 7, 0, 0, FIRST),
];
const CRASH: [Line; 3] = [
    ("Restarting", "-", 7, 137, 0, FIRST),
    ("Running", "-", 7, 137, 1, FIRST),
    ("Running", "Ready", 8, 137, 1, FIRST),
];

#[test]
fn a_life() {
    let stop: [Line; 2] = [
        ("Terminating", "-", 8, 137, 1, FIRST),
        ("Completed", "-", 8, 0, 1, FIRST),
    ];
    // After a restart by hand it is the same entry for the supervisor.
    let again: [Line; 2] = [
        ("Running", "-", 8, 0, 1, FIRST),
        ("Running", "Ready", 9, 0, 1, FIRST),
    ];
    let (_, told) = told(None, &[&UP[..], &CRASH, &stop, &again].concat());
    let expected = [
        "started - r0",
        "ready 7 r0",
        "crashed 7 code 137 r0",
        "restarted - r1",
        "ready 8 r1",
        "stopped 8 r1",
        "started - r1",
        "ready 9 r1",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_state_that_is_told_again_is_no_event() {
    for line in UP.iter().chain(&CRASH).skip(1) {
        let (known, _) = told(None, &[*line]);
        let (after, told) = told(known.clone(), &[*line]);
        assert_eq!((after, told), (known, Vec::new()), "{line:?}");
    }
    // Health that comes and goes is no start.
    let flaps: [Line; 2] = [
        ("Running", "Not Ready", 7, 0, 0, FIRST),
        ("Running", "Ready", 7, 0, 0, FIRST),
    ];
    let (known, _) = told(None, &UP);
    assert!(told(known, &flaps).1.is_empty());
}

#[test]
fn what_began_before_anybody_looked() {
    for (line, expected) in [
        (
            ("Running", "Ready", 7, 0, 0, FIRST),
            &["started 7 r0", "ready 7 r0"][..],
        ),
        (
            ("Running", "Ready", 9, -1, 2, FIRST),
            &[
                "started - r0",
                "crashed - r0",
                "restarted 9 r2",
                "ready 9 r2",
            ],
        ),
        (
            ("Restarting", "-", 7, 1, 1, FIRST),
            &["started - r0", "crashed - code 1 r0"],
        ),
        (
            ("Completed", "-", 7, 0, 0, FIRST),
            &["started 7 r0", "stopped 7 r0"],
        ),
        (
            ("Completed", "-", 7, 2, 0, FIRST),
            &["started 7 r0", "crashed 7 code 2 r0"],
        ),
        (("Error", "-", 0, 1, 0, ""), &["crashed - code 1 r0"]),
        (("Pending", "-", 0, 0, 0, ""), &[]),
        (("Disabled", "-", 0, 0, 0, ""), &[]),
        (("Skipped", "-", 0, 1, 0, ""), &[]),
    ] {
        assert_eq!(told(None, &[line]).1, expected, "{line:?}");
    }
    let times = |line: Line| {
        let (_, facts) = step(None, &seen(3, line)).unwrap();
        facts.into_iter().map(|fact| fact.at).collect::<Vec<_>>()
    };
    let (start, health) = ("2026-01-01T00:00:00.500Z", "2026-01-01T00:00:00.750Z");
    assert_eq!(times(("Running", "Ready", 7, 0, 0, FIRST)), [start, health]);
    assert_eq!(
        times(("Running", "Ready", 9, 1, 1, FIRST)),
        [start, "3", "3", "3"]
    );
}

#[test]
fn the_next_controller_tells_only_what_is_new() {
    let all = [&UP[..], &CRASH].concat();
    // Killed after any push: process-compose repeats its final state.
    for end in 2..=all.len() {
        let known = from_the_stream(&all[..end]);
        let (_, before) = told(None, &all[..end]);
        let (_, after) = told(Some(known), &all[5..]);
        let whole = [before, after].concat();
        let mut events: Vec<&str> = whole
            .iter()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        let first_ready = events.iter().position(|event| *event == "ready");
        // Only health between start and crash may be missed.
        if end == 2 {
            events.insert(1, "ready");
        } else {
            assert_eq!(first_ready, Some(1), "{whole:?}");
        }
        assert_eq!(
            events,
            ["started", "ready", "crashed", "restarted", "ready"],
            "{end}: {whole:?}"
        );
    }
}

#[test]
fn another_entry_of_that_name_is_started() {
    // The stack was stopped, including the server with the events, and started again.
    let known = from_the_stream(&[&UP[..], &CRASH[..1]].concat());
    let (_, after) = told(Some(known), &[("Running", "Ready", 7, 0, 0, SECOND)]);
    assert_eq!(after, ["started 7 r0", "ready 7 r0"]);
    // A changed entry replaces the old one.
    let reload: [Line; 4] = [
        ("Terminating", "-", 7, 0, 0, FIRST),
        ("Completed", "-", 7, 0, 0, FIRST),
        ("Running", "-", 0, 0, 0, ""),
        ("Running", "Ready", 8, 0, 0, SECOND),
    ];
    let (known, _) = told(None, &UP);
    let (_, after) = told(known, &reload);
    assert_eq!(after, ["stopped 7 r0", "started - r0", "ready 8 r0"]);
}

#[test]
fn ends_of_every_kind() {
    let (up, _) = told(None, &UP);
    for (lines, expected) in [
        // It exited by itself and is not restarted.
        (
            &[("Completed", "-", 7, 3, 0, FIRST); 2][..],
            &["crashed 7 code 3 r0"][..],
        ),
        (&[("Completed", "-", 7, 0, 0, FIRST); 2], &["stopped 7 r0"]),
        // It was stopped while it waited for its restart.
        (
            &[
                ("Restarting", "-", 7, 1, 0, FIRST),
                ("Terminating", "-", 7, 1, 1, FIRST),
                ("Completed", "-", 7, 1, 1, FIRST),
            ],
            &["crashed 7 code 1 r0", "stopped 7 r0"],
        ),
        // It was unhealthy for too long.
        (
            &[
                ("Terminating", "-", 7, 0, 0, FIRST),
                ("Restarting", "-", 7, 0, 0, FIRST),
            ],
            &["crashed 7 code 0 r0"],
        ),
        // The exit between two runs was not reported.
        (
            &[
                ("Terminating", "-", 7, 0, 0, FIRST),
                ("Running", "-", 8, 0, 0, FIRST),
            ],
            &["stopped 7 r0", "started 8 r0"],
        ),
    ] {
        assert_eq!(told(up.clone(), lines).1, expected, "{lines:?}");
    }
}
