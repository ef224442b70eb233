//! The connection by which PocketBase reports changed records.
//!
//! Owns the subscription and the pause after which a burst of events is over. Must not use the
//! content of an event: it is a hint to read the records.

use std::time::Duration;

use engine::topology::record::{COLLECTION, Client, RecordError};
use kit::http::events::Events;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

/// The path of PocketBase's events.
const PATH: &str = "/api/realtime";
/// The first event of a connection.
const CONNECTED: &str = "PB_CONNECT";
/// How long PocketBase may take to accept a connection and name it; it takes a millisecond.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A burst is over when no event comes for this long, ...
const QUIET: Duration = Duration::from_millis(20);
/// ... or when it has lasted this long: a client may write without a pause.
const BURST_MAX: Duration = Duration::from_millis(50);

/// A subscription. It reports every change after it was opened, or its own end.
#[derive(Debug)]
pub(crate) struct Watch {
    events: Events,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connected {
    client_id: String,
}

impl Watch {
    /// Connects and subscribes.
    pub(crate) async fn open(client: &mut Client) -> Result<Self, RecordError> {
        // First: without a token no event would arrive, and PocketBase would report no error.
        client.token().await?;
        let mut events = Events::open(client.endpoint(), PATH, &[], CONNECT_TIMEOUT).await?;
        let first = events.next_within(CONNECT_TIMEOUT).await?;
        let first = first.filter(|event| event.name == CONNECTED);
        let data = first.map(|event| event.data).unwrap_or_default();
        let connected: Connected = serde_json::from_str(&data).map_err(RecordError::Malformed)?;
        let body = json!({
            "clientId": connected.client_id,
            "subscriptions": [format!("{COLLECTION}/*")],
        });
        client.tell("POST", PATH, Some(&body)).await?;
        Ok(Self { events })
    }

    /// Resolves after a change; returns `false` when the connection has ended.
    pub(crate) async fn changed(&mut self) -> bool {
        matches!(self.events.next().await, Ok(Some(_)))
    }

    /// Resolves when a burst is over; returns `false` when the connection has ended.
    pub(crate) async fn quiet(&mut self) -> bool {
        let end = Instant::now() + BURST_MAX;
        loop {
            let quiet = end.min(Instant::now() + QUIET);
            match timeout_at(quiet, self.events.next()).await {
                Ok(Ok(Some(_))) if Instant::now() < end => {}
                Ok(Ok(None) | Err(_)) => return false,
                _ => return true,
            }
        }
    }
}
