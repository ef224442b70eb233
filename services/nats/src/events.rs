//! The stream of Core's events and their subjects. Clients without credentials may read them, but
//! not publish.
//!
//! Must not know what an event is.

/// The stream.
pub const STREAM: &str = "CORE_EVENTS";
/// The prefix of the subjects of process events.
pub const PROCESS: &str = "core.process";
/// The prefix of the subjects of topology events.
pub const TOPOLOGY: &str = "core.topology";

/// The calls of JetStream's API that change a stream. Reads and consumers are not among them.
const CHANGES: [&str; 8] = [
    "CREATE",
    "UPDATE",
    "DELETE",
    "PURGE",
    "RESTORE",
    "MSG.DELETE",
    "PEER.REMOVE",
    "LEADER.STEPDOWN",
];
/// The prefixes of that API: of the server itself, and of a domain.
const PREFIXES: [&str; 2] = ["$JS.API", "$JS.*.API"];

/// Returns the subjects that clients without credentials may not publish on.
pub(crate) fn denied_subjects() -> Vec<String> {
    let mut subjects = vec![format!("{PROCESS}.>"), format!("{TOPOLOGY}.>")];
    for prefix in PREFIXES {
        let changes = CHANGES.iter();
        subjects.extend(changes.map(|change| format!("{prefix}.STREAM.{change}.{STREAM}")));
    }
    subjects
}
