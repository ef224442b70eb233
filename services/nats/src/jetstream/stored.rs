//! Reads all messages of a stream without direct access: through a consumer where that is possible,
//! else by requests to its leader, many at a time. That is slower, but works with any stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::api::read;
use super::{JetStream, JetStreamError, pulled};
use crate::client::{Headers, Message};

/// How many messages are requested at once.
const AT_ONCE: u64 = 64;
/// Error code of the API: the message does not exist.
const MESSAGE_NOT_FOUND: u32 = 10037;

/// A message in the API's answer; bytes are in base64.
#[derive(Deserialize)]
struct Stored {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

/// Passes every message with a sequence number from `first` to `last` to `seen`, like
/// [`super::each_message`]. Returns their number.
pub async fn each_stored_message(
    from: &JetStream,
    config: &Value,
    first: u64,
    last: u64,
    mut seen: impl FnMut(u64, &Message),
) -> Result<u64, JetStreamError> {
    let stream = config["name"].as_str().unwrap_or_default();
    let call = format!("STREAM.MSG.GET.{stream}");
    let (mut next, mut count) = (first.max(1), 0);
    if next <= last && pulled::is_possible(config) {
        let mut seen = |number, message: &Message| {
            seen(number, message);
            count += 1;
        };
        next = pulled::each_pulled_message(from, stream, next, last, &mut seen).await;
    }
    while next <= last {
        let end = last.min(next + AT_ONCE - 1);
        let mut asked = JoinSet::new();
        for number in next..=end {
            let (from, call) = (from.clone(), call.clone());
            asked.spawn(async move { get(&from, &call, json!({"seq": number})).await });
        }
        let mut found = Vec::new();
        while let Some(answer) = asked.join_next().await {
            let answer = answer.map_err(|error| JetStreamError::answer(&call, error))?;
            found.extend(answer?);
        }
        found.sort_by_key(|stored| stored.seq);
        next = end + 1;
        if found.is_empty() {
            // A gap may be wide: the server knows where it ends.
            let body = json!({"seq": next, "next_by_subj": ">"});
            match get(from, &call, body).await? {
                Some(stored) if stored.seq >= next => next = stored.seq,
                _ => break,
            }
        }
        for stored in &found {
            seen(stored.seq, &message(&call, stored)?);
            count += 1;
        }
    }
    Ok(count)
}

async fn get(from: &JetStream, call: &str, body: Value) -> Result<Option<Stored>, JetStreamError> {
    match from.call(call, &body).await {
        Ok(mut answer) => read(call, answer["message"].take()).map(Some),
        Err(error) if error.is_code(MESSAGE_NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Converts a message into the form of direct access.
fn message(call: &str, stored: &Stored) -> Result<Message, JetStreamError> {
    let bytes = |text: &str| {
        let bytes = STANDARD.decode(text);
        bytes.map_err(|_| JetStreamError::answer(call, "a message is no base64"))
    };
    let block = bytes(&stored.hdrs)?;
    let headers = if block.is_empty() {
        Headers::new()
    } else {
        let block = Headers::decode(&block);
        let block = block.ok_or_else(|| JetStreamError::answer(call, "headers are malformed"))?;
        block.headers
    };
    Ok(Message {
        subject: stored.subject.clone(),
        reply: None,
        status: None,
        description: String::new(),
        headers: headers
            .with("Nats-Subject", &stored.subject)
            .with("Nats-Time-Stamp", &stored.time),
        payload: bytes(&stored.data)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_direct_access_gives_it() {
        let stored: Stored = serde_json::from_value(json!({
            "subject": "a.b", "seq": 3, "time": "2026-01-01T00:00:00.5Z", "data": "Zm9v",
            "hdrs": "TkFUUy8xLjANCkE6IDENCg0K",
        }))
        .unwrap();
        let message = message("X", &stored).unwrap();
        assert_eq!(message.headers.get("A"), Some("1"));
        assert_eq!(message.headers.last("Nats-Subject"), Some("a.b"));
        assert_eq!(message.payload, b"foo");
    }
}
