//! Follows a stream: its messages in order, from a given position, and then as they come.

use std::time::Duration;

use serde_json::json;

use super::place::Place;
use super::{JetStream, JetStreamError};
use crate::client::{ClientError, Message, Subscription};

/// How many messages may wait to be read.
const WAITING_MAX: usize = 4096;
/// Interval of heartbeats from a server without messages.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Number of missed heartbeats after which a server counts as dead.
const HEARTBEATS_MISSED: u32 = 3;
/// How long the server keeps the consumer after we are gone.
const KEPT: Duration = Duration::from_secs(30);
/// Status: a heartbeat.
const IDLE: u16 = 100;

/// The start position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// The first message stored at that time, RFC 3339, or after it.
    Time(String),
    /// The message with that sequence number, or the first after it.
    Sequence(u64),
}

/// A followed stream. Dropping it sends nothing to the server, which notices by itself.
#[derive(Debug)]
pub struct Follow {
    messages: Subscription,
    call: String,
    /// The number of the last message that was delivered to us.
    delivered: u64,
}

impl Follow {
    /// Starts to follow. With a `filter`, returns only messages whose subject matches it.
    pub async fn begin(
        from: &JetStream,
        stream: &str,
        filter: Option<&str>,
        begin: &Begin,
    ) -> Result<Self, JetStreamError> {
        let call = format!("CONSUMER.CREATE.{stream}");
        let inbox = from.client().new_inbox();
        let messages = from.client().subscribe(&inbox, WAITING_MAX).await;
        let messages = messages.map_err(|error| JetStreamError::client(&call, error))?;
        let mut config = json!({
            "deliver_subject": inbox, "ack_policy": "none", "max_deliver": 1,
            "replay_policy": "instant", "mem_storage": true, "num_replicas": 1,
            "idle_heartbeat": nanoseconds(HEARTBEAT), "inactive_threshold": nanoseconds(KEPT),
        });
        match begin {
            Begin::Time(time) => {
                config["deliver_policy"] = json!("by_start_time");
                config["opt_start_time"] = json!(time);
            }
            Begin::Sequence(number) => {
                config["deliver_policy"] = json!("by_start_sequence");
                config["opt_start_seq"] = json!(number);
            }
        }
        if let Some(filter) = filter {
            config["filter_subject"] = json!(filter);
        }
        from.put_consumer(stream, &config).await?;
        Ok(Self {
            messages,
            call,
            delivered: 0,
        })
    }

    /// Returns the next message and its sequence number in the stream. A server that is silent for
    /// 15 s is an error, and so is a missed message: the caller then follows again. Dropping the
    /// call loses nothing.
    pub async fn next(&mut self) -> Result<(u64, Message), JetStreamError> {
        loop {
            let next = self.messages.next(HEARTBEAT * HEARTBEATS_MISSED).await;
            let message = next.map_err(|error| JetStreamError::client(&self.call, error))?;
            if message.status == Some(IDLE) {
                continue;
            }
            let place = message.reply.as_deref().and_then(Place::parse);
            let Some(place) = place else {
                return Err(JetStreamError::answer(
                    &self.call,
                    "a message has no number",
                ));
            };
            if place.delivered != self.delivered + 1 {
                let subject = message.subject;
                return Err(JetStreamError::client(
                    &self.call,
                    ClientError::Overrun { subject },
                ));
            }
            self.delivered = place.delivered;
            return Ok((place.sequence, message));
        }
    }
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
