//! A small client of the NATS protocol, for servers on this machine.
//!
//! Owns one connection: publishing, subscribing, requests. A [`Client`] is a handle that is cloned
//! freely; two tasks behind it read and write, so its runtime must keep running. It does not
//! reconnect: an operation that lost its server fails and must start again. Every wait has a
//! deadline. Must not know JetStream.

mod connection;
mod error;
mod greet;
mod headers;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

pub use connection::Subscription;
pub use error::ClientError;
pub use headers::Headers;
pub use wire::{Message, ServerInfo};

use crate::credentials::Login;
use connection::Connection;

/// How long a server of this machine may take to accept a login. It takes about a millisecond; one
/// that is just starting answers late.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a frame may wait for the server to read.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// Status of an answer: the subject has no subscriber.
const NO_RESPONDERS: u16 = 503;

/// A connection to a server. Clones share it; it is closed with the last of them.
#[derive(Debug, Clone)]
pub struct Client {
    connection: Arc<Connection>,
    /// The prefix of the subjects of answers.
    inbox: Arc<str>,
    next_inbox: Arc<AtomicU64>,
}

impl Client {
    /// Connects to a port of this machine, as the user of `login`, or as the user for clients
    /// without credentials. `name` appears in the server's monitoring.
    pub async fn connect(
        port: u16,
        login: Option<&Login>,
        name: &str,
    ) -> Result<Self, ClientError> {
        Self::connect_to((Ipv4Addr::LOCALHOST, port).into(), login, name).await
    }

    /// Like [`Self::connect`], to any address.
    pub async fn connect_to(
        address: SocketAddr,
        login: Option<&Login>,
        name: &str,
    ) -> Result<Self, ClientError> {
        let secret = kit::secret::generate().map_err(|error| ClientError::Invalid {
            what: format!("cannot make up an inbox: {error:#}"),
        })?;
        let inbox: Arc<str> = format!("_INBOX.{secret}").into();
        let opening = greet::open(address, login, name, &inbox);
        let connection = timeout(CONNECT_LIMIT, opening)
            .await
            .map_err(|_| ClientError::timeout(format!("connecting to `{address}`")))??;
        Ok(Self {
            connection: Arc::new(connection),
            inbox,
            next_inbox: Arc::new(AtomicU64::new(1)),
        })
    }

    /// Returns the server's description of itself.
    pub fn info(&self) -> &ServerInfo {
        self.connection.info()
    }

    /// Returns a unique subject, for answers to a subscription of the caller.
    pub fn new_inbox(&self) -> String {
        let number = self.next_inbox.fetch_add(1, Ordering::Relaxed);
        format!("{}.own.{number}", self.inbox)
    }

    /// Publishes a message. Success means that it was queued, not that it arrived.
    pub async fn publish(
        &self,
        subject: &str,
        reply: Option<&str>,
        headers: &Headers,
        payload: &[u8],
    ) -> Result<(), ClientError> {
        let frame = wire::publish(subject, reply, headers, payload, self.info().max_payload)?;
        self.send(frame).await
    }

    /// Subscribes. At most `capacity` messages wait to be read; more end the subscription with
    /// [`ClientError::Overrun`], so that a slow reader neither fills the memory nor blocks others.
    pub async fn subscribe(
        &self,
        subject: &str,
        capacity: usize,
    ) -> Result<Subscription, ClientError> {
        wire::check_subject(subject)?;
        let (subscription, frame) = self.connection.subscribe(subject, capacity)?;
        self.send(frame).await?;
        Ok(subscription)
    }

    /// Sends a request and waits at most `within` for the first answer. Without a subscriber it
    /// returns [`ClientError::NoResponders`].
    pub async fn request(
        &self,
        subject: &str,
        headers: &Headers,
        payload: &[u8],
        within: Duration,
    ) -> Result<Message, ClientError> {
        let number = self.next_inbox.fetch_add(1, Ordering::Relaxed);
        let reply = format!("{}.{number}", self.inbox);
        let max = self.info().max_payload;
        let frame = wire::publish(subject, Some(&reply), headers, payload, max)?;
        let waiting = self.connection.expect_answer(number)?;
        let exchange = async {
            self.send(frame).await?;
            waiting.answer().await
        };
        let message = timeout(within, exchange)
            .await
            .map_err(|_| ClientError::timeout(format!("the answer to `{subject}`")))??;
        if message.status == Some(NO_RESPONDERS) && message.payload.is_empty() {
            return Err(ClientError::NoResponders {
                subject: subject.to_owned(),
            });
        }
        Ok(message)
    }

    /// Waits at most `within` until the server has read everything that was sent before.
    pub async fn flush(&self, within: Duration) -> Result<(), ClientError> {
        let (told, pong) = oneshot::channel();
        let exchange = async {
            self.connection.ping(told).await?;
            pong.await.map_err(|_| self.connection.why_closed())
        };
        timeout(within, exchange)
            .await
            .map_err(|_| ClientError::timeout("the answer to a PING"))?
    }

    /// Sends what is queued and closes the connection, for all clones.
    pub async fn close(self) -> Result<(), ClientError> {
        let flushed = self.flush(SEND_LIMIT).await;
        self.connection.end();
        flushed
    }

    async fn send(&self, frame: Vec<u8>) -> Result<(), ClientError> {
        timeout(SEND_LIMIT, self.connection.send(frame))
            .await
            .map_err(|_| ClientError::timeout("the server to read what is sent"))?
    }
}

#[cfg(test)]
mod tests;
