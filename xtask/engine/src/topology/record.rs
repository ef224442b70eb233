//! The record of the topology in PocketBase: the requested topology, its status, and the history.
//!
//! Owns the client of the collections `core_topology` and `core_topology_history`, whose rules are
//! in `services/pocketbase`. Must not decide anything: the controller and the commands do.

mod client;
mod read;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use service_nats::topology::Origin;

use crate::supervisor::timing;

pub(crate) use client::DATABASE;
pub use client::{Client, RecordError};

/// The collection of the records.
pub const COLLECTION: &str = "core_topology";

/// The requested topology of a service, and its status.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Record {
    /// PocketBase's id of the record.
    pub id: String,
    /// The service.
    pub service: String,
    /// The specification as it was written: any JSON value.
    #[serde(default)]
    pub spec: Value,
    /// Who decides: the manifest or a user.
    pub origin: Origin,
    /// Whether streams of nodes that leave are moved first.
    #[serde(default)]
    pub move_streams: bool,
    /// Counts the changes of `spec` and `origin`, and requests to try again.
    #[serde(default)]
    pub generation: u64,
    /// The result; only the controller writes it.
    #[serde(default, deserialize_with = "lenient")]
    pub status: Status,
    /// What of the record is invalid, if anything: invalid fields are empty.
    #[serde(skip)]
    pub problem: Option<String>,
}

/// The changes of a record; `None` means no change.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Edit {
    /// The specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
    /// Who decides: the manifest or a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Whether streams of nodes that leave are moved first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub move_streams: Option<bool>,
    /// Requests another try after a refusal, without other changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
}

/// The status of a record.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The generation that the status is about; 0 before the first.
    pub generation: u64,
    /// The progress.
    pub state: State,
    /// Why it failed and what to do; empty otherwise.
    pub message: String,
    /// When it entered this state, RFC 3339.
    pub since: String,
    /// When this was written, RFC 3339.
    pub updated: String,
    /// What was applied last.
    pub applied: Option<Applied>,
}

/// The progress of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The controller has not read it yet.
    #[default]
    Pending,
    /// It is being applied, or was when the controller exited.
    Applying,
    /// It is in effect.
    Applied,
    /// It was refused or failed; the earlier topology is still in effect.
    Failed,
}

/// What was applied last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The specification.
    pub spec: Value,
    /// When, RFC 3339.
    pub at: String,
}

/// One entry of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The service.
    pub service: String,
    /// The generation of its record.
    pub generation: u64,
    /// Who requested it.
    pub origin: Origin,
    /// The requested specification.
    pub spec: Value,
    /// [`State::Applied`] or [`State::Failed`].
    pub state: State,
    /// Why it failed.
    #[serde(default)]
    pub message: String,
    /// When, in PocketBase's form; PocketBase sets it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created: String,
}

impl Record {
    /// Whether the status is about the present generation.
    pub fn is_current(&self) -> bool {
        self.status.generation == self.generation
    }

    /// Returns the state of the record as a whole: a change that was not read yet is pending. An
    /// invalid record has failed, even if PocketBase does not let that be written.
    pub fn state(&self) -> State {
        if self.unreadable().is_some() {
            State::Failed
        } else if self.is_current() {
            self.status.state
        } else {
            State::Pending
        }
    }

    /// Returns why it failed; empty otherwise.
    pub fn message(&self) -> &str {
        match self.unreadable() {
            Some(problem) if self.status.state != State::Failed => problem,
            _ if self.is_current() => &self.status.message,
            _ => "",
        }
    }

    /// Returns what of a user's record is invalid. That of the manifest is written again.
    fn unreadable(&self) -> Option<&str> {
        let problem = self.problem.as_deref();
        problem.filter(|_| self.origin == Origin::User)
    }
}

impl Status {
    /// Returns the next status. `applied` is the specification if it is in effect now.
    #[must_use]
    pub fn next(
        &self,
        generation: u64,
        state: State,
        message: String,
        applied: Option<&Value>,
    ) -> Self {
        let now = timing::now();
        let same = self.generation == generation && self.state == state && !self.since.is_empty();
        let applied = applied.map(|spec| Applied {
            spec: spec.clone(),
            at: now.clone(),
        });
        Self {
            generation,
            state,
            message,
            since: if same {
                self.since.clone()
            } else {
                now.clone()
            },
            updated: now,
            applied: applied.or_else(|| self.applied.clone()),
        }
    }
}

/// Replaces an invalid status by the default one: its generation is then evaluated again.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let object = Some(value).filter(Value::is_object);
    let status = object.and_then(|value| serde_json::from_value(value).ok());
    Ok(status.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(status: &Value) -> Record {
        let record = json!({
            "id": "x", "collectionName": COLLECTION, "service": "nats", "origin": "user",
            "spec": {"topology": "single-node"}, "generation": 3, "status": status,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_status_reads_back_as_it_was_written() {
        let spec = json!({"topology": "single-node"});
        let status = Status::default().next(3, State::Applied, String::new(), Some(&spec));
        let text = serde_json::to_value(&status).unwrap();
        assert_eq!(text["state"], "applied");
        assert_eq!(text["applied"]["spec"], spec);
        assert_eq!(record(&text).status, status);
        assert!(record(&text).is_current());
        assert!(status.since.ends_with('Z'), "{}", status.since);
    }

    #[test]
    fn what_was_applied_is_kept_through_a_failure() {
        let spec = json!({"topology": "single-node"});
        let first = Status::default().next(1, State::Applied, String::new(), Some(&spec));
        let failed = first.next(2, State::Failed, "why".to_owned(), None);
        assert_eq!(failed.applied, first.applied);
        let again = failed.next(2, State::Failed, "why".to_owned(), None);
        assert_eq!(again.since, failed.since, "it did not change");
    }

    #[test]
    fn no_status_and_a_strange_one_are_pending() {
        for status in [
            json!(null),
            json!(""),
            json!({"state": "exploded"}),
            json!([1]),
        ] {
            let record = record(&status);
            assert_eq!(record.status, Status::default(), "{status}");
            assert_eq!(record.state(), State::Pending);
        }
        let old = json!({"generation": 2, "state": "applied", "later": true});
        assert_eq!(record(&old).status.state, State::Applied);
        assert_eq!(record(&old).state(), State::Pending, "the record is newer");
    }
}
