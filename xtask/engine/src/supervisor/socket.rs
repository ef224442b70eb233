//! The path of the supervisor's API socket of an instance.
//!
//! Socket paths over some 100 bytes fail, so it cannot be in the checkout; the directory is private
//! to the user, the name is derived from the instance's path. The directory depends on the
//! environment (a login has `XDG_RUNTIME_DIR`, a background job has none), so the socket of a
//! running supervisor is recorded: every command has to find it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use kit::files;
use sha2::{Digest as _, Sha256};

use crate::plan::env::{Env, Origin};

/// The directory below the runtime or temporary directory.
const DIRECTORY: &str = "core-stack";

/// The link in the state directory that leads to the socket of the running supervisor.
const RECORD: &str = "supervisor.sock";

/// Returns the socket's path for the instance with the directory `state`: of a supervisor that may
/// be running, else of the next one. Creates the directory.
pub fn path(env: &Env, state: &Path) -> anyhow::Result<PathBuf> {
    let name = name(state);
    // The record in a copied state leads to the socket of another instance.
    let own = |path: &PathBuf| path.ends_with(&name) && path.exists();
    if let Some(recorded) = fs::read_link(state.join(RECORD)).ok().filter(own) {
        return Ok(recorded);
    }
    Ok(directory(env)?.join(name))
}

/// Records the socket of the supervisor that is about to be started.
pub(super) fn record(state: &Path, socket: &Path) -> anyhow::Result<()> {
    forget(state);
    symlink(socket, state.join(RECORD)).context("cannot record where the supervisor's socket is")
}

/// Removes the record.
pub(super) fn forget(state: &Path) {
    let _ = fs::remove_file(state.join(RECORD));
}

fn name(state: &Path) -> String {
    format!("{}.sock", instance(state))
}

/// Returns the identity on this machine of the instance with the directory `state`.
pub(super) fn instance(state: &Path) -> String {
    // The same checkout reached through a link is the same instance.
    let state = resolved(state);
    let hash = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let bytes = hash.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a path without links. The result is the same whether the path exists or not.
fn resolved(state: &Path) -> PathBuf {
    let found = state.ancestors().find_map(|ancestor| {
        let rest = state.strip_prefix(ancestor).ok()?;
        Some(fs::canonicalize(ancestor).ok()?.join(rest))
    });
    let found = found.unwrap_or_else(|| state.to_path_buf());
    // A path that is joined with an empty one ends with a slash.
    found.components().collect()
}

/// Returns the temporary directory; a relative one would depend on the working directory.
fn temporary() -> PathBuf {
    let directory = std::env::temp_dir();
    if directory.is_absolute() && directory.is_dir() {
        directory
    } else {
        PathBuf::from("/tmp")
    }
}

fn directory(env: &Env) -> anyhow::Result<PathBuf> {
    // Not from `.env`, because a stack can be stopped without it.
    let runtime = env.non_empty("XDG_RUNTIME_DIR");
    let runtime = runtime.filter(|_| env.origin("XDG_RUNTIME_DIR") == Some(Origin::Process));
    let directory = match runtime.map(Path::new) {
        Some(runtime) if runtime.is_dir() => runtime.join(DIRECTORY),
        _ => temporary_directory(),
    };
    make_private(&directory)?;
    Ok(directory)
}

/// Returns the user's own directory below the temporary one.
pub(crate) fn temporary_directory() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    temporary().join(format!("{DIRECTORY}-{uid}"))
}

/// Creates a directory in a place that all can write to, or checks that it is ours alone.
pub(crate) fn make_private(directory: &Path) -> anyhow::Result<()> {
    let uid = rustix::process::getuid().as_raw();
    let create = || -> io::Result<fs::Metadata> {
        let created = DirBuilder::new()
            .mode(files::PRIVATE_DIR_MODE)
            .create(directory);
        match created {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::symlink_metadata(directory),
        }
    };
    let shown = directory.display();
    let found = create().with_context(|| format!("cannot make the directory `{shown}`"))?;
    // In a directory that all can write to, another user may have created it first.
    ensure!(
        found.is_dir() && found.uid() == uid,
        "the directory `{shown}` belongs to another user"
    );
    if found.mode() & 0o7777 != files::PRIVATE_DIR_MODE {
        fs::set_permissions(directory, Permissions::from_mode(files::PRIVATE_DIR_MODE))
            .with_context(|| format!("cannot make the directory `{shown}` private"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_supervisor_is_found_from_any_environment() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (state, copy) = (make("state"), make("copy"));
        let env =
            |directory: &Path| Env::from_pairs([("XDG_RUNTIME_DIR", directory.to_str().unwrap())]);
        let (login, job) = (env(&make("login")), env(&make("job")));
        let socket = path(&login, &state).unwrap();
        assert_ne!(path(&job, &state).unwrap(), socket, "nothing is recorded");

        record(&state, &socket).unwrap();
        assert_ne!(path(&job, &state).unwrap(), socket, "nothing is there");
        fs::write(&socket, "").unwrap();
        assert_eq!(path(&job, &state).unwrap(), socket);

        record(&copy, &socket).unwrap();
        assert_ne!(path(&job, &copy).unwrap(), socket, "that is another's");
        forget(&state);
        assert_ne!(path(&job, &state).unwrap(), socket);
    }
}
