//! Reads the messages of a stream through a consumer of its own, as far as that goes.
//!
//! The consumer acknowledges nothing and is in memory, so it is in no backup. It is deleted after
//! the last message; if the reader was killed, the server removes it. Whatever stops it early is
//! not an error here: the caller reads the rest in another way.

use std::time::Duration;

use serde_json::{Value, json};

use super::JetStream;
use super::follow::nanoseconds;
use super::place::Place;
use crate::client::{ClientError, Headers, Message};

/// How many messages are requested at once.
const BATCH: usize = 512;
/// Most bytes of one batch, besides one message of the largest size.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long the next message may take.
const MESSAGE_LIMIT: Duration = Duration::from_secs(15);
/// How long the server keeps the consumer when nothing is requested. A reader requests every few
/// milliseconds; one that was stopped for longer reads the rest without the consumer.
const KEPT: Duration = Duration::from_secs(5);

/// Whether a consumer can read a stream without effect on it. In a work queue it would be refused
/// or take messages; interest in a message keeps it. A replica may be behind: what it has deleted,
/// and what is still missing, would cancel out in the number of its messages.
pub(super) fn is_possible(config: &Value) -> bool {
    config["retention"] == "limits" && config["num_replicas"] == 1
}

/// Passes messages with a sequence number from `first` to `last` to `seen`, in the form of direct
/// access. Returns the number from which on messages remain to be read in another way, which then
/// also reports what is wrong.
pub(super) async fn each_pulled_message(
    from: &JetStream,
    stream: &str,
    first: u64,
    last: u64,
    seen: &mut impl FnMut(u64, &Message),
) -> u64 {
    let config = json!({
        "description": "reads all messages once", "deliver_policy": "by_start_sequence",
        "opt_start_seq": first, "ack_policy": "none", "replay_policy": "instant",
        "mem_storage": true, "num_replicas": 1, "inactive_threshold": nanoseconds(KEPT),
    });
    // It may be refused: a stream can limit its consumers.
    let Ok(consumer) = from.put_consumer(stream, &config).await else {
        return first;
    };
    let name = consumer["name"].as_str().unwrap_or_default();
    let mut next = first;
    let _ = read(from, &format!("{stream}.{name}"), &mut next, last, seen).await;
    let delete = format!("CONSUMER.DELETE.{stream}.{name}");
    let _ = from.call(&delete, &json!({})).await;
    next
}

async fn read(
    from: &JetStream,
    consumer: &str,
    next: &mut u64,
    last: u64,
    seen: &mut impl FnMut(u64, &Message),
) -> Result<(), ClientError> {
    let client = from.client();
    let subject = from.subject(&format!("CONSUMER.MSG.NEXT.{consumer}"));
    let bytes_max = BATCH_BYTES + client.info().max_payload;
    let body = json!({"batch": BATCH, "max_bytes": bytes_max, "no_wait": true}).to_string();
    let (none, mut delivered) = (Headers::new(), 0);
    while *next <= last {
        // The end of a batch may be reported after its last message, so each has its own inbox.
        let inbox = client.new_inbox();
        let mut messages = client.subscribe(&inbox, BATCH + 2).await?;
        let asked = client.publish(&subject, Some(&inbox), &none, body.as_bytes());
        asked.await?;
        let begin = delivered;
        while delivered < begin + BATCH as u64 {
            let mut message = messages.next(MESSAGE_LIMIT).await?;
            // A stored message may have a status, too, but only a stored one has a place.
            let Some(place) = message.reply.as_deref().and_then(Place::parse) else {
                // The bytes of the batch are used up, or the server is busy: it then reports that
                // there are no messages in the middle of a stream, too.
                if delivered > begin {
                    break;
                }
                return Ok(());
            };
            delivered += 1;
            if place.delivered != delivered || place.sequence < *next {
                return Ok(());
            }
            if place.sequence > last {
                *next = last + 1;
                return Ok(());
            }
            message.headers = message
                .headers
                .with("Nats-Subject", &message.subject)
                .with("Nats-Time-Stamp", place.time());
            seen(place.sequence, &message);
            *next = place.sequence + 1;
        }
    }
    Ok(())
}
