//! What process-compose says of its processes (`GET /processes`, read at 1.120.0), and of what a
//! reload has changed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// All processes by name.
pub type States = BTreeMap<String, State>;

/// What was done to each process that a change concerned.
pub type Changes = BTreeMap<String, Change>;

/// The answer of `GET /processes`.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) data: Vec<State>,
}

/// What the supervisor says on the websocket [`PUSHES`]: of every process at first, then of each
/// whose state has changed.
#[derive(Debug, Clone, Deserialize)]
pub struct Push {
    /// The process.
    pub state: State,
}

/// The websocket on which states are told as they change.
pub const PUSHES: &str = "/process/states/ws";

/// A type whose values are words. Words that are not known are kept as they are, so that another
/// version of the supervisor is understood as far as it can be.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
            /// A word that is not known here.
            Other(String),
        }

        impl $name {
            /// The word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$value => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$value,)*
                    _ => Self::Other(word),
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The supervisor's word for what a process does.
    Status {
        /// It is not meant to run.
        Disabled = "Disabled",
        /// It is run by hand.
        Foreground = "Foreground",
        /// It waits for its time.
        Scheduled = "Scheduled",
        /// It waits for what it depends on.
        Pending = "Pending",
        /// It runs.
        Running = "Running",
        /// A daemon that is being started.
        Launching = "Launching",
        /// A daemon that was started.
        Launched = "Launched",
        /// It ended and is about to be started again.
        Restarting = "Restarting",
        /// It was ordered to end.
        Terminating = "Terminating",
        /// It ended.
        Completed = "Completed",
        /// It was not started, since what it depends on failed.
        Skipped = "Skipped",
        /// It cannot be started.
        Error = "Error",
    }
}

words! {
    /// What was done to a process.
    Change {
        /// It is new.
        Added = "added",
        /// It runs with a new entry.
        Updated = "updated",
        /// It is gone.
        Removed = "removed",
        /// It runs with a program that was replaced.
        NewBinary = "restarted (new binary)",
        /// It had been stopped.
        Started = "started",
        /// It took new settings while it ran.
        Reloaded = "reloaded",
    }
}

/// One process.
#[derive(Debug, Clone, Deserialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// What it does.
    pub status: Status,
    /// `Ready`, `Not Ready` or `-`.
    pub is_ready: String,
    /// Whether it has a readiness probe.
    pub has_ready_probe: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Its last exit code.
    pub exit_code: i32,
    /// The process id of the wrapper or of the program, 0 when it does not run.
    pub pid: i32,
    /// The process id of its runner, if it has one: that is what the supervisor knows.
    #[serde(skip)]
    pub runner: Option<i32>,
    /// Whether it runs.
    pub is_running: bool,
    /// Nanoseconds since it was started.
    pub age: i64,
    /// When it was first started, RFC 3339.
    #[serde(default)]
    pub process_start_time: Option<String>,
    /// When it became ready, RFC 3339.
    #[serde(default)]
    pub process_ready_time: Option<String>,
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not there yet: it waits for others, starts, or was not found healthy yet.
    Starting,
    /// It runs and is healthy, or did its work and ended with 0.
    Ready,
    /// It ended, or cannot be started.
    Failed,
    /// It is not meant to run.
    Disabled,
}

impl State {
    /// The process id that the supervisor knows: of the runner, where there is one.
    pub fn supervised_pid(&self) -> i32 {
        self.runner.unwrap_or(self.pid)
    }

    /// How far it is. A process that is being started again counts as failed.
    pub fn phase(&self) -> Phase {
        match self.status {
            Status::Disabled => Phase::Disabled,
            Status::Completed if self.exit_code == 0 && !self.has_ready_probe => Phase::Ready,
            Status::Completed | Status::Error | Status::Skipped | Status::Restarting => {
                Phase::Failed
            }
            Status::Running | Status::Launched
                if !self.has_ready_probe || self.is_ready == "Ready" =>
            {
                Phase::Ready
            }
            _ => Phase::Starting,
        }
    }

    /// Whether nothing of it runs or is about to. One that waited for others when it was stopped is
    /// said to be terminating for ever.
    pub fn has_ended(&self) -> bool {
        match self.status {
            Status::Completed | Status::Skipped | Status::Error | Status::Disabled => true,
            Status::Terminating => self.pid == 0,
            _ => false,
        }
    }

    /// Whether it has ended, or should have: one that was stopped may be said to be terminating
    /// though nothing of it is left. Only the answer to an order tells.
    pub fn can_be_started(&self) -> bool {
        self.has_ended() || self.status == Status::Terminating
    }

    /// Whether this says the same of the same run as `other` does, as far as that can be told.
    pub(super) fn is_same_run(&self, other: &Self) -> bool {
        let run = |state: &Self| {
            let State {
                status,
                pid,
                exit_code,
                restarts,
                ..
            } = state.clone();
            (status.to_string(), pid, exit_code, restarts)
        };
        run(self) == run(other)
    }

    /// Whether it does not run although it should: it could not be started, or has ended and
    /// somebody waits for its health. What ended otherwise without being stopped did its work.
    pub fn has_crashed(&self) -> bool {
        match self.status {
            Status::Skipped | Status::Error => true,
            Status::Completed => self.has_ready_probe,
            _ => false,
        }
    }

    /// Whether it ended by itself, having done its work.
    pub fn did_its_work(&self) -> bool {
        self.status == Status::Completed && self.exit_code == 0
    }
}

/// What happened to each process between two states.
pub fn changes(before: &States, after: &States) -> Changes {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let removed = gone.map(|name| (name.clone(), Change::Removed));
    let differs = |(name, new): (&String, &State)| {
        let change = match before.get(name) {
            None => Change::Added,
            Some(old) if old.pid == new.pid && old.process_start_time == new.process_start_time => {
                return None;
            }
            Some(_) => Change::Updated,
        };
        Some((name.clone(), change))
    };
    removed.chain(after.iter().filter_map(differs)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(status: &str, pid: i32) -> State {
        let state = json!({
            "name": "x", "status": status, "is_ready": "Not Ready", "has_ready_probe": false,
            "restarts": 0, "exit_code": 0, "pid": pid, "is_running": true, "age": 0,
        });
        serde_json::from_value(state).unwrap()
    }

    #[test]
    fn words_are_kept_as_they_come() {
        for word in ["Running", "Completed", "Watching"] {
            let status = state(word, 1).status;
            assert_eq!(status.as_str(), word);
            assert_eq!(serde_json::to_value(&status).unwrap(), json!(word));
        }
        assert_eq!(
            state("Watching", 1).status,
            Status::Other("Watching".into())
        );
        assert_eq!(state("Watching", 1).phase(), Phase::Starting);
        assert!(!state("Watching", 1).has_ended());
    }

    #[test]
    fn phases_and_ends() {
        let cases = [
            ("Disabled", Phase::Disabled, true),
            ("Pending", Phase::Starting, false),
            ("Running", Phase::Ready, false),
            ("Launched", Phase::Ready, false),
            ("Restarting", Phase::Failed, false),
            ("Terminating", Phase::Starting, false),
            ("Completed", Phase::Ready, true),
            ("Skipped", Phase::Failed, true),
            ("Error", Phase::Failed, true),
        ];
        for (status, phase, ended) in cases {
            let state = state(status, 1);
            assert_eq!(
                (state.phase(), state.has_ended()),
                (phase, ended),
                "{status}"
            );
        }
        assert!(state("Terminating", 0).has_ended(), "it never ran");
        let with_probe = |status, is_ready: &str| State {
            has_ready_probe: true,
            is_ready: is_ready.to_owned(),
            ..state(status, 1)
        };
        assert_eq!(with_probe("Completed", "-").phase(), Phase::Failed);
        assert_eq!(with_probe("Running", "Not Ready").phase(), Phase::Starting);
        assert_eq!(with_probe("Running", "Ready").phase(), Phase::Ready);
        assert!(state("Completed", 1).did_its_work());
        assert!(!state("Skipped", 1).did_its_work());
    }

    #[test]
    fn changes_are_seen_by_process_ids() {
        let states = |pids: &[(&str, i32)]| -> States {
            let states = pids.iter();
            let states = states.map(|(name, pid)| ((*name).to_owned(), state("Running", *pid)));
            states.collect()
        };
        let before = states(&[("same", 1), ("updated", 2), ("removed", 3)]);
        let after = states(&[("same", 1), ("updated", 4), ("added", 5)]);
        let expected = ["added", "removed", "updated"];
        let expected = expected.map(|name| (name.to_owned(), Change::from(name.to_owned())));
        assert_eq!(changes(&before, &after), expected.into_iter().collect());
    }
}
