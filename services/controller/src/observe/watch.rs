//! The supervisor's pushes: every state of every process, as it changes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kit::http::Endpoint;
use kit::http::websocket::WebSocket;
use kit::output::Notes;
use xtask::Ctx;
use xtask::paths::Paths;
use xtask::supervisor::socket;
use xtask::supervisor::state::{PUSHES, Push};
use xtask::timing;

use super::Patience;
use super::fold::Seen;
use super::outbox::{Notice, Outbox};

/// How long the supervisor may take to open the websocket; it takes a millisecond.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Watch {
    paths: Paths,
    outbox: Arc<Outbox>,
    notes: Notes,
}

impl Watch {
    pub(super) fn new(paths: &Paths, outbox: Arc<Outbox>, notes: Notes) -> Self {
        Self {
            paths: paths.clone(),
            outbox,
            notes,
        }
    }

    /// Watches for ever. Each connection begins with all states, so nothing that still shows is
    /// lost between two.
    pub(super) async fn run(self) {
        let mut patience = Patience::new();
        loop {
            if let Err(error) = self.connection(&mut patience).await {
                let complaint = format!("cannot watch the processes: {error:#}");
                if patience.is_new(&complaint) {
                    self.notes.note(&complaint);
                }
            }
            patience.wait().await;
        }
    }

    async fn connection(&self, patience: &mut Patience) -> anyhow::Result<()> {
        let ctx = Ctx::recorded(self.paths.clone())?;
        let socket = socket::path(&ctx.env, &self.paths.state())?;
        let endpoint = Endpoint::Unix(socket);
        let mut socket = WebSocket::open(&endpoint, PUSHES, OPEN_LIMIT).await?;
        while let Some(message) = socket.next().await? {
            let push: Push = serde_json::from_slice(&message)
                .context("cannot understand what the supervisor says of a process")?;
            patience.renew();
            self.outbox.add(Notice::Seen(Box::new(Seen {
                at: timing::now(),
                state: push.state,
            })));
        }
        Ok(())
    }
}
