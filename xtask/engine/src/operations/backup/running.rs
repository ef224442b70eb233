//! The running stack: the clients of its servers for a backup, and stopping and starting them for a
//! restore. Starts no server itself: the supervisor does.

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kit::files::FileLock;
use kit::{Exit, Failure};
use service_nats::topology::{self, Facts, SERVICE};

use crate::base::interrupt::Interrupt;
use crate::base::poll::wait_until;
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::supervisor::alive;
use crate::supervisor::client::Client;
use crate::supervisor::control::{Control, Limit};
use crate::supervisor::state::State;
use crate::supervisor::wait::{Baseline, Wait};
use crate::topology::record::{self, DATABASE};
use crate::topology::streams::places::Places;

/// How long one process may take to stop: what `down` allows for all of them.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long all may take until they are healthy: what `up` allows.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How often to check whether a data directory is free.
const POLL: Duration = Duration::from_millis(5);

/// The running stack.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    ctx: &'a Ctx,
    client: Client,
    pub(crate) applied: Applied,
    pub(crate) facts: Facts,
}

/// Holds the locks of data directories instead of their servers, until it is dropped.
#[derive(Debug)]
pub(crate) struct Stopped {
    _locks: Vec<FileLock>,
}

impl<'a> Running<'a> {
    /// Returns the stack, if it is running.
    pub(crate) fn find(ctx: &'a Ctx) -> anyhow::Result<Option<Self>> {
        let client = ctx.client()?;
        if !alive::is_held(&ctx.paths.alive_lock())? || !client.is_live() {
            return Ok(None);
        }
        let Some(applied) = Applied::load(&ctx.paths) else {
            return Ok(None);
        };
        Ok(Some(Self {
            ctx,
            client,
            applied,
            facts: topology::read(&ctx.paths.topology())?,
        }))
    }

    /// Returns the stack, or the error that none is running.
    pub(crate) fn need(ctx: &'a Ctx, what: &str) -> anyhow::Result<Self> {
        Self::find(ctx)?.ok_or_else(|| {
            let message = format!("no stack runs, and a {what} needs its servers");
            let failure = Failure::new(Exit::NotRunning, message);
            failure.hint("cargo xtask up").into()
        })
    }

    /// Returns the places of its streams.
    pub(crate) fn places(&self) -> Places<'_> {
        Places {
            paths: &self.ctx.paths,
            facts: &self.facts,
        }
    }

    /// Returns a client of PocketBase.
    pub(crate) fn database(&self) -> anyhow::Result<record::Client> {
        record::Client::of_running(&self.applied, &self.ctx.paths).ok_or_else(|| {
            let message = format!("there is no `{DATABASE}` in the running stack");
            Failure::new(Exit::Unhealthy, message).into()
        })
    }

    /// Stops every server that has data, the last one started first, and takes their locks.
    pub(crate) fn stop(&self) -> anyhow::Result<Stopped> {
        self.stop_only(|_| true)?;
        claim(self.ctx, &self.facts)
    }

    /// Restarts all servers of NATS.
    pub(crate) fn restart_nats(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        self.stop_only(|name| name != DATABASE)?;
        self.start(interrupt)
    }

    fn stop_only(&self, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let states = self.client.processes()?;
        let servers = servers(&self.facts);
        // Not interruptible: data must not be exchanged under a server, nor left without one.
        let never = Interrupt::default();
        let control = Control::new(&self.ctx.paths, &self.client, &never);
        let order = self.applied.stack.order.iter().rev();
        for name in order.filter(|name| servers.iter().any(|server| server.0 == **name)) {
            if wanted(name) && states.get(name).is_some_and(|state| !state.has_ended()) {
                control.stop(name, Limit::of(STOP_LIMIT))?;
            }
        }
        Ok(())
    }

    /// Starts what was stopped, and waits until everything is healthy.
    pub(crate) fn start(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let states = self.client.processes()?;
        let baseline = Baseline::take(&self.ctx.paths, &self.applied.stack, &states);
        let servers = servers(&self.facts);
        let order = self.applied.stack.order.iter();
        let ours = order.filter(|name| servers.iter().any(|server| server.0 == **name));
        let ended = |name: &&String| states.get(*name).is_some_and(State::has_ended);
        let names: Vec<&str> = ours.filter(ended).map(String::as_str).collect();
        Control::new(&self.ctx.paths, &self.client, interrupt).start(&names)?;
        let wait = Wait {
            paths: &self.ctx.paths,
            stack: &self.applied.stack,
            client: &self.client,
            ask: true,
            interrupt,
            baseline: &baseline,
            deadline: Instant::now() + START_LIMIT,
            timeout: START_LIMIT,
        };
        wait.until_ready(None, |_| {}).map(drop)
    }
}

/// Takes the locks of all servers that have data: fails while one of them is running.
pub(crate) fn claim(ctx: &Ctx, facts: &Facts) -> anyhow::Result<Stopped> {
    let mut locks = Vec::new();
    for (process, directory) in servers(facts) {
        let path = ctx.paths.data().join(directory).join(".lock");
        if !path.exists() {
            continue;
        }
        let deadline = Instant::now() + STOP_LIMIT;
        let free = || FileLock::try_exclusive(&path);
        let lock = wait_until(deadline, POLL, &Interrupt::default(), free)?;
        let lock = lock.done().ok_or_else(|| {
            let message = format!("`{process}` still uses its data");
            Failure::new(Exit::Survivors, message).hint("cargo xtask down")
        })?;
        locks.push(lock);
    }
    Ok(Stopped { _locks: locks })
}

/// Returns what is replaced as a whole in data directories, by its path below `.data`.
pub(crate) fn stores(facts: &Facts) -> Vec<PathBuf> {
    let mut stores = Vec::new();
    for (process, directory) in servers(facts) {
        let names: &[&str] = match &*process {
            DATABASE => &["pb_data", "superuser.json"],
            _ => &["jetstream"],
        };
        stores.extend(
            names
                .iter()
                .map(|name| PathBuf::from(&directory).join(name)),
        );
    }
    stores
}

/// Returns the processes that have data, and the directory of each below `.data`.
fn servers(facts: &Facts) -> Vec<(String, String)> {
    let nodes = facts.nodes().into_iter();
    let nodes = nodes.map(|node| (node.process, node.directory));
    let alone = [SERVICE, DATABASE].map(|name| (name.to_owned(), name.to_owned()));
    alone.into_iter().chain(nodes).collect()
}
