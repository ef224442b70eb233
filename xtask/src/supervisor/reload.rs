//! Asking a running process to take what has changed, and waiting until it says that it has.
//!
//! The process finds it by itself: in its file of settings, in the facts of the topology. Must not
//! write those.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use kit::{Exit, Failure};
use serde::Deserialize;

use super::client::Client;
use super::state::{Phase, State};

/// The signal that asks for it: SIGHUP.
pub const SIGNAL: u8 = 1;
/// How often its report is looked at; a reload takes some 20 ms.
const POLL: Duration = Duration::from_millis(2);

/// What a process says about its reloads.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Report {
    /// Its process id.
    wrapper: i64,
    count: u64,
    error: Option<String>,
    /// What names the settings that are in effect.
    pub(crate) settings: Option<String>,
}

impl Report {
    /// Reads it, if `state` is of the process that wrote it.
    pub(crate) fn of(file: &Path, state: &State) -> Option<Self> {
        let bytes = fs::read(file).ok()?;
        let report: Self = serde_json::from_slice(&bytes).ok()?;
        (report.wrapper == i64::from(state.pid)).then_some(report)
    }
}

/// Asks `process` to reload and waits at most `limit` until its `report` says that it has. One that
/// ends meanwhile has nothing to take: it begins with what is there now.
pub(crate) fn reload(
    client: &Client,
    process: &str,
    report: &Path,
    limit: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    let Some((pid, before)) = listening(client, process, report, limit)? else {
        return Ok(());
    };
    client.signal(process, SIGNAL)?;
    while Instant::now() < deadline {
        let Some(state) = running(client, process)?.filter(|state| state.pid == pid) else {
            return Ok(());
        };
        if let Some(report) = Report::of(report, &state).filter(|now| now.count > before) {
            return match report.error {
                None => Ok(()),
                Some(error) => bail!("`{process}` did not take the change: {error}"),
            };
        }
        thread::sleep(POLL);
    }
    Err(late(process, limit))
}

/// Waits until the process listens to signals: earlier, this one would end it. Returns its id and
/// how often it has reloaded; `None` when it does not run.
fn listening(
    client: &Client,
    process: &str,
    report: &Path,
    limit: Duration,
) -> anyhow::Result<Option<(i32, u64)>> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        let Some(state) = running(client, process)? else {
            return Ok(None);
        };
        if let Some(report) = Report::of(report, &state) {
            return Ok(Some((state.pid, report.count)));
        }
        // One that does not report its start.
        if state.phase() == Phase::Ready {
            return Ok(Some((state.pid, 0)));
        }
        thread::sleep(POLL);
    }
    Err(late(process, limit))
}

fn running(client: &Client, process: &str) -> anyhow::Result<Option<State>> {
    let state = client.processes()?.remove(process);
    Ok(state.filter(|state| state.is_running && state.pid != 0))
}

fn late(process: &str, limit: Duration) -> anyhow::Error {
    let message = format!("`{process}` did not reload within {} s", limit.as_secs());
    Failure::new(Exit::Timeout, message).into()
}
