//! A publisher and a consumer of a stream of NATS that is created for the load.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use service_nats::client::{Client as Connection, ClientError, Headers, Message, Subscription};
use service_nats::jetstream::{JetStream, each_message};

use super::tally::{Client, Found, Tally};
use super::targets::Nats;
use super::{RETRY_PAUSE, Sent, Work};

/// The prefix of the names of these streams.
const PREFIX: &str = "CORE_PROBE_";
/// Pause between two messages.
const PAUSE: Duration = Duration::from_millis(4);
/// How long an acknowledgement may take before the message is sent again with the same id.
const ACK_LIMIT: Duration = Duration::from_secs(2);
/// How long the publication of a message is retried. Far less than the window in which the server
/// recognizes ids.
const PUBLISH_LIMIT: Duration = Duration::from_secs(15);
/// The window in which the server recognizes an id, in nanoseconds.
const WINDOW_NANOSECONDS: u64 = 120_000_000_000;
/// Messages that may wait for the consumer.
const WAITING_MAX: usize = 8192;
/// How long the consumer waits before it checks for the end.
const LOOK: Duration = Duration::from_millis(50);
/// How long the consumer may take for messages that were published before the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

impl Nats {
    async fn connect(&self) -> Result<Connection, ClientError> {
        Connection::connect_to(self.address, self.login.as_ref(), "core-load").await
    }
}

/// The results of the consumer.
pub(super) struct Consumed {
    client: Client,
    found: Found,
}

/// The stream of one run.
pub(super) struct Stream {
    nats: Nats,
    name: String,
    subject: String,
}

impl Stream {
    /// Creates it. Removes the streams of killed runs.
    pub(super) async fn make(nats: Nats, run: &str) -> anyhow::Result<Self> {
        let stream = Self {
            name: format!("{PREFIX}{run}"),
            subject: format!("core.probe.{run}"),
            nats,
        };
        let jetstream = JetStream::new(stream.nats.connect().await?);
        for old in jetstream.stream_names().await? {
            if old.starts_with(PREFIX) {
                jetstream.delete_stream(&old).await?;
            }
        }
        let config = json!({
            "name": stream.name, "subjects": [stream.subject], "storage": "file",
            "duplicate_window": WINDOW_NANOSECONDS, "allow_direct": true,
        });
        jetstream.create_stream(&config).await?;
        Ok(stream)
    }

    /// Publishes until the end. A message that was not acknowledged is sent again with the same id.
    pub(super) async fn publish(&self, work: Work) -> Sent {
        let mut connection = None;
        let attempt = async |number, _, tally: &mut Tally| {
            let result = self.attempt(&mut connection, number).await;
            let error = result.as_ref().err().and_then(|error| error.downcast_ref());
            if matches!(error, Some(ClientError::Closed { .. })) {
                tally.disconnected();
                connection = None;
            }
            result
        };
        let sent = work.send(PAUSE, PUBLISH_LIMIT, attempt).await;
        work.published();
        sent
    }

    async fn attempt(
        &self,
        connection: &mut Option<Connection>,
        number: u64,
    ) -> anyhow::Result<()> {
        let client = match connection {
            Some(client) => client,
            None => connection.insert(self.nats.connect().await?),
        };
        let headers = Headers::new().with("Nats-Msg-Id", number.to_string());
        let payload = number.to_string();
        let answer = client
            .request(&self.subject, &headers, payload.as_bytes(), ACK_LIMIT)
            .await?;
        let ack: Value = serde_json::from_slice(&answer.payload)
            .context("the acknowledgement cannot be read")?;
        anyhow::ensure!(ack["seq"].is_u64(), "it was not stored: {}", ack["error"]);
        Ok(())
    }

    /// Consumes until the end, and then the messages published before it.
    pub(super) async fn consume(&self, work: Work) -> Consumed {
        let mut tally = Tally::begin(Instant::now());
        let mut found = Found::default();
        let mut next = 1;
        let mut source = None;
        let mut over = None;
        loop {
            if source.is_none() {
                match self.listen(next).await {
                    Ok(listening) => source = Some(listening),
                    Err(error) => tally.retry(format!("{error:#}")),
                }
            }
            let message = if let Some((_, messages)) = &mut source {
                messages.next(LOOK).await
            } else {
                tokio::time::sleep(RETRY_PAUSE).await;
                let what = "the server".to_owned();
                Err(ClientError::Timeout { what })
            };
            match message {
                Ok(message) if sequence(&message) == Some(next) => {
                    next += 1;
                    if let Some(number) = number(&message) {
                        found.add(number);
                    }
                    work.done(&mut tally);
                }
                // A repeated or a later message: consume again from the expected number.
                Ok(_) => source = None,
                Err(ClientError::Timeout { .. }) if work.is_published() => {
                    let deadline = *over.get_or_insert_with(|| Instant::now() + DRAIN_LIMIT);
                    let whole = self.last().await.is_some_and(|last| next > last);
                    if whole || Instant::now() >= deadline {
                        break;
                    }
                }
                Err(ClientError::Timeout { .. }) => {}
                Err(error) => {
                    tally.disconnected();
                    tally.retry(format!("{error:#}"));
                    source = None;
                }
            }
        }
        Consumed {
            client: tally.end_with_the_last(),
            found,
        }
    }

    /// Subscribes to the messages from a number on, pushed by the server.
    async fn listen(&self, next: u64) -> anyhow::Result<(Connection, Subscription)> {
        let client = self.nats.connect().await?;
        let inbox = client.new_inbox();
        let messages = client.subscribe(&inbox, WAITING_MAX).await?;
        let config = json!({
            "deliver_subject": inbox, "ack_policy": "none",
            "deliver_policy": "by_start_sequence", "opt_start_seq": next,
        });
        let jetstream = JetStream::new(client.clone());
        jetstream.put_consumer(&self.name, &config).await?;
        Ok((client, messages))
    }

    /// Returns the last stored number.
    async fn last(&self) -> Option<u64> {
        let jetstream = JetStream::new(self.nats.connect().await.ok()?);
        let stream = jetstream.stream(&self.name).await.ok()??;
        Some(stream.state.last_seq)
    }

    /// Compares the stored and the delivered messages with the acknowledged ones. `now` is the
    /// server's address after the change.
    pub(super) async fn count(
        &self,
        published: Sent,
        consumed: Consumed,
        now: &Nats,
    ) -> anyhow::Result<(Client, Client)> {
        let jetstream = JetStream::new(now.connect().await?);
        let stream = jetstream.stream(&self.name).await?;
        let last = stream.context("the stream is gone")?.state.last_seq;
        let mut stored = Found::default();
        each_message(&jetstream, &self.name, 1, last, |_, message| {
            if let Some(number) = number(message) {
                stored.add(number);
            }
        })
        .await?;
        let with = |client: Client, found: &Found| Client {
            lost: found.lost(&published.acknowledged),
            duplicated: found.duplicated(),
            ..client
        };
        let consumer = with(consumed.client, &consumed.found);
        Ok((with(published.client, &stored), consumer))
    }

    /// Removes the stream.
    pub(super) async fn remove(&self, now: &Nats) -> anyhow::Result<()> {
        let jetstream = JetStream::new(now.connect().await?);
        jetstream.delete_stream(&self.name).await?;
        Ok(())
    }
}

fn number(message: &Message) -> Option<u64> {
    std::str::from_utf8(&message.payload).ok()?.parse().ok()
}

/// Returns the number of a message in its stream, from the subject of its acknowledgement:
/// `$JS.ACK.STREAM.CONSUMER.DELIVERED.NUMBER...`, or with domain and account before the stream.
fn sequence(message: &Message) -> Option<u64> {
    let parts: Vec<&str> = message.reply.as_deref()?.split('.').collect();
    let place = if parts.len() < 11 { 5 } else { 7 };
    parts.get(place)?.parse().ok()
}
