//! Which processes a change has stopped and not started again, so that the next command starts them
//! if this one is killed in between.
//!
//! Written before the first of them is stopped. Read and written under the operation lock.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;
use kit::files;

use crate::checkout::paths::Paths;

/// Returns the processes that were stopped.
pub(super) fn load(paths: &Paths) -> BTreeSet<String> {
    let text = fs::read(paths.under_way()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Adds processes that are about to be stopped.
pub(super) fn add(paths: &Paths, names: &BTreeSet<String>) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let all = &load(paths) | names;
    let text = serde_json::to_vec(&all).context("cannot describe what is stopped")?;
    files::write_for_this_run(&paths.under_way(), &text, files::PRIVATE_FILE_MODE)
}

/// Removes the record: they were started, or no stack is running.
pub(super) fn forget(paths: &Paths) {
    // Usually there is none.
    let _ = fs::remove_file(paths.under_way());
}
