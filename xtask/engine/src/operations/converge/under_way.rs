//! Which processes a change has stopped and not started again, so that a command that was killed in
//! between is no reason for them to stay away.
//!
//! Written before the first of them is stopped. Read and written under the operation lock.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;
use kit::files;

use crate::checkout::paths::Paths;

/// Those that were stopped.
pub(super) fn load(paths: &Paths) -> BTreeSet<String> {
    let text = fs::read(paths.under_way()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Adds some that are about to be stopped.
pub(super) fn add(paths: &Paths, names: &BTreeSet<String>) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let all = &load(paths) | names;
    let text = serde_json::to_vec(&all).context("cannot describe what is stopped")?;
    files::write_for_this_run(&paths.under_way(), &text, files::PRIVATE_FILE_MODE)
}

/// Forgets them: they were started, or nothing runs at all.
pub(super) fn forget(paths: &Paths) {
    // That there is none is the usual case.
    let _ = fs::remove_file(paths.under_way());
}
