//! Stopping an instance, and the proof that nothing of it is left.

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
use crate::checkout::paths::Paths;
use crate::plan::stack::Port;

/// How long wrappers and runners whose supervisor is gone may take to stop by themselves.
const SELF_STOP_GRACE: Duration = Duration::from_secs(5);

/// How often it is looked whether the supervisor has anything left to wait for: two such looks are
/// what an end that it missed costs.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long the alive lock may be held by somebody who only looks at it.
const GLANCE: Duration = Duration::from_millis(50);

/// How long survivors get between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// How often a supervisor is looked at whose lock is lost.
const FORGOTTEN_POLL: Duration = Duration::from_millis(10);

/// How a stop went.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing ran.
    NothingRan,
    /// Everything ended when it was asked to.
    Gracefully,
    /// These had to be signalled by us.
    BySignal(Vec<Process>),
}

/// What is known of a stack before it is stopped.
struct Before {
    supervisor: Option<Process>,
    /// The processes that it knew: wrappers, runners, or programs by themselves.
    pids: BTreeSet<i32>,
    /// Ports of the processes that ran, by process.
    ports: BTreeMap<String, Vec<SocketAddr>>,
    /// Whether a process was started again: what was below the earlier one may have been missed.
    has_restarts: bool,
    /// Everything below a supervisor that carries no mark, which an earlier version started: what
    /// it leaves can be known by nothing else.
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

/// Stops everything of the instance within `timeout` plus the graces above: through the
/// supervisor, then by SIGTERM, then by SIGKILL. Proves that nothing is left, neither a process nor
/// a port. Afterwards the state that only a running stack needs is removed.
pub fn stop(paths: &Paths, ui: &Ui, client: &Client, timeout: Duration) -> anyhow::Result<Stopped> {
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

/// Ends what a start left that was killed before its end was proved. To be called while the alive
/// lock is ours. Returns what had to be ended.
pub(crate) fn end_leftovers(paths: &Paths, ui: &Ui) -> anyhow::Result<Vec<Process>> {
    if ours::is_proved(paths) {
        return Ok(Vec::new());
    }
    proof::of_instance(paths, ui)
}

/// Waits until nothing lives, or until `deadline`.
///
/// process-compose 1.120 can miss the end of a process that ends the moment it is told to; it
/// then waits out the whole timeout of that process. A supervisor that was twice found with
/// nothing below it has nothing left to do, and is ended. Once it is gone, nobody asks what else
/// lives to stop: wrappers and runners notice that, anything else is not waited for.
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

/// Stops a supervisor that nothing in the state directory speaks of any more, because that was
/// deleted while it ran: its socket lies elsewhere. Returns whether there was one.
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

/// Ends what did not stop when asked to: SIGTERM, then SIGKILL. Returns what got a signal.
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

/// Removes what only a running stack needs, now that nothing of it runs. Logs and data stay.
fn clear(paths: &Paths, client: &Client, claim: FileLock) -> anyhow::Result<()> {
    // The file holds secrets and the socket would mislead; that they are gone already is fine.
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
