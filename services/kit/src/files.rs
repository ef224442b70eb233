//! Atomic writes, private directories and advisory locks.
//!
//! A reader never sees half of a file. Must not know the content of a file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, OFlags};

/// Mode of files that may hold secrets: only their owner can read and write them.
pub const PRIVATE_FILE_MODE: u32 = 0o600;
/// Mode of directories that hold such files.
pub const PRIVATE_DIR_MODE: u32 = 0o700;

/// Replaces `path` by `bytes` through a temporary file in the same directory, synced and renamed.
/// The file gets the permissions `mode`; a reader sees the old bytes or the new ones, never a mix.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    replace(path, bytes, mode, true)
}

/// Like [`write_atomically`], but not synced: for files that every start writes again, so they need
/// not survive a crash of the machine. A sync takes a millisecond, and sometimes 20.
pub fn write_for_this_run(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    replace(path, bytes, mode, false)
}

fn replace(path: &Path, bytes: &[u8], mode: u32, sync: bool) -> anyhow::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or_else(|| Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file()
            .set_permissions(Permissions::from_mode(mode))?;
        if sync {
            file.as_file().sync_data()?;
        }
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}

/// Like [`write_atomically`], but does not write a file whose content is equal; only its mode is
/// set. Returns whether the bytes changed.
pub fn write_if_changed(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of `{}`", path.display()))?;
        return Ok(false);
    }
    write_atomically(path, bytes, mode)?;
    Ok(true)
}

/// Creates a directory and its parents; only the owner can access the directory itself. One with
/// that mode is left alone, so that it may be on a read-only file system.
pub fn create_private_dir(path: &Path) -> anyhow::Result<()> {
    let mode = || fs::metadata(path).map(|meta| meta.permissions().mode() & 0o7777);
    if mode().is_err() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIR_MODE)
            .create(path)
            .with_context(|| format!("cannot create the directory `{}`", path.display()))?;
    }
    if path.is_dir() && mode().is_ok_and(|mode| mode == PRIVATE_DIR_MODE) {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIR_MODE))
        .with_context(|| format!("cannot make the directory `{}` private", path.display()))
}

/// Returns a name that does not exist: `wanted`, or the first of `wanted-2`, `wanted-3` and so on.
/// Names from a clock need it: two events happen in one second, and clocks go back. The caller
/// holds the lock under which such names are created.
pub fn free_name(wanted: &Path) -> PathBuf {
    let name = wanted.file_name().unwrap_or_default();
    let numbered = (2_u64..).map(|number| {
        let mut name = name.to_os_string();
        name.push(format!("-{number}"));
        wanted.with_file_name(name)
    });
    // A dangling link occupies its name, too.
    let is_free = |path: &PathBuf| path.symlink_metadata().is_err();
    let mut names = std::iter::once(wanted.to_path_buf()).chain(numbered);
    names.find(is_free).unwrap_or_else(|| wanted.to_path_buf())
}

/// An advisory lock (`flock`) on a file. It is released when the last copy of its descriptor is
/// closed, including copies that child processes inherited.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock without waiting, or returns `None` when it is held.
    pub fn try_exclusive(path: &Path) -> anyhow::Result<Option<Self>> {
        let file = open_lock_file(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot lock `{}`", path.display())),
        }
    }

    /// Whether the lock is held. Tries a shared lock, so that concurrent callers do not take each
    /// other for the holder; creates nothing.
    pub fn is_held(path: &Path) -> anyhow::Result<bool> {
        let context = || format!("cannot look at the lock `{}`", path.display());
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(context),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error).with_context(context),
        }
    }

    /// Returns the locked file, to write into it or to pass its descriptor on.
    pub fn file(&self) -> &File {
        &self.file
    }
}

fn open_lock_file(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE_MODE)
        .custom_flags(no_follow())
        .open(path);
    let opened = match opened {
        // A lock needs no write access, and a file on a read-only file system can still be checked.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => OpenOptions::new()
            .read(true)
            .custom_flags(no_follow())
            .open(path),
        opened => opened,
    };
    opened.with_context(|| format!("cannot open the lock file `{}`", path.display()))
}

/// A link in place of a lock points to a file of another program: it is not opened.
fn no_follow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_atomically_with_the_mode_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(write_if_changed(&path, b"one", 0o600).unwrap());
        assert!(!write_if_changed(&path, b"one", 0o600).unwrap());
        assert!(write_if_changed(&path, b"two", 0o755).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_name_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join("a");
        for expected in ["a", "a-2", "a-3"] {
            let free = free_name(&wanted);
            assert_eq!(free, dir.path().join(expected));
            std::os::unix::fs::symlink("/nowhere", free).unwrap();
        }
    }

    #[test]
    fn a_private_directory_is_made_and_corrected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        create_private_dir(&path).unwrap();
        assert_eq!(mode(), PRIVATE_DIR_MODE);
        for other in [0o777, 0o500, 0o1700] {
            fs::set_permissions(&path, Permissions::from_mode(other)).unwrap();
            create_private_dir(&path).unwrap();
            assert_eq!(mode(), PRIVATE_DIR_MODE);
        }
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = create_private_dir(&file.join("below")).unwrap_err();
        assert!(error.to_string().starts_with("cannot create the directory"));
    }

    #[test]
    fn no_lock_is_taken_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (target, lock) = (dir.path().join("target"), dir.path().join("lock"));
        fs::write(&target, "text").unwrap();
        std::os::unix::fs::symlink(&target, &lock).unwrap();
        assert!(FileLock::try_exclusive(&lock).is_err());
    }

    #[test]
    fn a_held_lock_is_refused_and_a_dropped_one_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = FileLock::try_exclusive(&path).unwrap();
        assert!(first.is_some());
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        assert!(FileLock::is_held(&path).unwrap());
        drop(first);
        assert!(!FileLock::is_held(&path).unwrap());
        assert!(!FileLock::is_held(&dir.path().join("none")).unwrap());
        assert!(FileLock::try_exclusive(&path).unwrap().is_some());
    }
}
