//! The values that count where a manifest leaves a key out, with their reasons.

/// The directory of named instances, below the state and the data of the default one.
pub const INSTANCES: &str = "instances";

/// The readiness probe's name in `.dep/`.
pub const PROBE: &str = "probe";

/// The service that keeps the record of the topology in the database.
pub const CONTROLLER: &str = "controller";

/// The argument that makes the probe a runner, and the directory of runners' notes in the state.
pub const RUN: &str = "run";

/// Is 1 in every process that the supervisor starts: a wrapper then watches its parent.
pub const SUPERVISED: &str = "CORE_SUPERVISED";

/// Seconds that one check may take. The supervisor's own default of 1 would restart a server that
/// recovers a large store.
pub(super) const PROBE_TIMEOUT_SECONDS: u32 = 60;

/// Seconds between two checks of a ready process.
pub(super) const PROBE_PERIOD_SECONDS: u32 = 10;

/// Failed checks in a row before the supervisor restarts a process.
pub(super) const PROBE_FAILURE_THRESHOLD: u32 = 3;

/// Seconds before a process that exited is started again: the minimum of the supervisor.
pub(super) const RESTART_BACKOFF_SECONDS: u32 = 1;

/// Seconds from SIGTERM to SIGKILL: more than the wrappers' own limit of 8.
pub(super) const SHUTDOWN_TIMEOUT_SECONDS: u32 = 10;

/// SIGTERM.
pub const TERM: u8 = 15;

/// Megabytes at which a log file is rotated.
pub(super) const LOG_SIZE_MB: u32 = 20;

/// Rotated log files kept.
pub(super) const LOG_FILES: u32 = 5;
