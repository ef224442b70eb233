//! The states of processes that process-compose reports (`GET /processes`, at 1.120.0), and the
//! changes of a reload.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The states of all processes, by name.
pub type States = BTreeMap<String, State>;

/// The change of each process that was changed.
pub type Changes = BTreeMap<String, Change>;

/// The answer of `GET /processes`.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) data: Vec<State>,
}

/// Returns the names of the processes in the answer of `GET` [`PROCESSES`].
pub fn names_in(answer: &[u8]) -> serde_json::Result<Vec<String>> {
    let answer: Answer = serde_json::from_slice(answer)?;
    Ok(answer.data.into_iter().map(|state| state.name).collect())
}

/// A message of the supervisor on the websocket [`PUSHES`]: for every process at first, then for
/// each whose state has changed.
#[derive(Debug, Clone, Deserialize)]
pub struct Push {
    /// The state of the process.
    pub state: State,
}

/// Path of the request that returns the states of all processes.
pub const PROCESSES: &str = "/processes";

/// The websocket on which states are pushed when they change.
pub const PUSHES: &str = "/process/states/ws";

/// Defines a type whose values are words. Unknown words are kept unchanged, so that another version
/// of the supervisor is understood as far as possible.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
            /// An unknown word.
            Other(String),
        }

        impl $name {
            /// Returns the word.
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
    /// The supervisor's word for the status of a process.
    Status {
        /// It is not meant to run.
        Disabled = "Disabled",
        /// It is run by hand.
        Foreground = "Foreground",
        /// It waits for its scheduled time.
        Scheduled = "Scheduled",
        /// It waits for its dependencies.
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
        /// It was not started, because a dependency failed.
        Skipped = "Skipped",
        /// It cannot be started.
        Error = "Error",
    }
}

words! {
    /// How a process was changed.
    Change {
        /// It was added.
        Added = "added",
        /// It runs with a new entry.
        Updated = "updated",
        /// It was removed.
        Removed = "removed",
        /// It runs with a program that was replaced.
        NewBinary = "restarted (new binary)",
        /// It had been stopped.
        Started = "started",
        /// It reloaded its settings while it ran.
        Reloaded = "reloaded",
    }
}

/// One process.
#[derive(Debug, Clone, Deserialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// `Ready`, `Not Ready` or `-`.
    pub is_ready: String,
    /// Whether it has a readiness probe.
    pub has_ready_probe: bool,
    /// How often it was restarted.
    pub restarts: u32,
    /// Its last exit code.
    pub exit_code: i32,
    /// The process id of the wrapper or of the program, 0 if it is not running.
    pub pid: i32,
    /// The process id of its runner, if it has one: the supervisor knows only that.
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

/// The progress of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not ready yet: it waits for others, starts, or was not found healthy yet.
    Starting,
    /// It is running and healthy, or did its work and exited with code 0.
    Ready,
    /// It ended, or cannot be started.
    Failed,
    /// It is not meant to run.
    Disabled,
}

impl State {
    /// Returns the process id that the supervisor knows: of the runner, if there is one.
    pub fn supervised_pid(&self) -> i32 {
        self.runner.unwrap_or(self.pid)
    }

    /// Returns its progress. A process that is being restarted counts as failed.
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

    /// Whether it is not running or about to. A process that waited for others when it was stopped
    /// is reported as terminating for ever.
    pub fn has_ended(&self) -> bool {
        match self.status {
            Status::Completed | Status::Skipped | Status::Error | Status::Disabled => true,
            Status::Terminating => self.pid == 0,
            _ => false,
        }
    }

    /// Whether it has ended, or may have: a process that was stopped may be reported as terminating
    /// after nothing of it is left. Only the answer to an order shows which.
    pub fn can_be_started(&self) -> bool {
        self.has_ended() || self.status == Status::Terminating
    }

    /// Whether this and `other` report the same state of the same run, as far as that is visible.
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

    /// Whether it is not running although it should: it could not be started, or has ended although
    /// it has a probe. Any other process that ended without being stopped did its work.
    pub fn has_crashed(&self) -> bool {
        match self.status {
            Status::Skipped | Status::Error => true,
            Status::Completed => self.has_ready_probe,
            _ => false,
        }
    }

    /// Whether it exited by itself after doing its work.
    pub fn did_its_work(&self) -> bool {
        self.status == Status::Completed && self.exit_code == 0
    }
}

/// Returns what happened to each process between two states.
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
impl State {
    /// Returns the state of a process without a probe, for tests.
    pub(crate) fn sample(status: &str) -> Self {
        let state = serde_json::json!({
            "name": "x", "status": status, "is_ready": "-", "has_ready_probe": false,
            "restarts": 0, "exit_code": 0, "pid": 1, "is_running": status == "Running", "age": 0,
        });
        serde_json::from_value(state).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(status: &str, pid: i32) -> State {
        State {
            pid,
            ..State::sample(status)
        }
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
