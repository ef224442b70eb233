//! The events of a stack: the reported changes of its processes and its topology, and the stream of
//! NATS that stores them.
//!
//! Owns the form of an event and the stream's configuration. The controller publishes, `observe`
//! reads. Must not know how a change is detected.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kit::names::word;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_nats::client::Client;
pub use service_nats::events::STREAM;
use service_nats::events::{PROCESS, TOPOLOGY};
use service_nats::jetstream::JetStream;
use service_nats::topology::{CONFIG_FILE, SERVICE, entrance};

use crate::SCHEMA_VERSION;
use crate::checkout::paths::Paths;

/// How long an event is kept.
const AGE_SECONDS: u64 = 7 * 24 * 60 * 60;
/// Maximum bytes that are kept: about 40 000 events.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long duplicates are detected: longer than NATS should ever be away.
const DUPLICATES_SECONDS: u64 = 60 * 60;
/// Nanoseconds, the unit of the server's durations.
const SECOND: u64 = 1_000_000_000;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A process was started.
    Started,
    /// It was found healthy.
    Ready,
    /// It ended, which was not requested.
    Crashed,
    /// It was started again after a crash.
    Restarted,
    /// It ended as requested, or had done its work.
    Stopped,
    /// A topology is in effect now.
    Applied,
    /// A topology could not be applied.
    Failed,
}

/// An event. Fields that are unknown, or do not belong to its kind, are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Version of this document.
    pub schema_version: u32,
    /// When it happened or, if the supervisor does not report it, was noticed: RFC 3339.
    pub time: String,
    /// The checkout whose stack it is.
    pub instance: String,
    /// What has happened.
    pub event: Kind,
    /// The process; `None` for a topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Its process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Its exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How often it had been restarted by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// When the supervisor first started it, in its own form: distinguishes an entry from its
    /// successor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_start: Option<String>,
    /// The service whose topology it is; `None` for a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The generation of the record that requested the topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Event {
    /// Creates an event without further details.
    pub fn new(event: Kind, time: String, paths: &Paths) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            time,
            instance: paths.root().display().to_string(),
            event,
            process: None,
            pid: None,
            exit_code: None,
            restarts: None,
            first_start: None,
            service: None,
            generation: None,
            spec: None,
            reason: None,
        }
    }

    /// Returns the subject on which it is published.
    pub fn subject(&self) -> String {
        let (begin, name) = match &self.process {
            Some(process) => (PROCESS, process.as_str()),
            None => (TOPOLOGY, self.service.as_deref().unwrap_or_default()),
        };
        format!("{begin}.{name}.{}", word(self.event))
    }

    /// Returns an id that is unique, however often the event is published.
    pub fn id(&self) -> String {
        let number = match self.process {
            Some(_) => self.pid.map(i64::from).unwrap_or_default().to_string(),
            None => self.generation.unwrap_or_default().to_string(),
        };
        format!("{} {} {number}", self.subject(), self.time)
    }
}

/// Returns the subject that matches all events of a process.
pub fn of_process(name: &str) -> String {
    format!("{PROCESS}.{name}.*")
}

/// Connects to JetStream of the first server, with the configuration of the running one.
pub async fn connect(paths: &Paths, name: &str) -> anyhow::Result<JetStream> {
    let config = config_file(paths);
    let text = fs::read_to_string(&config)
        .with_context(|| format!("cannot read `{}`", config.display()))?;
    let (address, login) = entrance(&text)
        .with_context(|| format!("`{}` does not say how clients come in", config.display()))?;
    let client = Client::connect_to(address, Some(&login), name).await?;
    Ok(JetStream::new(client))
}

fn config_file(paths: &Paths) -> std::path::PathBuf {
    paths.state().join(Path::new(SERVICE)).join(CONFIG_FILE)
}

/// Creates the stream if it is missing. An existing one is not changed: its limits may be a user's.
pub async fn ensure_stream(jetstream: &JetStream) -> anyhow::Result<()> {
    if jetstream.stream(STREAM).await?.is_none() {
        jetstream.create_stream(&stream()).await?;
    }
    Ok(())
}

fn stream() -> Value {
    json!({
        "name": STREAM,
        "description": "what happened to the processes and the topology of this stack",
        // Not `core.>`: streams that are moved have subjects there, too.
        "subjects": [format!("{PROCESS}.>"), format!("{TOPOLOGY}.>")],
        "storage": "file", "retention": "limits", "discard": "old", "allow_direct": true,
        "num_replicas": 1,
        "max_age": AGE_SECONDS * SECOND,
        "max_bytes": BYTES_MAX,
        "duplicate_window": DUPLICATES_SECONDS * SECOND,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_ids_and_form() {
        let paths = Paths::new("/x".into());
        let time = "2026-01-02T03:04:05.678Z".to_owned();
        let mut event = Event::new(Kind::Crashed, time.clone(), &paths);
        event.process = Some("nats-hub-1".to_owned());
        event.pid = Some(7);
        event.exit_code = Some(137);
        assert_eq!(event.subject(), "core.process.nats-hub-1.crashed");
        let id = "core.process.nats-hub-1.crashed 2026-01-02T03:04:05.678Z 7";
        assert_eq!(event.id(), id);
        let expected = json!({"schema_version": 1, "time": time, "instance": "/x",
            "event": "crashed", "process": "nats-hub-1", "pid": 7, "exit_code": 137});
        assert_eq!(json!(event), expected);
        assert_eq!(serde_json::from_value::<Event>(expected).unwrap(), event);

        let mut event = Event::new(Kind::Failed, time, &paths);
        event.service = Some("nats".to_owned());
        event.generation = Some(3);
        assert_eq!(event.subject(), "core.topology.nats.failed");
    }

    #[test]
    fn the_stream_is_bounded() {
        let stream = stream();
        assert_eq!(stream["max_age"], 604_800_000_000_000_u64);
        assert_eq!(stream["max_bytes"], 16_777_216);
        assert_eq!(
            stream["subjects"],
            json!(["core.process.>", "core.topology.>"])
        );
    }
}
