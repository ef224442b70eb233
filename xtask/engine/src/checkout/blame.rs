//! What to do when the system refuses an operation: files that belong to another user, usually root
//! after one command with `sudo`, and a file system that is read-only.
//!
//! Must be called only after something failed, and must not change anything.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::base::limits;
use crate::checkout::paths::{DATA, Paths, STATE};

/// Maximum of entries that are read in one directory of the checkout; a target directory has many.
const ENTRIES_MAX: usize = 10_000;

/// Maximum depth of the entries that are read.
const DEPTH_MAX: usize = 4;

/// Returns what to do about an error that has no hint of its own.
pub fn hint(error: &anyhow::Error, paths: &Paths) -> Option<String> {
    let limits = error.chain().filter_map(limit_of);
    if let Some(limit) = limits.into_iter().next() {
        return Some(limit);
    }
    let kinds = error.chain().filter_map(kind_of);
    let refused = kinds.into_iter().find(|kind| {
        matches!(
            kind,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        )
    })?;
    if refused == io::ErrorKind::ReadOnlyFilesystem {
        return Some("make the file system writable, or work in a copy of the checkout".to_owned());
    }
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let places = [STATE, DATA, ".dep", "target"].map(|name| paths.root().join(name));
    let foreign: Vec<(PathBuf, PathBuf)> = places
        .iter()
        .filter_map(|place| Some((place.clone(), find_foreign(place, uid)?)))
        .collect();
    let Some((_, first)) = foreign.first() else {
        return Some("give yourself the rights to it: ls -ld shows whose it is".to_owned());
    };
    let owner = fs::symlink_metadata(first).map(|meta| meta.uid()).ok()?;
    let owner = match owner {
        0 => "root, as after a command with `sudo`".to_owned(),
        uid => format!("the user {uid}"),
    };
    let shown = paths.shown(first);
    let places: Vec<String> = foreign
        .iter()
        .map(|(place, _)| paths.shown(place))
        .collect();
    Some(format!(
        "`{shown}` belongs to {owner}: sudo chown -R {uid}:{gid} {}",
        places.join(" ")
    ))
}

/// Returns the limit of this process that caused a refusal of the system.
fn limit_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let io = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    let errno = cause
        .downcast_ref::<Errno>()
        .map(|errno| errno.raw_os_error());
    let limits = [Errno::MFILE, Errno::NOMEM].map(Errno::raw_os_error);
    let code = io.or(errno).filter(|code| limits.contains(code))?;
    limits::refused(&io::Error::from_raw_os_error(code).to_string())
}

fn kind_of(cause: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
    let errno = cause.downcast_ref::<Errno>();
    io.or_else(|| errno.map(|errno| io::Error::from(*errno).kind()))
}

/// Returns an entry at or below a path that belongs to another user.
fn find_foreign(place: &Path, uid: u32) -> Option<PathBuf> {
    let mut left = ENTRIES_MAX;
    let mut open = vec![(place.to_path_buf(), 0)];
    while let Some((path, depth)) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.uid() != uid {
            return Some(path);
        }
        if !meta.is_dir() || depth == DEPTH_MAX {
            continue;
        }
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            left = left.checked_sub(1)?;
            open.push((entry.path(), depth + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn what_belongs_to_another_user_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        fs::write(dir.path().join("logs/nats.log"), "").unwrap();
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(find_foreign(dir.path(), uid), None);
        let other = uid.wrapping_add(1);
        assert_eq!(find_foreign(dir.path(), other).as_deref(), Some(dir.path()));
        assert_eq!(find_foreign(&dir.path().join("absent"), other), None);
    }

    #[test]
    fn only_what_was_refused_is_explained() {
        let paths = Paths::new("/nonexistent".into());
        let error = |kind: io::ErrorKind| {
            let refused: Result<(), _> = Err(io::Error::from(kind));
            refused.context("cannot look").unwrap_err()
        };
        assert!(hint(&error(io::ErrorKind::PermissionDenied), &paths).is_some());
        assert!(hint(&error(io::ErrorKind::ReadOnlyFilesystem), &paths).is_some());
        assert_eq!(hint(&error(io::ErrorKind::NotFound), &paths), None);
        let errno = |errno: Errno| {
            let refused: Result<(), _> = Err(errno);
            refused.context("cannot lock").unwrap_err()
        };
        assert!(hint(&errno(Errno::ACCESS), &paths).is_some());
        let files = hint(&errno(Errno::MFILE), &paths).unwrap();
        assert!(files.contains("open files"), "{files}");
        // A lock that another process holds is no limit.
        assert_eq!(hint(&errno(Errno::AGAIN), &paths), None);
    }
}
