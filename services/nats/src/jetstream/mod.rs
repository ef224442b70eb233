//! JetStream's API on top of a connection: streams, consumers, copies of whole streams.
//!
//! Typed only as far as needed: a configuration stays the JSON that the server sent, so that fields
//! of newer servers are kept when it is sent back. Must not decide what happens to a stream.

mod api;
mod backup;
mod follow;
mod messages;
mod place;
mod publish;
mod pulled;
mod stored;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use api::{optional, read};

pub use api::JetStreamError;
pub(crate) use api::outcome as api_outcome;
pub use backup::{Backup, restore};
pub use follow::{Begin, Follow};
pub use messages::each_message;
pub use stored::each_stored_message;

use crate::client::Client;

/// How long one answer may take. Creating a stream with replicas needs an election first.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Error code of the API: the stream does not exist.
const STREAM_NOT_FOUND: u32 = 10059;
/// Error code of the API: the consumer does not exist.
const CONSUMER_NOT_FOUND: u32 = 10014;

/// JetStream of one domain, as a connection reaches it.
#[derive(Debug, Clone)]
pub struct JetStream {
    client: Client,
    prefix: String,
}

/// A server's description of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StreamInfo {
    /// Its whole configuration.
    pub config: Value,
    /// Its state.
    pub state: StreamState,
    /// Its creation time, as the server writes it.
    #[serde(default)]
    pub created: String,
    /// The stream that it mirrors.
    pub mirror: Option<Origin>,
    /// The streams that it collects from.
    #[serde(default)]
    pub sources: Vec<Origin>,
}

/// The state of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct StreamState {
    /// The number of messages.
    pub messages: u64,
    /// Their size.
    #[serde(default)]
    pub bytes: u64,
    /// The sequence number of the first message.
    pub first_seq: u64,
    /// The last assigned sequence number.
    pub last_seq: u64,
    /// How many numbers between them have no message.
    #[serde(default)]
    pub num_deleted: u64,
    /// The number of its consumers.
    #[serde(default)]
    pub consumer_count: u64,
}

/// The origin of a stream's messages, and the progress of copying.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Origin {
    /// The name of the other stream.
    pub name: String,
    /// How many messages are still missing.
    #[serde(default)]
    pub lag: u64,
    /// Nanoseconds since its last contact; negative before the first one.
    #[serde(default)]
    pub active: i64,
}

impl StreamInfo {
    /// Returns its name.
    pub fn name(&self) -> &str {
        self.config["name"].as_str().unwrap_or_default()
    }

    /// Returns its subjects.
    pub fn subjects(&self) -> Vec<String> {
        let subjects = self.config["subjects"].as_array().into_iter().flatten();
        subjects
            .filter_map(|subject| subject.as_str())
            .map(str::to_owned)
            .collect()
    }
}

impl JetStream {
    /// Uses the domain of the server that the client is connected to.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            prefix: "$JS.API".to_owned(),
        }
    }

    /// Uses another domain that the server reaches.
    pub fn in_domain(client: Client, domain: &str) -> Self {
        Self {
            client,
            prefix: format!("$JS.{domain}.API"),
        }
    }

    /// Returns the connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns all streams, by name.
    pub async fn streams(&self) -> Result<Vec<StreamInfo>, JetStreamError> {
        let mut streams: Vec<StreamInfo> = self.pages("STREAM.LIST", "streams").await?;
        streams.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(streams)
    }

    /// Returns the names of all streams.
    pub async fn stream_names(&self) -> Result<Vec<String>, JetStreamError> {
        let mut names: Vec<String> = self.pages("STREAM.NAMES", "streams").await?;
        names.sort();
        Ok(names)
    }

    /// Returns one stream, if it exists.
    pub async fn stream(&self, name: &str) -> Result<Option<StreamInfo>, JetStreamError> {
        let answer = self.call(&format!("STREAM.INFO.{name}"), &json!({})).await;
        optional("STREAM.INFO", answer, STREAM_NOT_FOUND)
    }

    /// Returns the number of messages in a stream.
    pub async fn message_count(&self, name: &str) -> Result<u64, JetStreamError> {
        let answer = self
            .call(&format!("STREAM.INFO.{name}"), &json!({}))
            .await?;
        let info: StreamInfo = read("STREAM.INFO", answer)?;
        Ok(info.state.messages)
    }

    /// Creates a stream.
    pub async fn create_stream(&self, config: &Value) -> Result<StreamInfo, JetStreamError> {
        self.put_stream("CREATE", config).await
    }

    /// Changes the configuration of a stream.
    pub async fn update_stream(&self, config: &Value) -> Result<StreamInfo, JetStreamError> {
        self.put_stream("UPDATE", config).await
    }

    async fn put_stream(&self, verb: &str, config: &Value) -> Result<StreamInfo, JetStreamError> {
        let name = config["name"].as_str().unwrap_or_default();
        let answer = self.call(&format!("STREAM.{verb}.{name}"), config).await?;
        read(&format!("STREAM.{verb}"), answer)
    }

    /// Deletes a stream and its messages. Returns whether it existed.
    pub async fn delete_stream(&self, name: &str) -> Result<bool, JetStreamError> {
        let answer = self
            .call(&format!("STREAM.DELETE.{name}"), &json!({}))
            .await;
        Ok(optional::<Value>("STREAM.DELETE", answer, STREAM_NOT_FOUND)?.is_some())
    }

    /// Returns all consumers of a stream, as the server describes them.
    pub async fn consumers(&self, stream: &str) -> Result<Vec<Value>, JetStreamError> {
        let mut consumers: Vec<Value> = self
            .pages(&format!("CONSUMER.LIST.{stream}"), "consumers")
            .await?;
        consumers.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        Ok(consumers)
    }

    /// Returns one consumer, if it exists.
    pub async fn consumer(
        &self,
        stream: &str,
        name: &str,
    ) -> Result<Option<Value>, JetStreamError> {
        let call = format!("CONSUMER.INFO.{stream}.{name}");
        let answer = self.call(&call, &json!({})).await;
        optional("CONSUMER.INFO", answer, CONSUMER_NOT_FOUND)
    }

    /// Creates a consumer, or changes its configuration.
    pub async fn put_consumer(
        &self,
        stream: &str,
        config: &Value,
    ) -> Result<Value, JetStreamError> {
        let name = config["name"].as_str().or(config["durable_name"].as_str());
        let call = match name {
            Some(name) => format!("CONSUMER.CREATE.{stream}.{name}"),
            None => format!("CONSUMER.CREATE.{stream}"),
        };
        let body = json!({"stream_name": stream, "config": config});
        self.call(&call, &body).await
    }
}
