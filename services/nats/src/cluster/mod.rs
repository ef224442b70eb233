//! Commands to the hub's cluster as a whole, which only the system account may send.
//!
//! One function per command, and its answer. Must not decide when to send or in which order.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};

use crate::client::{Client, ClientError, Headers};
use crate::credentials;
use crate::jetstream::{JetStreamError, api_outcome};

/// How long an answer to a command may take. It comes before the command is carried out; a meta
/// group that elects a leader takes up to 9 s.
const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);

/// A connection to a hub node as its system user.
#[derive(Debug, Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// Connects to the node that listens for clients on `port` of this machine, with the
    /// credentials in its `data_dir`, which the owner of the checkout can read.
    pub async fn connect(port: u16, data_dir: &Path) -> anyhow::Result<Self> {
        Self::connect_to((Ipv4Addr::LOCALHOST, port).into(), data_dir).await
    }

    /// Like [`Self::connect`], to the node's address: with `NATS_HOST` it does not listen on all.
    pub async fn connect_to(address: SocketAddr, data_dir: &Path) -> anyhow::Result<Self> {
        let login = credentials::read(data_dir)?.sys;
        let client = Client::connect_to(address, Some(&login), "core").await?;
        Ok(Self { client })
    }

    /// Returns the connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks the leader of the meta group to step down, in favour of the server `preferred` if
    /// given. The answer means that it was accepted; `/jsz` shows the new leader.
    pub async fn step_down_meta(&self, preferred: Option<&str>) -> Result<(), JetStreamError> {
        let body = match preferred {
            Some(name) => json!({"placement": {"preferred": name}}),
            None => json!({}),
        };
        self.order("META.LEADER.STEPDOWN", &body).await.map(drop)
    }

    /// Moves every stream and consumer off the server `peer`, which must run. The answer means that
    /// it has begun; it has ended when `/jsz` of that server lists none.
    pub async fn evacuate(&self, peer: &str) -> Result<(), JetStreamError> {
        self.order("SERVER.EVACUATE", &json!({"peer": peer}))
            .await
            .map(drop)
    }

    /// Removes the server `peer` from the meta group, running or not. It cannot join again under
    /// that name for 5 minutes.
    pub async fn remove(&self, peer: &str) -> Result<(), JetStreamError> {
        self.order("SERVER.REMOVE", &json!({"peer": peer}))
            .await
            .map(drop)
    }

    /// Sends any request of the system account, such as `$SYS.REQ.SERVER.ID.RELOAD`, and returns
    /// its answer.
    pub async fn request(&self, subject: &str, body: &Value) -> Result<Value, JetStreamError> {
        let none = Headers::new();
        let body = body.to_string();
        let answer = self
            .client
            .request(subject, &none, body.as_bytes(), ANSWER_LIMIT);
        let answer = answer.await;
        let answer = answer.map_err(|error: ClientError| JetStreamError::client(subject, error))?;
        api_outcome(subject, &answer.payload)
    }

    async fn order(&self, order: &str, body: &Value) -> Result<Value, JetStreamError> {
        self.request(&format!("$JS.API.{order}"), body).await
    }
}
