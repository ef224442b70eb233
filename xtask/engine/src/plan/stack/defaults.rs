//! What a manifest that says nothing means, with the reasons.

/// Where named instances have their state and their data, below those of the default one.
pub const INSTANCES: &str = "instances";

/// The readiness probe's name in `.dep/`.
pub const PROBE: &str = "probe";

/// The service that keeps the record of the topology in the database.
pub const CONTROLLER: &str = "controller";

/// What makes a runner of the probe, and where runners note what they run, below the state.
pub const RUN: &str = "run";

/// Set to 1 in every process that the supervisor starts: a wrapper then watches its parent.
pub const SUPERVISED: &str = "CORE_SUPERVISED";

/// Seconds one check may take. The supervisor's own default of 1 would restart a server that
/// recovers a large store.
pub(super) const PROBE_TIMEOUT_SECONDS: u32 = 60;

/// Seconds between two checks of a ready process.
pub(super) const PROBE_PERIOD_SECONDS: u32 = 10;

/// Failed checks in a row before the supervisor restarts a process.
pub(super) const PROBE_FAILURE_THRESHOLD: u32 = 3;

/// Seconds before a process that ended is started again: the least the supervisor knows.
pub(super) const RESTART_BACKOFF_SECONDS: u32 = 1;

/// Seconds from SIGTERM to SIGKILL: above the wrappers' own limit of 8.
pub(super) const SHUTDOWN_TIMEOUT_SECONDS: u32 = 10;

/// SIGTERM.
pub const TERM: u8 = 15;

/// Megabytes at which a log file is rotated.
pub(super) const LOG_SIZE_MB: u32 = 20;

/// Rotated log files kept.
pub(super) const LOG_FILES: u32 = 5;
