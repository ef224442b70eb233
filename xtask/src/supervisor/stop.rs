//! Stopping an instance, and the proof that nothing of it is left.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kit::files::FileLock;
use kit::{Exit, Failure};

use super::alive::{self, Holder};
use super::client::Client;
use super::{secrets, socket, stops};
use crate::paths::Paths;
use crate::ui::Ui;

/// How long wrappers whose supervisor is gone may take to stop by themselves.
const SELF_STOP_GRACE: Duration = Duration::from_secs(5);

/// How often it is looked whether the supervisor has anything left to wait for.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long the alive lock may be held by somebody who only looks at it.
const GLANCE: Duration = Duration::from_millis(50);

/// How long survivors get between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// How long the kernel may take to end what was killed.
const KILL_GRACE: Duration = Duration::from_secs(5);

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
    BySignal(Vec<Holder>),
}

/// Stops everything of the instance within `timeout` plus the graces above: through the
/// supervisor, then by SIGTERM, then by SIGKILL. Afterwards the state that only a running stack
/// needs is removed.
pub fn stop(paths: &Paths, ui: &Ui, client: &Client, timeout: Duration) -> anyhow::Result<Stopped> {
    if let Some(claim) = alive::try_claim(&paths.alive_lock())? {
        let forgotten = stop_forgotten(paths, ui, client, timeout)?;
        clear(paths, client, claim);
        return Ok(if forgotten {
            Stopped::Gracefully
        } else {
            Stopped::NothingRan
        });
    }
    let deadline = Instant::now() + timeout;
    let graceful = match client.stop_project() {
        Ok(()) => wait_for_end(&paths.alive_lock(), deadline)?,
        Err(error) => {
            // A `status` holds the lock for an instant to see whether it is free.
            if let Some(claim) = alive::claim_until(&paths.alive_lock(), Instant::now() + GLANCE)? {
                clear(paths, client, claim);
                return Ok(Stopped::NothingRan);
            }
            ui.line(format!("the supervisor cannot be asked to stop: {error:#}"));
            alive::claim_until(&paths.alive_lock(), Instant::now() + SELF_STOP_GRACE)?
        }
    };
    if let Some(claim) = graceful {
        clear(paths, client, claim);
        return Ok(Stopped::Gracefully);
    }
    let (claim, holders) = force(paths, ui)?;
    clear(paths, client, claim);
    Ok(Stopped::BySignal(holders))
}

/// Waits until nothing lives, or until `deadline`.
///
/// process-compose 1.120 can miss the end of a process that ends the moment it is told to; it
/// then waits out the whole timeout of that process. A supervisor that was twice found with
/// nothing below it has nothing left to do, and is ended.
fn wait_for_end(lock: &Path, deadline: Instant) -> anyhow::Result<Option<FileLock>> {
    let mut was_alone = false;
    loop {
        let look = deadline.min(Instant::now() + LOOK_INTERVAL);
        if let Some(claim) = alive::claim_until(lock, look)? {
            return Ok(Some(claim));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let alone = alive::is_supervisor_alone(lock)?;
        if alone && was_alone {
            alive::kill(lock)?;
        }
        was_alone = alone;
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
    while client.is_live() {
        if Instant::now() >= deadline {
            let message = "the supervisor did not stop, and nothing tells what it runs";
            return Err(Failure::new(Exit::Survivors, message)
                .hint("end `process-compose` by hand, then run `cargo xtask down` again")
                .into());
        }
        thread::sleep(FORGOTTEN_POLL);
    }
    Ok(true)
}

/// Ends what did not stop when asked to: SIGTERM, then SIGKILL.
pub fn force(paths: &Paths, ui: &Ui) -> anyhow::Result<(FileLock, Vec<Holder>)> {
    let lock = paths.alive_lock();
    let mut signalled: Vec<Holder> = Vec::new();
    for (send, name, grace) in [
        (alive::terminate as fn(&Path) -> _, "SIGTERM", TERM_GRACE),
        (alive::kill as fn(&Path) -> _, "SIGKILL", KILL_GRACE),
    ] {
        let asked: Vec<Holder> = send(&lock)?;
        for holder in asked {
            ui.line(format!("{holder} still ran: sent {name}"));
            if !signalled.contains(&holder) {
                signalled.push(holder);
            }
        }
        if let Some(claim) = alive::claim_until(&lock, Instant::now() + grace)? {
            return Ok((claim, signalled));
        }
    }
    let left = alive::holders(&lock)?;
    let mut left: Vec<String> = left.iter().map(ToString::to_string).collect();
    if left.is_empty() {
        left.push("something that cannot be seen from here".to_owned());
    }
    Err(Failure::new(
        Exit::Survivors,
        format!("still running after SIGKILL: {}", left.join(", ")),
    )
    .hint("end them by hand, then run `cargo xtask down` again")
    .into())
}

/// Removes what only a running stack needs. Logs and data stay.
fn clear(paths: &Paths, client: &Client, claim: FileLock) {
    // The file holds secrets and the socket would mislead; that they are gone already is fine.
    let _ = fs::remove_file(client.socket());
    socket::forget(&paths.state());
    let _ = fs::remove_file(paths.compose_file());
    let _ = fs::remove_file(paths.recorded());
    let _ = fs::remove_file(paths.applied());
    stops::forget(paths);
    secrets::forget(&paths.state());
    drop(claim);
}
