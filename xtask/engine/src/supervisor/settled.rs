//! When a process without a probe counts as started: its program has run for a short time.
//!
//! The supervisor reports `Running` for a runner that is about to start its program, and for one
//! whose program has ended already.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kit::manifest::Restart;

use super::state::State;

/// How long a program must have run: one that cannot be executed also runs for an instant.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// How long a program must have run that is not restarted after every exit: a job that fails has
/// usually failed by then. A longer time would delay every `up` of a program that keeps running.
const JOB_SETTLED_AFTER: Duration = Duration::from_secs(1);

/// How much longer a runner may run without a note on its program: it writes it within some
/// milliseconds, and never on a full disk.
const NOTE_LIMIT: Duration = Duration::from_secs(2);

/// What the stack says about a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// When it is started again.
    pub(super) restart: Restart,
    /// Whether its program runs below a runner.
    pub(super) runner: bool,
}

/// Since when programs have been seen running.
#[derive(Debug, Default)]
pub(super) struct Settling(BTreeMap<String, (i32, Instant)>);

impl Settling {
    /// Whether a process without a probe has run for long enough, or has ended.
    pub(super) fn has_settled(&mut self, state: &State, known: Known) -> bool {
        if state.has_ready_probe || !state.is_running {
            return true;
        }
        let wanted = wanted(known.restart);
        let age = Duration::from_nanos(u64::try_from(state.age).unwrap_or(0));
        if age < wanted {
            return false;
        }
        let is_old = age >= wanted + NOTE_LIMIT;
        if !known.runner {
            return true;
        }
        if state.runner.is_none() {
            return is_old;
        }
        if !kit::process::Process::read(state.pid).is_some_and(|program| program.runs()) {
            // Its runner will report the end soon.
            return false;
        }
        is_old || self.has_been_seen(&state.name, state.pid, wanted)
    }

    /// Whether this program of a process was first seen at least `wanted` ago.
    fn has_been_seen(&mut self, name: &str, pid: i32, wanted: Duration) -> bool {
        let now = Instant::now();
        let seen = self.0.entry(name.to_owned()).or_insert((pid, now));
        if seen.0 != pid {
            *seen = (pid, now);
        }
        seen.1.elapsed() >= wanted
    }
}

/// Returns how long a program must have run. One that is not always restarted may be a job, whose
/// exit shows whether it succeeded.
fn wanted(restart: Restart) -> Duration {
    match restart {
        Restart::Always => SETTLED_AFTER,
        Restart::OnFailure | Restart::No | Restart::ExitOnFailure => JOB_SETTLED_AFTER,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn state(has_ready_probe: bool, is_running: bool, age: i64) -> State {
        State {
            has_ready_probe,
            is_running,
            age,
            ..State::sample("Running")
        }
    }

    #[test]
    fn a_process_that_nobody_can_ask_must_have_run_for_a_moment() {
        let always = Known {
            restart: Restart::Always,
            runner: false,
        };
        let settled = |probe, runs, age, of: Known| {
            Settling::default().has_settled(&state(probe, runs, age), of)
        };
        assert!(!settled(false, true, 0, always));
        assert!(settled(false, true, SECOND / 2, always));
        assert!(settled(true, true, 0, always), "its probe has answered");
        assert!(settled(false, false, 0, always), "it did its work");
        for restart in [Restart::No, Restart::OnFailure, Restart::ExitOnFailure] {
            let job = Known {
                restart,
                runner: false,
            };
            assert!(!settled(false, true, SECOND / 2, job));
            assert!(settled(false, true, SECOND, job));
            assert!(settled(false, false, 0, job));
        }
    }

    fn program() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    fn with_program(pid: u32, age: i64) -> State {
        let mut state = state(false, true, age);
        state.pid = i32::try_from(pid).unwrap();
        state.runner = Some(1);
        state
    }

    #[test]
    fn it_is_the_program_that_must_have_run_and_not_its_runner() {
        let known = Known {
            restart: Restart::Always,
            runner: true,
        };
        let mut settling = Settling::default();
        assert!(
            !settling.has_settled(&state(false, true, SECOND), known),
            "no program yet"
        );
        assert!(
            settling.has_settled(&state(false, true, 3 * SECOND), known),
            "none is noted"
        );
        let mut first = program();
        let seen = with_program(first.id(), SECOND);
        assert!(
            !settling.has_settled(&seen, known),
            "seen for the first time"
        );
        std::thread::sleep(SETTLED_AFTER);
        assert!(settling.has_settled(&seen, known));
        let mut second = program();
        let again = with_program(second.id(), SECOND);
        assert!(!settling.has_settled(&again, known), "another program");
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(
            !settling.has_settled(&seen, known),
            "it has ended, its runner has not"
        );
        let old = with_program(second.id(), 3 * SECOND);
        assert!(
            Settling::default().has_settled(&old, known),
            "it has run for long"
        );
        second.kill().unwrap();
        second.wait().unwrap();
    }
}
