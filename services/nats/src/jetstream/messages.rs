//! Reads all messages of a stream, in order, in bounded memory.

use std::time::Duration;

use serde_json::json;

use super::{JetStream, JetStreamError};
use crate::client::{Headers, Message};

/// How many messages are requested at once.
const BATCH: usize = 512;
/// Most bytes of one batch.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long the next message may take.
const MESSAGE_LIMIT: Duration = Duration::from_secs(15);
/// Status: the end of the batch.
const END_OF_BATCH: u16 = 204;
/// Status: there is no message from that number on.
const NO_MESSAGE: u16 = 404;

/// Passes every message of a stream with a sequence number from `first` to `last` to `seen`, with
/// its number. The stream must allow direct access. Returns their number.
pub async fn each_message(
    from: &JetStream,
    stream: &str,
    first: u64,
    last: u64,
    mut seen: impl FnMut(u64, &Message),
) -> Result<u64, JetStreamError> {
    let call = format!("DIRECT.GET.{stream}");
    let failed = |error| JetStreamError::client(&call, error);
    let client = from.client();
    let none = Headers::new();
    let (mut next, mut count) = (first.max(1), 0);
    while next <= last {
        let inbox = client.new_inbox();
        let mut batch = client.subscribe(&inbox, BATCH + 2).await.map_err(failed)?;
        let body = json!({"seq": next, "batch": BATCH, "max_bytes": BATCH_BYTES}).to_string();
        let subject = from.subject(&call);
        let asked = client.publish(&subject, Some(&inbox), &none, body.as_bytes());
        asked.await.map_err(failed)?;
        let begin = next;
        loop {
            let message = batch.next(MESSAGE_LIMIT).await.map_err(failed)?;
            match message.status {
                Some(END_OF_BATCH) => break,
                Some(NO_MESSAGE) => return Ok(count),
                Some(status) => {
                    let what = format!("{status} {}", message.description);
                    return Err(JetStreamError::answer(&call, what));
                }
                None => {}
            }
            let number = message.headers.last("Nats-Sequence");
            let number: Option<u64> = number.and_then(|number| number.parse().ok());
            let Some(number) = number.filter(|number| *number >= next) else {
                return Err(JetStreamError::answer(&call, "a message has no number"));
            };
            next = number + 1;
            if number <= last {
                seen(number, &message);
                count += 1;
            }
        }
        if next == begin {
            return Ok(count);
        }
    }
    Ok(count)
}
