//! The content of a stream as one digest: every message with its number, subject, time, headers and
//! bytes. Two servers with the same content produce the same digest.

use std::time::Duration;

use serde_json::Value;
use service_nats::client::Message;
use service_nats::jetstream::{
    JetStream, JetStreamError, StreamState, each_message, each_stored_message,
};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How long a replica may be behind its leader; it takes milliseconds.
const BEHIND_LIMIT: Duration = Duration::from_secs(5);
/// Pause before it is read again.
const BEHIND_POLL: Duration = Duration::from_millis(20);
/// Headers in which a server reports a message's subject and time.
const OWN: [&str; 2] = ["Nats-Subject", "Nats-Time-Stamp"];
/// Headers about the stream that a message was read from, not about the message.
const FOREIGN: [&str; 6] = [
    "Nats-Stream",
    "Nats-Sequence",
    "Nats-Last-Sequence",
    "Nats-Num-Pending",
    "Nats-Subject",
    "Nats-Time-Stamp",
];

/// A digest of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) messages: u64,
    digest: [u8; 32],
}

impl Content {
    /// Returns the digest in hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        crate::base::digest::hex(&self.digest)
    }
}

/// Reads all messages of a stream that `state` counts, by direct reads if it allows them.
pub(crate) async fn content_of(
    js: &JetStream,
    config: &Value,
    state: &StreamState,
) -> Result<Content, JetStreamError> {
    if config["allow_direct"] == true {
        let stream = config["name"].as_str().unwrap_or_default();
        return content(js, stream, state).await;
    }
    let mut digest = Sha256::new();
    let add = |number, message: &Message| add(&mut digest, number, message);
    let messages = each_stored_message(js, config, state.first_seq, state.last_seq, add).await?;
    Ok(Content {
        messages,
        digest: digest.finalize().into(),
    })
}

/// Reads all messages of a stream that `state` counts. Any replica may answer; one that is behind
/// is read again.
pub(crate) async fn content(
    js: &JetStream,
    stream: &str,
    state: &StreamState,
) -> Result<Content, JetStreamError> {
    let deadline = Instant::now() + BEHIND_LIMIT;
    loop {
        let mut digest = Sha256::new();
        let add = |number, message: &Message| add(&mut digest, number, message);
        let messages = each_message(js, stream, state.first_seq, state.last_seq, add).await?;
        if messages == state.messages || Instant::now() >= deadline {
            return Ok(Content {
                messages,
                digest: digest.finalize().into(),
            });
        }
        tokio::time::sleep(BEHIND_POLL).await;
    }
}

fn add(digest: &mut Sha256, number: u64, message: &Message) {
    digest.update(number.to_le_bytes());
    // The server's own headers come last; the publisher may have used the same names.
    let own = OWN.map(|name| message.headers.last(name).unwrap_or_default());
    let headers = message.headers.iter();
    let theirs = headers.filter(|(name, _)| !FOREIGN.contains(name));
    let theirs = theirs.flat_map(|(name, value)| [name, value]);
    for text in own.into_iter().chain(theirs) {
        field(digest, text.as_bytes());
    }
    field(digest, &message.payload);
}

/// Adds a field with its length, so that different messages never have the same form.
fn field(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

#[cfg(test)]
mod tests {
    use service_nats::client::Headers;

    use super::*;

    fn digest(headers: Headers, payload: &[u8]) -> Vec<u8> {
        let message = Message {
            subject: "inbox".to_owned(),
            reply: None,
            status: None,
            description: String::new(),
            headers,
            payload: payload.to_vec(),
        };
        let mut digest = Sha256::new();
        add(&mut digest, 1, &message);
        digest.finalize().to_vec()
    }

    #[test]
    fn everything_of_a_message_counts_and_nothing_of_where_it_lies() {
        let message = || Headers::new().with("A", "1").with("Nats-Subject", "s");
        let base = digest(message(), b"x");
        let elsewhere = message()
            .with("Nats-Stream", "OTHER")
            .with("Nats-Num-Pending", "3");
        assert_eq!(digest(elsewhere, b"x"), base);
        assert_ne!(digest(message(), b"y"), base);
        assert_ne!(digest(message().with("B", ""), b"x"), base);
        assert_ne!(digest(message().with("Nats-Subject", "t"), b"x"), base);
        assert_ne!(digest(message().with("Nats-Time-Stamp", "t"), b"x"), base);
    }
}
