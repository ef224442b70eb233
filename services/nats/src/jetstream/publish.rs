//! Stores a message, and finds the last one.

use serde_json::json;

use super::api::outcome;
use super::{ANSWER_LIMIT, JetStream, JetStreamError};
use crate::client::{Headers, Message};

/// The header by which a server recognizes a message that it has stored before.
const ID: &str = "Nats-Msg-Id";
/// Status: there is no such message.
const NO_MESSAGE: u16 = 404;

impl JetStream {
    /// Stores a message in the stream of its subject. Returns whether it is new there: a message
    /// with the same `id` within the stream's duplicate window is not stored again.
    pub async fn publish(
        &self,
        subject: &str,
        id: &str,
        payload: &[u8],
    ) -> Result<bool, JetStreamError> {
        let headers = Headers::new().with(ID, id);
        let answer = self
            .client
            .request(subject, &headers, payload, ANSWER_LIMIT);
        let answer = answer
            .await
            .map_err(|error| JetStreamError::client(subject, error))?;
        let answer = outcome(subject, &answer.payload)?;
        if answer["seq"].as_u64().is_none() {
            return Err(JetStreamError::answer(subject, "it is not of a stream"));
        }
        Ok(answer["duplicate"] != true)
    }

    /// Returns the last message of a stream whose subject is, or matches, `subject`. The stream
    /// must allow direct access.
    pub async fn last_message(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<Message>, JetStreamError> {
        let call = format!("DIRECT.GET.{stream}");
        let body = json!({"last_by_subj": subject}).to_string();
        let (to, none) = (self.subject(&call), Headers::new());
        let answer = self
            .client
            .request(&to, &none, body.as_bytes(), ANSWER_LIMIT);
        let answer = answer
            .await
            .map_err(|error| JetStreamError::client(&call, error))?;
        match answer.status {
            None => Ok(Some(answer)),
            Some(NO_MESSAGE) => Ok(None),
            Some(status) => {
                let what = format!("{status} {}", answer.description);
                Err(JetStreamError::answer(&call, what))
            }
        }
    }
}
