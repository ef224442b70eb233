//! Where the supervisor's API socket of an instance is.
//!
//! Socket paths over some 100 bytes fail, so it cannot lie in the checkout; the directory is
//! private to the user, the name is derived from the instance's path. A later command may have
//! another runtime directory, or none (cron, `su`), so the place is remembered with the state.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use kit::files;
use sha2::{Digest as _, Sha256};

use crate::env::{Env, Origin};
use crate::paths::Paths;

/// The directory below the runtime or temporary directory.
const DIRECTORY: &str = "core-stack";

/// The socket of an instance: where the last supervisor has left one, else where a new one gets
/// it. The directory is made.
pub fn path(env: &Env, paths: &Paths) -> anyhow::Result<PathBuf> {
    match remembered(paths) {
        Some(socket) => Ok(socket),
        None => own(env, &paths.state()),
    }
}

/// Writes down where the supervisor that is about to start has its socket.
pub fn remember(paths: &Paths, socket: &Path) -> anyhow::Result<()> {
    let text = socket.as_os_str().as_encoded_bytes();
    files::write_if_changed(&paths.socket_place(), text, files::PRIVATE_FILE_MODE).map(drop)
}

/// The remembered socket, while it is there and its directory is ours.
fn remembered(paths: &Paths) -> Option<PathBuf> {
    let socket = PathBuf::from(fs::read_to_string(paths.socket_place()).ok()?);
    let is_ours = is_own_directory(&fs::symlink_metadata(socket.parent()?).ok()?);
    (is_ours && socket.exists()).then_some(socket)
}

fn own(env: &Env, state: &Path) -> anyhow::Result<PathBuf> {
    let directory = directory(env)?;
    // The same checkout reached through a link is the same instance.
    let state = resolved(state);
    let hash = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let name: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(directory.join(format!("{name}.sock")))
}

/// A path without links. What is not there (yet, or any more) has the same one as when it is.
fn resolved(state: &Path) -> PathBuf {
    let parent = || fs::canonicalize(state.parent()?).ok();
    let inferred = || Some(parent()?.join(state.file_name()?));
    let found = fs::canonicalize(state).ok();
    found
        .or_else(inferred)
        .unwrap_or_else(|| state.to_path_buf())
}

/// The temporary directory; a relative one would be another one for each working directory.
fn temporary() -> PathBuf {
    let directory = std::env::temp_dir();
    if directory.is_absolute() && directory.is_dir() {
        directory
    } else {
        PathBuf::from("/tmp")
    }
}

fn is_own_directory(found: &fs::Metadata) -> bool {
    found.is_dir() && found.uid() == rustix::process::getuid().as_raw()
}

fn directory(env: &Env) -> anyhow::Result<PathBuf> {
    // Not from `.env`, without which a stack can be stopped.
    let runtime = env.non_empty("XDG_RUNTIME_DIR");
    let runtime = runtime.filter(|_| env.origin("XDG_RUNTIME_DIR") == Some(Origin::Process));
    let directory = match runtime.map(Path::new) {
        Some(runtime) if runtime.is_dir() => runtime.join(DIRECTORY),
        _ => temporary().join(format!(
            "{DIRECTORY}-{}",
            rustix::process::getuid().as_raw()
        )),
    };
    if let Ok(found) = fs::symlink_metadata(&directory) {
        // In a directory that all can write to, somebody else may have been first.
        ensure!(
            is_own_directory(&found),
            "the directory `{}` for sockets belongs to somebody else",
            directory.display()
        );
    }
    files::create_private_dir(&directory).context("cannot prepare the directory for sockets")?;
    Ok(directory)
}
