//! The supervisor's pushes: every change of the state of every process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::Ctx;
use engine::checkout::paths::Paths;
use engine::supervisor::runs::Runs;
use engine::supervisor::state::{PUSHES, Push, State};
use engine::supervisor::timing;
use engine::supervisor::{own_log, socket};
use kit::http::Endpoint;
use kit::http::websocket::WebSocket;
use kit::output::Notes;
use tokio::time::Instant;

use super::Patience;
use super::fold::Seen;
use super::outbox::{Notice, Outbox};

/// How long the supervisor may take to open the websocket; it takes a millisecond.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// How long a runner may take to record the program that it starts; it takes some milliseconds.
const RUNNER_LIMIT: Duration = Duration::from_secs(1);

/// Poll interval of its record.
const RUNNER_POLL: Duration = Duration::from_millis(5);

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

    /// Watches for ever. Each connection begins with all states, so between two only states that
    /// have passed are lost.
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
        let runs = Runs::new(self.paths.runs());
        while let Some(message) = socket.next().await? {
            let mut push: Push = serde_json::from_slice(&message)
                .context("cannot understand what the supervisor says of a process")?;
            patience.renew();
            // The supervisor logs each message, too.
            own_log::bound(&self.paths);
            name_program(&runs, &mut push.state).await;
            self.outbox.add(Notice::Seen(Box::new(Seen {
                at: timing::now(),
                state: push.state,
            })));
        }
        Ok(())
    }
}

/// Replaces the runner by its program, which may be about to start.
async fn name_program(runs: &Runs, state: &mut State) {
    let deadline = Instant::now() + RUNNER_LIMIT;
    runs.name_program(state);
    while runs.is_unnamed(state) && Instant::now() < deadline {
        tokio::time::sleep(RUNNER_POLL).await;
        runs.name_program(state);
    }
}
