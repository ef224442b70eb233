//! Requests a reload of the configuration from the wrapper of a NATS server, and verifies it.
//!
//! Its process keeps running. Must not know what has changed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use service_nats::topology::{CONFIG_FILE, RELOAD_REPORT};

use crate::checkout::paths::Paths;
use crate::plan::stack::Stack;
use crate::supervisor::client::Client;
use crate::supervisor::reload;

/// How long a reload may take: two limits of 5 s of the wrapper's own, and a reserve.
pub const RELOAD_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a server that has left the hub may take to exit: its clients have 30 s to leave, then
/// it is stopped as usual, in 8 s.
pub const RETIRE_TIMEOUT: Duration = Duration::from_secs(45);
/// Returns the directory of a NATS server's files; `None` if this stack does not run it.
pub fn state_dir(paths: &Paths, stack: &Stack, process: &str) -> Option<PathBuf> {
    let process = stack.processes.get(process)?;
    let directory = process.env.get("NATS_STATE_DIR")?;
    (!process.disabled).then(|| paths.root().join(&directory.text))
}

/// Returns the configuration that a server runs with. `None` if it has none yet: it will start with
/// the right one.
pub fn config(paths: &Paths, stack: &Stack, process: &str) -> Option<String> {
    fs::read_to_string(state_dir(paths, stack, process)?.join(CONFIG_FILE)).ok()
}

/// Reloads the configuration of the server of `process`, and waits until it is in effect.
pub fn reload(
    client: &Client,
    paths: &Paths,
    stack: &Stack,
    process: &str,
    limit: Duration,
) -> anyhow::Result<()> {
    let directory = state_dir(paths, stack, process)
        .with_context(|| format!("the entry of `{process}` names no NATS_STATE_DIR"))?;
    reload::reload(client, process, &directory.join(RELOAD_REPORT), limit)
}
