//! Which processes a user stopped by name, so that an exit with code 0 is not taken for work done.
//!
//! Read and written under the operation lock; a `status` may read it at any time.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;
use kit::files;

use crate::checkout::paths::Paths;

/// Returns the processes that were stopped by name and not started since.
pub fn load(paths: &Paths) -> BTreeSet<String> {
    let text = fs::read(paths.stops()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Writes the record.
pub fn save(paths: &Paths, names: &BTreeSet<String>) -> anyhow::Result<()> {
    let text = serde_json::to_vec(names).context("cannot describe what is stopped")?;
    files::write_if_changed(&paths.stops(), &text, files::PRIVATE_FILE_MODE).map(drop)
}

/// Removes the record: all processes are started, or none is running.
pub fn forget(paths: &Paths) {
    // Usually there is none.
    let _ = fs::remove_file(paths.stops());
}
