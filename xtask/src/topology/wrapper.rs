//! Asking the wrapper of a NATS server to read its configuration anew, with proof that it has.
//!
//! Its process keeps running. Must not know what has changed.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kit::{Exit, Failure};
use serde::Deserialize;
use service_nats::topology::{CONFIG_FILE, RELOAD_REPORT};

use super::RELOAD_SIGNAL;
use crate::paths::Paths;
use crate::stack::Stack;
use crate::supervisor::client::Client;

/// How long a reload may take: two limits of 5 s of the wrapper's own, and some room.
pub const RELOAD_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a server that has left the hub may take to end: its clients have 30 s to go, then it is
/// stopped as always, in 8 s.
pub const RETIRE_TIMEOUT: Duration = Duration::from_secs(45);
/// How often the report is looked at; a reload takes some 20 ms.
const POLL: Duration = Duration::from_millis(2);

/// The outcome of a reload, as the wrapper writes it.
#[derive(Debug, Default, Deserialize)]
struct Report {
    wrapper: i64,
    count: u64,
    error: Option<String>,
}

/// Where the files of a NATS server are; `None` when it does not run in this stack.
pub fn state_dir(paths: &Paths, stack: &Stack, process: &str) -> Option<PathBuf> {
    let process = stack.processes.get(process)?;
    let directory = process.env.get("NATS_STATE_DIR")?;
    (!process.disabled).then(|| paths.root().join(&directory.text))
}

/// The configuration that a server runs with. `None` when it has none yet: it will begin with the
/// right one.
pub fn config(paths: &Paths, stack: &Stack, process: &str) -> Option<String> {
    fs::read_to_string(state_dir(paths, stack, process)?.join(CONFIG_FILE)).ok()
}

/// Lets the server of `process` read its configuration anew, and waits until it has.
pub fn reload(
    client: &Client,
    paths: &Paths,
    stack: &Stack,
    process: &str,
    limit: Duration,
) -> anyhow::Result<()> {
    let directory = state_dir(paths, stack, process)
        .with_context(|| format!("the entry of `{process}` names no NATS_STATE_DIR"))?;
    let report = || -> Report {
        let bytes = fs::read(directory.join(RELOAD_REPORT)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    };
    let states = client.processes()?;
    let wrapper = states.get(process).map_or(0, |state| i64::from(state.pid));
    let count = |report: &Report| {
        if report.wrapper == wrapper {
            report.count
        } else {
            0
        }
    };
    let before = count(&report());
    client.signal(process, RELOAD_SIGNAL)?;
    let deadline = Instant::now() + limit;
    loop {
        let report = report();
        if count(&report) > before {
            return match report.error {
                None => Ok(()),
                Some(error) => bail!("`{process}` did not take its new configuration: {error}"),
            };
        }
        if Instant::now() >= deadline {
            let message = format!("`{process}` did not reload within {} s", limit.as_secs());
            return Err(Failure::new(Exit::Timeout, message).into());
        }
        thread::sleep(POLL);
    }
}
