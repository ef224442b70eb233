//! JetStream's API on top of a connection: streams, consumers, copies of whole streams.
//!
//! Typed only as far as it is used: a configuration stays the JSON that the server gave, so that
//! nothing a newer server adds is lost when it is sent back. Must not decide what happens to a
//! stream.

mod api;
mod backup;
mod follow;
mod messages;
mod publish;
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

/// How long one answer may take. Making a stream with replicas needs an election first.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Error code of the API: there is no such stream.
const STREAM_NOT_FOUND: u32 = 10059;
/// Error code of the API: there is no such consumer.
const CONSUMER_NOT_FOUND: u32 = 10014;

/// JetStream of one domain, as a connection reaches it.
#[derive(Debug, Clone)]
pub struct JetStream {
    client: Client,
    prefix: String,
}

/// What a server tells of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StreamInfo {
    /// Its whole configuration.
    pub config: Value,
    /// What it holds.
    pub state: StreamState,
    /// When it was made, as the server writes it.
    #[serde(default)]
    pub created: String,
    /// What it mirrors.
    pub mirror: Option<Origin>,
    /// What it collects from.
    #[serde(default)]
    pub sources: Vec<Origin>,
}

/// What a stream holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct StreamState {
    /// How many messages.
    pub messages: u64,
    /// Their size.
    #[serde(default)]
    pub bytes: u64,
    /// The sequence number of the first message.
    pub first_seq: u64,
    /// The last sequence number that was given.
    pub last_seq: u64,
    /// How many numbers between them have no message.
    #[serde(default)]
    pub num_deleted: u64,
    /// How many consumers it has.
    #[serde(default)]
    pub consumer_count: u64,
}

/// Another stream that a stream copies from, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Origin {
    /// The name of the other stream.
    pub name: String,
    /// How many messages are missing yet.
    #[serde(default)]
    pub lag: u64,
    /// Nanoseconds since it was last heard of; negative before the first time.
    #[serde(default)]
    pub active: i64,
}

impl StreamInfo {
    /// Its name.
    pub fn name(&self) -> &str {
        self.config["name"].as_str().unwrap_or_default()
    }

    /// Its subjects.
    pub fn subjects(&self) -> Vec<String> {
        let subjects = self.config["subjects"].as_array().into_iter().flatten();
        subjects
            .filter_map(|subject| subject.as_str())
            .map(str::to_owned)
            .collect()
    }
}

impl JetStream {
    /// The domain of the server that the client is connected to.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            prefix: "$JS.API".to_owned(),
        }
    }

    /// Another domain that the server reaches.
    pub fn in_domain(client: Client, domain: &str) -> Self {
        Self {
            client,
            prefix: format!("$JS.{domain}.API"),
        }
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// All streams, by name.
    pub async fn streams(&self) -> Result<Vec<StreamInfo>, JetStreamError> {
        let mut streams: Vec<StreamInfo> = self.pages("STREAM.LIST", "streams").await?;
        streams.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(streams)
    }

    /// The names of all streams.
    pub async fn stream_names(&self) -> Result<Vec<String>, JetStreamError> {
        let mut names: Vec<String> = self.pages("STREAM.NAMES", "streams").await?;
        names.sort();
        Ok(names)
    }

    /// One stream, if it is there.
    pub async fn stream(&self, name: &str) -> Result<Option<StreamInfo>, JetStreamError> {
        let answer = self.call(&format!("STREAM.INFO.{name}"), &json!({})).await;
        optional("STREAM.INFO", answer, STREAM_NOT_FOUND)
    }

    /// How many messages a stream holds.
    pub async fn message_count(&self, name: &str) -> Result<u64, JetStreamError> {
        let answer = self
            .call(&format!("STREAM.INFO.{name}"), &json!({}))
            .await?;
        let info: StreamInfo = read("STREAM.INFO", answer)?;
        Ok(info.state.messages)
    }

    /// Makes a stream.
    pub async fn create_stream(&self, config: &Value) -> Result<StreamInfo, JetStreamError> {
        self.put_stream("CREATE", config).await
    }

    /// Gives a stream another configuration.
    pub async fn update_stream(&self, config: &Value) -> Result<StreamInfo, JetStreamError> {
        self.put_stream("UPDATE", config).await
    }

    async fn put_stream(&self, verb: &str, config: &Value) -> Result<StreamInfo, JetStreamError> {
        let name = config["name"].as_str().unwrap_or_default();
        let answer = self.call(&format!("STREAM.{verb}.{name}"), config).await?;
        read(&format!("STREAM.{verb}"), answer)
    }

    /// Deletes a stream and all it holds. Says whether it was there.
    pub async fn delete_stream(&self, name: &str) -> Result<bool, JetStreamError> {
        let answer = self
            .call(&format!("STREAM.DELETE.{name}"), &json!({}))
            .await;
        Ok(optional::<Value>("STREAM.DELETE", answer, STREAM_NOT_FOUND)?.is_some())
    }

    /// All consumers of a stream, as the server tells of them.
    pub async fn consumers(&self, stream: &str) -> Result<Vec<Value>, JetStreamError> {
        let mut consumers: Vec<Value> = self
            .pages(&format!("CONSUMER.LIST.{stream}"), "consumers")
            .await?;
        consumers.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        Ok(consumers)
    }

    /// One consumer, if it is there.
    pub async fn consumer(
        &self,
        stream: &str,
        name: &str,
    ) -> Result<Option<Value>, JetStreamError> {
        let call = format!("CONSUMER.INFO.{stream}.{name}");
        let answer = self.call(&call, &json!({})).await;
        optional("CONSUMER.INFO", answer, CONSUMER_NOT_FOUND)
    }

    /// Makes a consumer, or gives one another configuration.
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
