//! Moves one stream in steps, each of which can be recognised after a crash.
//!
//! A stream that is being moved is marked in its metadata, with its earlier configuration. So is
//! its copy, until the copy counts: then it has the number of the move. From these two marks
//! [`Carry::settle`] derives the progress of a move, and finishes it or rolls it back.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use kit::secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_nats::jetstream::{
    Backup, JetStream, JetStreamError, StreamInfo, StreamState, restore,
};

use super::content::content;
use super::plan::{Move, at_destination};

/// In the metadata of a stream that is being moved, and of its copy: a [`Mark`].
const MOVING: &str = "core.moving";
/// In the metadata of a copy that counts already: the number of the move.
const MOVED: &str = "core.moved";
/// Prefix of the subject that keeps publishers out.
const PRIVATE_SUBJECT: &str = "core.moving";
/// How often a copy is repeated if the stream changed meanwhile: its consumers still work.
const ATTEMPTS: usize = 5;
/// Buffer between backup and restore.
const PIPE_BYTES: usize = 1024 * 1024;

/// The mark of a stream that is being moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The number of the move.
    id: String,
    /// The earlier configuration.
    config: Value,
    /// The earlier replicas of consumers, where they were changed.
    #[serde(default)]
    consumers: BTreeMap<String, u64>,
}

/// One move with its origin and destination.
pub(crate) struct Carry<'a> {
    pub(crate) step: &'a Move,
    pub(crate) from: &'a JetStream,
    pub(crate) to: &'a JetStream,
    /// Maximum of replicas at the destination.
    pub(crate) replicas_max: u64,
}

/// The content that was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) messages: u64,
    pub(crate) consumers: usize,
}

impl Carry<'_> {
    fn name(&self) -> &str {
        &self.step.name
    }

    /// Closes the stream: publishers now receive an error, and no acknowledgement that could be
    /// lost.
    pub(crate) async fn park(&self) -> anyhow::Result<()> {
        let info = self.source().await?;
        let consumers = self.from.consumers(self.name()).await?;
        let too_many = |consumer: &Value| {
            let replicas = consumer["config"]["num_replicas"].as_u64()?;
            let name = consumer["name"].as_str()?.to_owned();
            (replicas > self.replicas_max).then_some((name, replicas))
        };
        let mark = Mark {
            id: secret::generate()?,
            config: info.config.clone(),
            consumers: consumers.iter().filter_map(too_many).collect(),
        };
        let parked = parked(&info.config, &mark)?;
        self.from.update_stream(&parked).await?;
        self.set_replicas(&mark, |_| 0).await
    }

    /// Copies everything to the destination and verifies it.
    pub(crate) async fn copy(&self) -> anyhow::Result<Moved> {
        for _ in 0..ATTEMPTS {
            self.discard_copy().await?;
            let before = self.source().await?.state;
            let own = content(self.from, self.name(), &before).await?;
            self.transfer().await?;
            let after = self.source().await?.state;
            let Some(copy) = self.to.stream(self.name()).await? else {
                bail!("the copy is gone");
            };
            let consumers = self.restored_consumers().await?;
            if !same(&before, &after) {
                continue;
            }
            let other = content(self.to, self.name(), &before).await?;
            if same(&before, &copy.state) && own == other && own.messages == before.messages {
                return Ok(Moved {
                    messages: before.messages,
                    consumers,
                });
            }
        }
        bail!("the stream and its copy are not the same after {ATTEMPTS} attempts")
    }

    /// Makes the copy the one that counts. This cannot be rolled back.
    pub(crate) async fn commit(&self) -> anyhow::Result<()> {
        let mark = self.mark_of_source().await?;
        let mut config = at_destination(&mark.config, self.replicas_max);
        config["metadata"][MOVED] = json!(mark.id);
        self.to.update_stream(&config).await?;
        Ok(())
    }

    /// Deletes the stream at its origin, and the marks.
    pub(crate) async fn finish(&self) -> anyhow::Result<()> {
        self.from.delete_stream(self.name()).await?;
        self.unmark_copy().await
    }

    /// Deletes the copy and restores the configuration of the stream.
    pub(crate) async fn take_back(&self) -> anyhow::Result<()> {
        self.discard_copy().await?;
        let info = self.from.stream(self.name()).await?;
        let Some(mark) = info.as_ref().and_then(mark) else {
            return Ok(());
        };
        self.from.update_stream(&mark.config).await?;
        self.set_replicas(&mark, |replicas| replicas).await
    }

    /// Finishes an interrupted move, or rolls it back if it is not past the point of no return.
    pub(crate) async fn recover(&self) -> anyhow::Result<()> {
        let source = self.from.stream(self.name()).await?;
        let copy = self.to.stream(self.name()).await?;
        let moved = copy.as_ref().and_then(moved);
        match source.as_ref().and_then(mark) {
            Some(mark) if moved == Some(&mark.id) => self.finish().await,
            Some(_) => self.take_back().await,
            None if source.is_none() => self.unmark_copy().await,
            None => Ok(()),
        }
    }

    /// Removes the number of the move from the copy.
    pub(crate) async fn unmark_copy(&self) -> anyhow::Result<()> {
        let Some(copy) = self.to.stream(self.name()).await? else {
            return Ok(());
        };
        if moved(&copy).is_none() {
            return Ok(());
        }
        let mut config = copy.config;
        if let Some(metadata) = config["metadata"].as_object_mut() {
            metadata.remove(MOVED);
        }
        self.to.update_stream(&config).await?;
        Ok(())
    }

    /// Deletes the stream at the destination if it is a copy that does not count yet. Waits for one
    /// that a killed command was restoring.
    async fn discard_copy(&self) -> anyhow::Result<()> {
        let copy = self.to.stream(self.name()).await?;
        if copy.as_ref().and_then(mark).is_some() {
            self.to.delete_restored(self.name()).await?;
        }
        Ok(())
    }

    /// Runs backup and restore in parallel, without a file between them.
    async fn transfer(&self) -> anyhow::Result<()> {
        let backup = Backup::begin(self.from, self.name()).await?;
        let config = at_destination(&backup.config, self.replicas_max);
        let state = backup.raw_state.clone();
        let (mut writer, mut reader) = tokio::io::duplex(PIPE_BYTES);
        let send = async move { backup.write_to(&mut writer).await };
        let receive = async {
            let restored = restore(self.to, &config, &state, &mut reader).await;
            // Unblocks a sender that is not done.
            drop(reader);
            restored
        };
        match tokio::join!(send, receive) {
            (Ok(_), Ok(_)) => Ok(()),
            // The sender only notices that the receiver has failed.
            (Err(JetStreamError::Copy { .. }) | Ok(_), Err(error)) | (Err(error), _) => {
                Err(error.into())
            }
        }
    }

    /// Returns how many consumers came with the copy; fails if a durable one is missing.
    async fn restored_consumers(&self) -> anyhow::Result<usize> {
        let durable = |consumers: Vec<Value>| -> Vec<String> {
            let names = consumers
                .iter()
                .filter_map(|consumer| consumer["config"]["durable_name"].as_str());
            names.map(str::to_owned).collect()
        };
        let own = durable(self.from.consumers(self.name()).await?);
        let there = durable(self.to.consumers(self.name()).await?);
        match own.iter().find(|name| !there.contains(name)) {
            None => Ok(there.len()),
            Some(name) => bail!("the consumer `{name}` was not restored"),
        }
    }

    /// Sets the replicas of the consumers that had more than the destination can have; 0 means as
    /// many as the stream.
    async fn set_replicas(&self, mark: &Mark, of: impl Fn(u64) -> u64) -> anyhow::Result<()> {
        for (name, replicas) in &mark.consumers {
            let consumer = self.from.consumer(self.name(), name).await?;
            let Some(mut consumer) = consumer else {
                continue;
            };
            let mut config = consumer["config"].take();
            config["num_replicas"] = of(*replicas).into();
            self.from.put_consumer(self.name(), &config).await?;
        }
        Ok(())
    }

    async fn source(&self) -> anyhow::Result<StreamInfo> {
        let info = self.from.stream(self.name()).await?;
        info.context("it is gone")
    }

    async fn mark_of_source(&self) -> anyhow::Result<Mark> {
        let info = self.source().await?;
        mark(&info).context("it is not marked as being moved")
    }
}

fn parked(config: &Value, mark: &Mark) -> anyhow::Result<Value> {
    let mut parked = closed(config, PRIVATE_SUBJECT);
    parked["metadata"][MOVING] = json!(serde_json::to_string(mark)?);
    Ok(parked)
}

/// Returns the configuration of a stream that accepts nothing, loses nothing and can be read. Its
/// only subject begins with `private`.
pub(crate) fn closed(config: &Value, private: &str) -> Value {
    let mut closed = config.clone();
    let name = config["name"].as_str().unwrap_or_default();
    closed["subjects"] = json!([format!("{private}.{name}")]);
    closed["allow_direct"] = json!(true);
    // Messages that expire during the copy would make a difference; but such markers need an age.
    if closed["subject_delete_marker_ttl"].as_u64().unwrap_or(0) == 0 {
        closed["max_age"] = json!(0);
    }
    if let Some(closed) = closed.as_object_mut() {
        closed.remove("sources");
    }
    closed
}

fn mark(info: &StreamInfo) -> Option<Mark> {
    let text = info.config["metadata"][MOVING].as_str()?;
    serde_json::from_str(text).ok()
}

fn moved(info: &StreamInfo) -> Option<&String> {
    match &info.config["metadata"][MOVED] {
        Value::String(id) => Some(id),
        _ => None,
    }
}

/// Whether two states have the same messages. Without messages, only the next number counts.
pub(crate) fn same(one: &StreamState, other: &StreamState) -> bool {
    let first = |state: &StreamState| (state.messages > 0).then_some(state.first_seq);
    one.messages == other.messages && one.last_seq == other.last_seq && first(one) == first(other)
}

#[cfg(test)]
mod tests {
    use super::super::safe::tests::stream;
    use super::*;

    #[test]
    fn a_parked_stream_takes_nothing_and_remembers_what_it_was() {
        let config = json!({"name": "A", "subjects": ["a"], "max_age": 5, "metadata": {"x": "y"}});
        let own = Mark {
            id: "1".to_owned(),
            config: config.clone(),
            consumers: BTreeMap::new(),
        };
        let parked = parked(&config, &own).unwrap();
        assert_eq!(parked["subjects"], json!(["core.moving.A"]));
        assert_eq!(parked["max_age"], 0);
        assert_eq!(parked["metadata"]["x"], "y");
        assert_eq!(mark(&stream(&parked, 1)), Some(own));
        assert_eq!(mark(&stream(&config, 1)), None);
    }
}
