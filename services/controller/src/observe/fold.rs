//! PURE: derives the events of a process from its previous and its observed state.
//!
//! The previous state comes from the last event, so no event is published twice, by any publisher.
//! Pushes of process-compose (1.120.0), as measured: `Restarting` after a crash, with a count of
//! restarts that may or may not include the next one; `Running` before there is a new process id,
//! with the old one; always the times of the first start, however often it was restarted.

use engine::supervisor::state::State;
use engine::supervisor::timing;
use engine::topology::events::{Event, Kind};

/// The exit code in process-compose for a process that a signal ended.
const SIGNALLED: i32 = -1;
/// The reason in an event that was inferred from later states.
const UNSEEN: &str = "noticed afterwards";

/// A state, and when it was observed.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// RFC 3339.
    pub(crate) at: String,
    pub(crate) state: State,
}

/// The known state of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    phase: Phase,
    pid: Option<i32>,
    restarts: u32,
    first_start: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Up,
    Ready,
    /// It was asked to stop.
    Stopping,
    /// It crashed and will be restarted.
    Restarting,
    /// It crashed.
    Failed,
    Stopped,
}

/// An event; its other fields are the same for all events of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) kind: Kind,
    pub(crate) at: String,
    pub(crate) pid: Option<i32>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) restarts: u32,
    pub(crate) first_start: Option<String>,
    pub(crate) reason: Option<&'static str>,
}

/// The meaning of a state.
enum Now {
    Runs { ready: bool },
    Stopping,
    Restarting,
    Ended,
    CannotStart,
}

impl Known {
    /// Returns the state after the last event of a process.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let phase = match event.event {
            Kind::Started | Kind::Restarted => Phase::Up,
            Kind::Ready => Phase::Ready,
            // Or it was not restarted; then this state stays.
            Kind::Crashed => Phase::Restarting,
            Kind::Stopped => Phase::Stopped,
            Kind::Applied | Kind::Failed => return None,
        };
        Some(Self {
            phase,
            pid: event.pid,
            restarts: event.restarts.unwrap_or_default(),
            first_start: event.first_start.clone(),
        })
    }
}

/// Returns the new state and the events since `known`; `None` when the state tells nothing.
pub(crate) fn step(known: Option<&Known>, seen: &Seen) -> Option<(Known, Vec<Fact>)> {
    let state = &seen.state;
    let now = match state.status.as_str() {
        "Running" | "Launching" | "Launched" | "Foreground" => Now::Runs {
            ready: state.is_ready == "Ready",
        },
        "Terminating" => Now::Stopping,
        "Restarting" => Now::Restarting,
        "Completed" => Now::Ended,
        "Error" => Now::CannotStart,
        _ => return None,
    };
    let first_start = first_start(state);
    let is_same = |known: &&Known| match (&known.first_start, &first_start) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    let mut story = Story {
        known: Known {
            phase: Phase::Stopped,
            pid: None,
            restarts: 0,
            first_start: first_start.clone(),
        },
        facts: Vec::new(),
        is_new: false,
        seen,
    };
    match known.filter(is_same) {
        Some(known) => {
            story.known = known.clone();
            if first_start.is_some() {
                story.known.first_start = first_start;
            }
        }
        None => story.begin(&now),
    }
    match now {
        Now::Runs { ready } => story.runs(ready),
        Now::Stopping => story.known.phase = Phase::Stopping,
        Now::Restarting if story.known.phase != Phase::Restarting => {
            story.crash(Phase::Restarting, None);
        }
        Now::CannotStart if story.known.phase != Phase::Failed => {
            story.crash(Phase::Failed, Some("it cannot be started"));
        }
        Now::Restarting | Now::CannotStart => {}
        Now::Ended => story.ended(),
    }
    Some((story.known, story.facts))
}

fn first_start(state: &State) -> Option<String> {
    let time = state.process_start_time.clone();
    time.filter(|time| !time.is_empty())
}

struct Story<'a> {
    known: Known,
    facts: Vec<Fact>,
    /// Whether it was started before we observed it.
    is_new: bool,
    seen: &'a Seen,
}

impl Story<'_> {
    /// Nothing is known: it was started before we observed it, unless it is just starting.
    fn begin(&mut self, now: &Now) {
        let Some(at) = self.known.first_start.clone() else {
            return;
        };
        if matches!(now, Now::CannotStart) {
            return;
        }
        let restarts = self.seen.state.restarts;
        if restarts == 0 {
            self.known.pid = self.pid();
        }
        self.known.phase = Phase::Up;
        self.is_new = true;
        let pid = self.known.pid;
        self.tell(Kind::Started, &timing::uniform(&at), pid, None, None);
        if matches!(now, Now::Restarting) {
            self.known.restarts = restarts.saturating_sub(1);
        }
    }

    fn runs(&mut self, ready: bool) {
        let (seen, state) = (self.seen, &self.seen.state);
        match self.known.phase {
            Phase::Restarting => self.start(Kind::Restarted),
            Phase::Stopped | Phase::Failed => self.start(Kind::Started),
            Phase::Stopping => {
                self.stop(Some(UNSEEN));
                self.start(Kind::Started);
            }
            Phase::Up | Phase::Ready if state.restarts > self.known.restarts => {
                self.crash(Phase::Restarting, Some(UNSEEN));
                self.start(Kind::Restarted);
            }
            Phase::Up | Phase::Ready => match (self.known.pid, self.pid()) {
                (Some(one), Some(other)) if one != other => self.start(Kind::Started),
                (None, pid) => self.known.pid = pid,
                _ => {}
            },
        }
        if ready && self.known.phase != Phase::Ready {
            self.known.phase = Phase::Ready;
            self.known.pid = self.pid().or(self.known.pid);
            let pid = self.known.pid;
            // Of the times of health, process-compose reports only the first.
            let first = state.process_ready_time.as_deref();
            let first = first.filter(|_| self.is_new && state.restarts == 0);
            let at = first.map_or_else(|| seen.at.clone(), timing::uniform);
            self.tell(Kind::Ready, &at, pid, None, None);
        }
    }

    fn start(&mut self, kind: Kind) {
        // It may still report the old one: then the new one is not known yet.
        let pid = self.pid().filter(|pid| Some(*pid) != self.known.pid);
        self.known.phase = Phase::Up;
        self.known.pid = pid;
        if kind == Kind::Restarted {
            self.known.restarts = self.seen.state.restarts.max(self.known.restarts + 1);
        } else {
            self.known.restarts = self.seen.state.restarts;
            // A new entry reports it later; the value of the old one would always differ from it.
            self.known.first_start = first_start(&self.seen.state);
        }
        self.tell(kind, &self.seen.at, pid, None, None);
    }

    fn ended(&mut self) {
        match self.known.phase {
            Phase::Stopping | Phase::Restarting => self.stop(None),
            Phase::Up | Phase::Ready if self.seen.state.exit_code == 0 => {
                self.stop(Some("it had done its work"));
            }
            Phase::Up | Phase::Ready => self.crash(Phase::Failed, None),
            Phase::Failed | Phase::Stopped => {}
        }
    }

    fn stop(&mut self, reason: Option<&'static str>) {
        self.known.phase = Phase::Stopped;
        let pid = self.known.pid;
        self.tell(Kind::Stopped, &self.seen.at, pid, self.exit_code(), reason);
    }

    fn crash(&mut self, phase: Phase, reason: Option<&'static str>) {
        self.known.phase = phase;
        let is_signalled = self.seen.state.exit_code == SIGNALLED;
        let reason = reason.or(is_signalled.then_some("ended by a signal"));
        let pid = self.known.pid;
        self.tell(Kind::Crashed, &self.seen.at, pid, self.exit_code(), reason);
    }

    /// Returns the process id in the state.
    fn pid(&self) -> Option<i32> {
        Some(self.seen.state.pid).filter(|pid| *pid > 0)
    }

    fn exit_code(&self) -> Option<i32> {
        Some(self.seen.state.exit_code).filter(|code| *code != SIGNALLED)
    }

    fn tell(
        &mut self,
        kind: Kind,
        at: &str,
        pid: Option<i32>,
        exit_code: Option<i32>,
        reason: Option<&'static str>,
    ) {
        self.facts.push(Fact {
            kind,
            at: at.to_owned(),
            pid,
            exit_code,
            restarts: self.known.restarts,
            first_start: self.known.first_start.clone(),
            reason,
        });
    }
}

#[cfg(test)]
mod tests;
