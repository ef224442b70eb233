//! Requests a reload of a running process, and waits until the process reports that it is done.
//!
//! The process finds the changes itself: in its settings file, in the facts of the topology. Must
//! not write those.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use kit::{Exit, Failure};
use serde::Deserialize;

use super::client::{Client, Kind};
use super::state::{Phase, State};
use crate::base::interrupt::Interrupt;
use crate::base::poll::{Waited, wait_until};

/// The signal that requests it: SIGHUP.
pub const SIGNAL: u8 = 1;
/// How often the report is polled; a reload takes some 20 ms.
const POLL: Duration = Duration::from_millis(2);

/// The report of a process on its reloads.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ReloadReport {
    /// Its process id.
    wrapper: i64,
    count: u64,
    error: Option<String>,
    /// The id of the settings that are in effect.
    pub(crate) settings: Option<String>,
}

impl ReloadReport {
    /// Reads the report, if `state` is of the process that wrote it.
    pub(crate) fn of(file: &Path, state: &State) -> Option<Self> {
        let bytes = fs::read(file).ok()?;
        let report: Self = serde_json::from_slice(&bytes).ok()?;
        (report.wrapper == i64::from(state.pid)).then_some(report)
    }
}

/// Requests a reload of `process` and waits at most `limit` until its `report` confirms it. A
/// process that exits meanwhile needs no reload: its next start reads the present files.
pub(crate) fn reload(
    client: &Client,
    process: &str,
    report: &Path,
    limit: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    let never = Interrupt::default();
    let wait = |predicate: &mut dyn FnMut() -> anyhow::Result<Option<Taken>>| match wait_until(
        deadline, POLL, &never, predicate,
    )? {
        Waited::Done(taken) => Ok(taken),
        Waited::Deadline | Waited::Interrupted(_) => Err(late(process, limit)),
    };
    // Earlier, the signal would kill it.
    let (pid, before) = match wait(&mut || listens(client, process, report))? {
        Taken::ByNobody => return Ok(()),
        Taken::Times(pid, count) => (pid, count),
    };
    match client.signal(process, SIGNAL) {
        Err(error) if matches!(error.kind, Kind::NotRunning) => return Ok(()),
        answer => answer?,
    }
    wait(&mut || {
        let Some(state) = running(client, process)?.filter(|state| state.pid == pid) else {
            return Ok(Some(Taken::ByNobody));
        };
        let report = ReloadReport::of(report, &state).filter(|now| now.count > before);
        match report.map(|report| (report.count, report.error)) {
            None => Ok(None),
            Some((count, None)) => Ok(Some(Taken::Times(pid, count))),
            Some((_, Some(error))) => Err(anyhow!("`{process}` did not take the change: {error}")),
        }
    })
    .map(drop)
}

/// Which process has reloaded.
enum Taken {
    /// No process: it is not running.
    ByNobody,
    /// The process with this id, this often.
    Times(i32, u64),
}

/// Returns the reloads of the process so far, once it handles signals.
fn listens(client: &Client, process: &str, report: &Path) -> anyhow::Result<Option<Taken>> {
    let Some(state) = running(client, process)? else {
        return Ok(Some(Taken::ByNobody));
    };
    let count = match ReloadReport::of(report, &state) {
        Some(report) => Some(report.count),
        // A process that does not report its start.
        None => (state.phase() == Phase::Ready).then_some(0),
    };
    Ok(count.map(|count| Taken::Times(state.pid, count)))
}

fn running(client: &Client, process: &str) -> anyhow::Result<Option<State>> {
    let state = client.processes()?.remove(process);
    Ok(state.filter(|state| state.is_running && state.pid != 0))
}

fn late(process: &str, limit: Duration) -> anyhow::Error {
    let message = format!("`{process}` did not reload within {} s", limit.as_secs());
    Failure::new(Exit::Timeout, message).into()
}
