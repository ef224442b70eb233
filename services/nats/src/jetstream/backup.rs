//! Backup and restore of a stream as a file: content and consumers, in chunks, in bounded memory.
//!
//! The format is nats-server's own. Each chunk of a backup is acknowledged, so that a slow writer
//! slows the server; each chunk of a restore is a request.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::api::{outcome, read};
use super::{ANSWER_LIMIT, JetStream, JetStreamError, StreamInfo, StreamState};
use crate::client::{Headers, Message, Subscription};

/// Size of a chunk, as in nats-server itself.
const CHUNK_SIZE: usize = 128 * 1024;
/// How many chunks may be in flight.
const CHUNKS_MAX: usize = 32;
/// How long the next chunk may take: a server sends nothing while it skips deleted messages.
const CHUNK_LIMIT: Duration = Duration::from_mins(1);
/// How long a server may take after the last chunk, to bring consumers and replicas up.
const FINISH_LIMIT: Duration = Duration::from_mins(2);
/// The status of a complete end.
const COMPLETE: u16 = 204;

/// A started backup: its description is known, the bytes follow.
#[derive(Debug)]
pub struct Backup {
    stream: String,
    /// The configuration of the stream.
    pub config: Value,
    /// Its state, as the server writes it; a restore needs it.
    pub raw_state: Value,
    /// Its state, typed.
    pub state: StreamState,
    chunks: Subscription,
    from: JetStream,
}

impl Backup {
    /// Starts the backup of a stream with its consumers.
    pub async fn begin(from: &JetStream, stream: &str) -> Result<Self, JetStreamError> {
        let call = format!("STREAM.SNAPSHOT.{stream}");
        let client = from.client();
        let inbox = client.new_inbox();
        let chunk = CHUNK_SIZE.min(client.info().max_payload);
        // Room for all chunks in flight, the rest and the end.
        let chunks = client.subscribe(&inbox, CHUNKS_MAX + 2).await;
        let chunks = chunks.map_err(|error| JetStreamError::client(&call, error))?;
        let body = json!({
            "deliver_subject": inbox, "chunk_size": chunk, "window_size": chunk * CHUNKS_MAX,
        });
        let mut answer = from.call(&call, &body).await?;
        let raw_state = answer["state"].take();
        Ok(Self {
            stream: stream.to_owned(),
            config: answer["config"].take(),
            state: read(&call, raw_state.clone())?,
            raw_state,
            chunks,
            from: from.clone(),
        })
    }

    /// Writes the backup. Returns the number of bytes.
    pub async fn write_to(
        mut self,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, JetStreamError> {
        let call = format!("STREAM.SNAPSHOT.{}", self.stream);
        let client = self.from.client().clone();
        let mut size = 0;
        loop {
            let chunk = self.chunks.next(CHUNK_LIMIT).await;
            let chunk = chunk.map_err(|error| JetStreamError::client(&call, error))?;
            if chunk.payload.is_empty() {
                end(&call, &chunk)?;
                break;
            }
            let written = to.write_all(&chunk.payload).await;
            written.map_err(|error| self.failed(error))?;
            size += chunk.payload.len() as u64;
            if let Some(reply) = &chunk.reply {
                let acked = client.publish(reply, None, &Headers::new(), b"").await;
                acked.map_err(|error| JetStreamError::client(&call, error))?;
            }
        }
        to.flush().await.map_err(|error| self.failed(error))?;
        Ok(size)
    }

    fn failed(&self, source: std::io::Error) -> JetStreamError {
        let stream = self.stream.clone();
        JetStreamError::Copy { stream, source }
    }
}

/// Returns an error unless the last message of a backup says that it is complete.
fn end(call: &str, message: &Message) -> Result<(), JetStreamError> {
    match message.status {
        None | Some(COMPLETE) => Ok(()),
        Some(status) => {
            let what = format!("it ended too soon: {status} {}", message.description);
            Err(JetStreamError::answer(call, what))
        }
    }
}

/// Creates a stream from a backup. `config` is its new configuration, under the same name; `state`
/// comes from the backup.
pub async fn restore(
    to: &JetStream,
    config: &Value,
    state: &Value,
    from: &mut (impl AsyncRead + Unpin),
) -> Result<StreamInfo, JetStreamError> {
    let stream = config["name"].as_str().unwrap_or_default();
    let call = format!("STREAM.RESTORE.{stream}");
    let client = to.client();
    let answer = to
        .call(&call, &json!({"config": config, "state": state}))
        .await?;
    let Some(deliver) = answer["deliver_subject"].as_str() else {
        return Err(JetStreamError::answer(&call, "it names no subject"));
    };
    let send = async |bytes: &[u8], within| {
        let sent = client
            .request(deliver, &Headers::new(), bytes, within)
            .await;
        sent.map_err(|error| JetStreamError::client(&call, error))
    };
    let mut chunk = vec![0; CHUNK_SIZE.min(client.info().max_payload)];
    loop {
        let read = fill(from, &mut chunk).await;
        let read = read.map_err(|source| JetStreamError::Copy {
            stream: stream.to_owned(),
            source,
        })?;
        if read == 0 {
            break;
        }
        let answer = send(&chunk[..read], CHUNK_LIMIT).await?;
        if !answer.payload.is_empty() {
            outcome(&call, &answer.payload)?;
        }
    }
    let answer = send(b"", FINISH_LIMIT).await?;
    read(&call, outcome(&call, &answer.payload)?)
}

/// Reads until the buffer is full or the input ends.
async fn fill(from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]).await? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

impl JetStream {
    /// Deletes the stream of an abandoned [`restore`] and waits until nothing of it is left: the
    /// server continues it for some seconds. Returns whether it existed.
    pub async fn delete_restored(&self, stream: &str) -> Result<bool, JetStreamError> {
        let deadline = tokio::time::Instant::now() + ANSWER_LIMIT;
        let mut was_there = false;
        loop {
            match self.delete_stream(stream).await {
                Ok(false) => return Ok(was_there),
                Ok(true) => was_there = true,
                Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}
