//! The record of the topology in PocketBase: what is to be, what became of it, and what was before.
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

/// What the topology of a service is to be, and what became of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Record {
    /// PocketBase's own name for it.
    pub id: String,
    /// The service.
    pub service: String,
    /// What is to be, as it was written: it may be anything.
    #[serde(default)]
    pub spec: Value,
    /// Who decides.
    pub origin: Origin,
    /// Whether streams of nodes that would go are moved first.
    #[serde(default)]
    pub move_streams: bool,
    /// Counts the changes of `spec` and `origin`, and what asks for another try.
    #[serde(default)]
    pub generation: u64,
    /// What became of it; written by the controller alone.
    #[serde(default, deserialize_with = "lenient")]
    pub status: Status,
    /// What of it cannot be understood, if anything: fields that cannot are empty.
    #[serde(skip)]
    pub problem: Option<String>,
}

/// What of a record is to change; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Edit {
    /// The specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
    /// Who decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Whether streams of nodes that would go are moved first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub move_streams: Option<bool>,
    /// Asks for another try of what was refused, though nothing else changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The generation that this is about; 0 before the first.
    pub generation: u64,
    /// How far it is.
    pub state: State,
    /// Why it failed, with what to do; empty otherwise.
    pub message: String,
    /// When it came into this state, RFC 3339.
    pub since: String,
    /// When this was written, RFC 3339.
    pub updated: String,
    /// What was applied last.
    pub applied: Option<Applied>,
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has looked at it yet.
    #[default]
    Pending,
    /// It is being applied, or was when the controller ended.
    Applying,
    /// It is what runs.
    Applied,
    /// It was refused or failed; what ran before still runs.
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

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The service.
    pub service: String,
    /// Which generation of its record.
    pub generation: u64,
    /// Who asked for it.
    pub origin: Origin,
    /// What was asked for.
    pub spec: Value,
    /// [`State::Applied`] or [`State::Failed`].
    pub state: State,
    /// Why it failed.
    #[serde(default)]
    pub message: String,
    /// When, as PocketBase writes it; it fills this in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created: String,
}

impl Record {
    /// Whether the status is about what the record says now.
    pub fn is_current(&self) -> bool {
        self.status.generation == self.generation
    }

    /// How far the record is as a whole: a change that nobody has looked at yet is pending. One
    /// that cannot be understood has failed, even where PocketBase lets nobody write that down.
    pub fn state(&self) -> State {
        if self.unreadable().is_some() {
            State::Failed
        } else if self.is_current() {
            self.status.state
        } else {
            State::Pending
        }
    }

    /// Why it failed; empty otherwise.
    pub fn message(&self) -> &str {
        match self.unreadable() {
            Some(problem) if self.status.state != State::Failed => problem,
            _ if self.is_current() => &self.status.message,
            _ => "",
        }
    }

    /// What of a user's record cannot be understood. The manifest's is written anew.
    fn unreadable(&self) -> Option<&str> {
        let problem = self.problem.as_deref();
        problem.filter(|_| self.origin == Origin::User)
    }
}

impl Status {
    /// The status after this one. `applied` is the specification when it is what runs now.
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

/// A status that cannot be understood counts as none: what it is about is looked at anew.
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
