//! Which processes a user stopped by name, so that an end with code 0 is not taken for work done.
//!
//! Read and written under the operation lock; a `status` may read it at any moment.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;
use kit::files;

use crate::checkout::paths::Paths;

/// The processes that were stopped by name and not started since.
pub fn load(paths: &Paths) -> BTreeSet<String> {
    let text = fs::read(paths.stops()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Remembers them.
pub fn save(paths: &Paths, names: &BTreeSet<String>) -> anyhow::Result<()> {
    let text = serde_json::to_vec(names).context("cannot describe what is stopped")?;
    files::write_if_changed(&paths.stops(), &text, files::PRIVATE_FILE_MODE).map(drop)
}

/// Forgets all of them: everything is started, or nothing runs.
pub fn forget(paths: &Paths) {
    // That there is none is the usual case.
    let _ = fs::remove_file(paths.stops());
}
