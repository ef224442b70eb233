//! Stops an instance, and proves that no process of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use kit::files::FileLock;
use kit::process::rest::Ask;
use kit::process::{self, Process};
use kit::{Exit, Failure};
use rustix::process::Signal;

use super::client::Client;
use super::state::State;
use super::{BINARY, alive, ours, proof, secrets, socket, stops};
use crate::base::poll;
use crate::base::ui::Ui;
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::checkout::paths::Paths;
use crate::plan::stack::Port;

/// How long wrappers and runners whose supervisor is gone may take to stop by themselves.
const SELF_STOP_GRACE: Duration = Duration::from_secs(5);

/// How often the supervisor is checked for child processes: after two such checks, an exit that it
/// missed is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a command that only checks the alive lock may hold it.
const GLANCE: Duration = Duration::from_millis(50);

/// How long survivors have between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// How often a supervisor is polled whose lock is lost.
const FORGOTTEN_POLL: Duration = Duration::from_millis(10);

/// The result of a stop.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No process was running.
    NothingRan,
    /// All processes ended when requested.
    Gracefully,
    /// We had to signal these.
    BySignal(Vec<Process>),
}

/// What is known about a stack before it is stopped.
struct Before {
    supervisor: Option<Process>,
    /// The processes that it knew: wrappers, runners, or programs without either.
    pids: BTreeSet<i32>,
    /// Ports of the processes that were running, by process.
    ports: BTreeMap<String, Vec<SocketAddr>>,
    /// Whether a process was restarted: descendants of its earlier run may have been missed.
    has_restarts: bool,
    /// All descendants without a mark of a supervisor that an earlier version started: their
    /// remains cannot be identified in another way.
    unmarked: Vec<Process>,
}

impl Before {
    fn see(paths: &Paths, client: &Client) -> Self {
        let states = client.processes().unwrap_or_default();
        let applied = Applied::load(paths);
        let processes = applied.map(|applied| applied.stack.processes);
        let ran = processes
            .into_iter()
            .flatten()
            .filter(|(name, _)| states.get(name).is_some_and(|state| state.is_running));
        let supervisor = ours::supervisor(client.socket());
        let supervisor = supervisor.filter(|process| process.program == BINARY);
        let without_mark = |supervisor: &&Process| process::mark_of(supervisor.pid).is_none();
        let unmarked = supervisor.as_ref().filter(without_mark);
        let is_foreign = |process: &Process| process::mark_of(process.pid).is_some();
        Self {
            unmarked: unmarked.map_or_else(Vec::new, |supervisor| {
                process::descendants(supervisor.pid, is_foreign)
            }),
            supervisor,
            pids: states.values().map(State::supervised_pid).collect(),
            ports: ran
                .map(|(name, process)| {
                    let ports = process.ports.values().map(Port::bound);
                    (name, ports.collect())
                })
                .collect(),
            has_restarts: states.values().any(|state| state.restarts > 0),
        }
    }
}

/// Stops everything of the instance within `timeout` plus the graces above: through the supervisor,
/// then by SIGTERM, then by SIGKILL. Proves that no process and no port is left. Then removes the
/// state that only a running stack needs.
pub fn stop(ctx: &Ctx, client: &Client, timeout: Duration) -> anyhow::Result<Stopped> {
    let Ctx { paths, ui, .. } = ctx;
    if let Some(claim) = alive::try_claim(&paths.alive_lock())? {
        let forgotten = stop_forgotten(paths, ui, client, timeout)?;
        let ended = end_leftovers(paths, ui)?;
        clear(paths, client, claim)?;
        return Ok(match ended {
            ended if !ended.is_empty() => Stopped::BySignal(ended),
            _ if forgotten => Stopped::Gracefully,
            _ => Stopped::NothingRan,
        });
    }
    let before = Before::see(paths, client);
    let deadline = Instant::now() + timeout;
    let (graceful, was_asked) = match client.stop_project() {
        Ok(()) => (wait_for_end(&paths.alive_lock(), &before, deadline)?, true),
        Err(error) => {
            // A `status` holds the lock for an instant to see whether it is free.
            if let Some(claim) = alive::claim_until(&paths.alive_lock(), Instant::now() + GLANCE)? {
                let ended = end_leftovers(paths, ui)?;
                clear(paths, client, claim)?;
                return Ok(if ended.is_empty() {
                    Stopped::NothingRan
                } else {
                    Stopped::BySignal(ended)
                });
            }
            let error = anyhow::Error::from(error);
            ui.line(format!("the supervisor cannot be asked to stop: {error:#}"));
            let deadline = Instant::now() + SELF_STOP_GRACE;
            (alive::claim_until(&paths.alive_lock(), deadline)?, false)
        }
    };
    let is_graceful = graceful.is_some();
    let (claim, mut signalled) = match graceful {
        Some(claim) => (claim, Vec::new()),
        None => force(paths, ui)?,
    };
    let is_sure =
        is_graceful && was_asked && !before.has_restarts && proof::no_runner_was_killed(paths);
    if !is_sure {
        signalled.extend(proof::of_instance(paths, ui)?);
    }
    let left_of_old = || {
        before
            .unmarked
            .iter()
            .filter(|one| one.runs())
            .cloned()
            .collect()
    };
    signalled.extend(proof::end(ui, Ask::Tops, TERM_GRACE, left_of_old)?);
    clear(paths, client, claim)?;
    for (name, ports) in &before.ports {
        proof::of_ports(paths, ui, name, ports)?;
    }
    Ok(if signalled.is_empty() {
        Stopped::Gracefully
    } else {
        Stopped::BySignal(signalled)
    })
}

/// Ends what is left of a start that was killed before its end was proved. To be called while the
/// alive lock is ours. Returns the processes that had to be ended.
pub(crate) fn end_leftovers(paths: &Paths, ui: &Ui) -> anyhow::Result<Vec<Process>> {
    if ours::is_proved(paths) {
        return Ok(Vec::new());
    }
    proof::of_instance(paths, ui)
}

/// Waits until no process is alive, or until `deadline`.
///
/// process-compose 1.120 can miss an exit that coincides with the order to stop; it then waits for
/// the whole timeout of that process. A supervisor that was found twice without child processes has
/// nothing left to do, and is killed. Once it is gone, the rest receives no order to stop: wrappers
/// and runners notice that and stop; other processes are not waited for.
fn wait_for_end(
    lock: &Path,
    before: &Before,
    deadline: Instant,
) -> anyhow::Result<Option<FileLock>> {
    let mut was_alone = false;
    loop {
        let look = deadline.min(Instant::now() + LOOK_INTERVAL);
        if let Some(claim) = alive::claim_until(lock, look)? {
            return Ok(Some(claim));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let Some(supervisor) = &before.supervisor else {
            continue;
        };
        if !supervisor.runs() {
            let holders = process::holders(lock);
            if holders.iter().all(|one| !before.pids.contains(&one.pid)) {
                return alive::claim_until(lock, Instant::now() + GLANCE);
            }
            continue;
        }
        let children = process::children(supervisor.pid);
        let is_alone = children.iter().all(|child| child.has_ended);
        if is_alone && was_alone {
            supervisor.signal(Signal::KILL);
        }
        was_alone = is_alone;
    }
}

/// Stops a supervisor that is not recorded in the state directory any more, because that was
/// deleted while it ran: its socket is elsewhere. Returns whether there was one.
pub fn stop_forgotten(
    paths: &Paths,
    ui: &Ui,
    client: &Client,
    timeout: Duration,
) -> anyhow::Result<bool> {
    if !client.is_live() {
        return Ok(false);
    }
    let state = paths.shown(&paths.state());
    ui.line(format!(
        "`{state}` was deleted while the stack ran: stopping what still runs"
    ));
    let deadline = Instant::now() + timeout;
    client.stop_project()?;
    if poll::holds_by(deadline, FORGOTTEN_POLL, || !client.is_live()) {
        return Ok(true);
    }
    let message = "the supervisor did not stop, and nothing tells what it runs";
    Err(Failure::new(Exit::Survivors, message)
        .hint("end `process-compose` by hand, then run `cargo xtask down` again")
        .into())
}

/// Ends what did not stop when requested: SIGTERM, then SIGKILL. Returns the signalled processes.
pub fn force(paths: &Paths, ui: &Ui) -> anyhow::Result<(FileLock, Vec<Process>)> {
    let lock = paths.alive_lock();
    let signalled = proof::end(ui, Ask::Tops, TERM_GRACE, || {
        if alive::is_held(&lock).unwrap_or(true) {
            ours::all(paths)
        } else {
            Vec::new()
        }
    })?;
    let claim = alive::claim_until(&lock, Instant::now() + TERM_GRACE)?;
    let claim = claim.ok_or_else(|| {
        let message = "still running after SIGKILL: something that cannot be seen from here";
        Failure::new(Exit::Survivors, message)
            .hint("end them by hand, then run `cargo xtask down` again")
    })?;
    Ok((claim, signalled))
}

/// Removes what only a running stack needs, after all processes have ended. Keeps logs and data.
fn clear(paths: &Paths, client: &Client, claim: FileLock) -> anyhow::Result<()> {
    // The file holds secrets and the socket would mislead; both may be missing already.
    let _ = fs::remove_file(client.socket());
    socket::forget(&paths.state());
    let _ = fs::remove_file(paths.compose_file());
    let _ = fs::remove_file(paths.recorded());
    let _ = fs::remove_file(paths.applied());
    let _ = fs::remove_file(paths.under_way());
    stops::forget(paths);
    secrets::forget(&paths.state());
    crate::checkout::kept::forget(paths);
    let noted = ours::note_proof(paths);
    drop(claim);
    noted
}
