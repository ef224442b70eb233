//! The stream of Core's events and the subjects they are published on, which clients without
//! credentials may read and nothing else: what happened is not theirs to say.
//!
//! Must not know what an event is.

/// The stream.
pub const STREAM: &str = "CORE_EVENTS";
/// What the subjects of events of processes begin with.
pub const PROCESS: &str = "core.process";
/// What the subjects of events of a topology begin with.
pub const TOPOLOGY: &str = "core.topology";

/// What the API of JetStream changes a stream by. Reading it, and consumers, are not among them.
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
/// Where that API is: that of the server itself, and that of a domain.
const PREFIXES: [&str; 2] = ["$JS.API", "$JS.*.API"];

/// What clients without credentials may not publish on.
pub(crate) fn denied_subjects() -> Vec<String> {
    let mut subjects = vec![format!("{PROCESS}.>"), format!("{TOPOLOGY}.>")];
    for prefix in PREFIXES {
        let changes = CHANGES.iter();
        subjects.extend(changes.map(|change| format!("{prefix}.STREAM.{change}.{STREAM}")));
    }
    subjects
}
