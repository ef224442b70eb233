//! What process-compose says of its processes (`GET /processes`, read at 1.120.0).

use std::collections::BTreeMap;

use serde::Deserialize;

/// All processes by name.
pub type States = BTreeMap<String, State>;

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

/// One process.
#[derive(Debug, Clone, Deserialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// `Running`, `Pending`, `Launching`, `Restarting`, `Terminating`, `Completed`, `Skipped`,
    /// `Error`, `Disabled` ...
    pub status: String,
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
        match self.status.as_str() {
            "Disabled" => Phase::Disabled,
            "Completed" if self.exit_code == 0 && !self.has_ready_probe => Phase::Ready,
            "Completed" | "Error" | "Skipped" | "Restarting" => Phase::Failed,
            "Running" | "Launched" if !self.has_ready_probe || self.is_ready == "Ready" => {
                Phase::Ready
            }
            _ => Phase::Starting,
        }
    }

    /// Whether nothing of it runs or is about to. One that waited for others when it was stopped is
    /// said to be terminating for ever.
    pub fn has_ended(&self) -> bool {
        match &*self.status {
            "Completed" | "Skipped" | "Error" | "Disabled" => true,
            "Terminating" => self.pid == 0,
            _ => false,
        }
    }
}
