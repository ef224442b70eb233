//! The supervisor's pushes: every change of the state of every process.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use engine::Ctx;
use engine::checkout::paths::Paths;
use engine::supervisor::runs::Runs;
use engine::supervisor::state::{PROCESSES, PUSHES, Push, State, names_in};
use engine::supervisor::timing;
use engine::supervisor::{own_log, socket};
use kit::http::websocket::WebSocket;
use kit::http::{self, Endpoint};
use kit::output::Notes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fold::Seen;
use super::outbox::{Notice, Outbox};
use super::{PAUSE_MAX, Patience};

/// How long the supervisor may take to answer or to open the websocket; it takes a millisecond.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The most processes of one websocket. The supervisor (1.120) begins with the states of all of
/// them, and closes it when 256 wait to be sent; the rest is for what changes meanwhile.
const PROCESSES_MAX: usize = 128;

/// How often the supervisor's file is checked for further processes, where several websockets each
/// name their own.
const FILE_POLL: Duration = Duration::from_secs(1);

/// How long the supervisor may take to follow its file: it is written first, and services may have
/// to stop before it is read.
const FOLLOW_LIMIT: Duration = Duration::from_mins(1);

/// How long a runner may take to record the program that it starts; it takes some milliseconds.
const RUNNER_LIMIT: Duration = Duration::from_secs(1);

/// Poll interval of its record.
const RUNNER_POLL: Duration = Duration::from_millis(5);

#[derive(Clone)]
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
    /// lost between two. One that ends soon is no progress: the pauses grow.
    pub(super) async fn run(self) {
        let mut patience = Patience::new();
        loop {
            let begun = Instant::now();
            let ended = self.connect().await;
            if begun.elapsed() > PAUSE_MAX {
                patience.renew();
            }
            if let Err(error) = ended {
                let complaint = format!("cannot watch the processes: {error:#}");
                if patience.is_new(&complaint) {
                    self.notes.note(&complaint);
                }
            }
            patience.wait().await;
        }
    }

    /// Watches all processes until one of the connections ends, or until there may be others.
    async fn connect(&self) -> anyhow::Result<()> {
        let ctx = Ctx::recorded(self.paths.clone())?;
        let endpoint = Endpoint::Unix(socket::path(&ctx.env, &self.paths.state())?);
        let file = self.paths.compose_file();
        // Before the list: what is added in between is found by the file.
        let written = modified(&file);
        let names = list(&endpoint).await?;
        if names.len() <= PROCESSES_MAX {
            return self.clone().watch(endpoint, PUSHES.to_owned()).await;
        }
        let written = written?;
        let mut connections = JoinSet::new();
        for names in names.chunks(PROCESSES_MAX) {
            let path = format!("{PUSHES}?name={}", names.join(","));
            connections.spawn(self.clone().watch(endpoint.clone(), path));
        }
        connections.spawn(async move {
            loop {
                tokio::time::sleep(FILE_POLL).await;
                let is_followed = written.elapsed().is_ok_and(|age| age > FOLLOW_LIMIT);
                let same_file = modified(&file)? == written;
                if !same_file || (!is_followed && list(&endpoint).await? != names) {
                    return Ok(());
                }
            }
        });
        // The others end with the set.
        connections.join_next().await.unwrap_or(Ok(Ok(())))?
    }

    /// Passes on the states of one websocket until it ends.
    async fn watch(self, endpoint: Endpoint, path: String) -> anyhow::Result<()> {
        let mut socket = WebSocket::open(&endpoint, &path, ANSWER_LIMIT).await?;
        let runs = Runs::new(self.paths.runs());
        while let Some(message) = socket.next().await? {
            let mut push: Push = serde_json::from_slice(&message)
                .context("cannot understand what the supervisor says of a process")?;
            // Each push is a line of the supervisor's log, too.
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

/// Returns the names of all processes, in order.
async fn list(endpoint: &Endpoint) -> anyhow::Result<Vec<String>> {
    let answer = http::get(endpoint, PROCESSES, ANSWER_LIMIT).await?;
    let names = names_in(&answer.body).context("cannot understand the supervisor's list")?;
    Ok(BTreeSet::from_iter(names).into_iter().collect())
}

/// Returns when a file was last written.
fn modified(file: &Path) -> io::Result<SystemTime> {
    fs::metadata(file)?.modified()
}

/// Shows the program instead of its runner, which may be about to start it.
async fn name_program(runs: &Runs, state: &mut State) {
    let deadline = Instant::now() + RUNNER_LIMIT;
    runs.name_program(state);
    while runs.is_unnamed(state) && Instant::now() < deadline {
        tokio::time::sleep(RUNNER_POLL).await;
        runs.name_program(state);
    }
}
