//! Where the supervisor's API socket of an instance is.
//!
//! Socket paths over some 100 bytes fail, so it cannot lie in the checkout; the directory is
//! private to the user, the name is derived from the instance's path.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use kit::files;
use sha2::{Digest as _, Sha256};

use crate::env::{Env, Origin};

/// The directory below the runtime or temporary directory.
const DIRECTORY: &str = "core-stack";

/// The socket's path for the instance whose state lies in `state`. The directory is made.
pub fn path(env: &Env, state: &Path) -> anyhow::Result<PathBuf> {
    let directory = directory(env)?;
    // The same checkout reached through a link is the same instance.
    let state = fs::canonicalize(state).unwrap_or_else(|_| state.to_path_buf());
    let hash = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let name: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(directory.join(format!("{name}.sock")))
}

fn directory(env: &Env) -> anyhow::Result<PathBuf> {
    let uid = rustix::process::getuid();
    // Not from `.env`, without which a stack can be stopped.
    let runtime = env.non_empty("XDG_RUNTIME_DIR");
    let runtime = runtime.filter(|_| env.origin("XDG_RUNTIME_DIR") == Some(Origin::Process));
    let directory = match runtime.map(Path::new) {
        Some(runtime) if runtime.is_dir() => runtime.join(DIRECTORY),
        _ => std::env::temp_dir().join(format!("{DIRECTORY}-{}", uid.as_raw())),
    };
    if let Ok(found) = fs::symlink_metadata(&directory) {
        // In a directory that all can write to, somebody else may have been first.
        ensure!(
            found.is_dir() && found.uid() == uid.as_raw(),
            "the directory `{}` for sockets belongs to somebody else",
            directory.display()
        );
    }
    files::create_private_dir(&directory).context("cannot prepare the directory for sockets")?;
    Ok(directory)
}
