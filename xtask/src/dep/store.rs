//! The directory `.dep/`: what is installed there, and how a binary is installed.
//!
//! Owns the install protocol: one lock per name, a work directory on the same file system, digest,
//! sync, rename, record last. A killed run leaves nothing that counts as installed, and the next
//! holder of the lock removes its work. Must not know where binaries come from.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::files::FileLock;
use kit::{Exit, Failure};

use super::record::{Build, Record, Source, Stamp};
use engine::base::digest;
use engine::base::interrupt::Interrupt;
use engine::base::poll::wait_until;

/// Pause between two attempts to take a lock.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// Mode of an installed binary.
const BINARY_MODE: u32 = 0o755;

/// `.dep/` of one checkout.
#[derive(Debug, Clone)]
pub(super) struct Store {
    dir: PathBuf,
}

/// The state of an installed file compared with its record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The record or the file is missing.
    Absent,
    /// The file is the digested one.
    Intact(Record),
    /// The file is another one, with this digest.
    Changed { record: Record, found: String },
}

/// Facts about an installation, besides the file itself.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) version: Option<String>,
    pub(super) source: Source,
    pub(super) origin: Option<String>,
    pub(super) build: Option<Build>,
}

impl Store {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Returns the path of an installed binary.
    pub(super) fn binary(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.dir.join(".records").join(format!("{name}.json"))
    }

    /// Compares a file with its record; computes the digest only when its stamp differs, and then
    /// records the new stamp of the same content.
    pub(super) fn state(&self, name: &str) -> anyhow::Result<State> {
        let path = self.binary(name);
        let Some(mut record) = Record::load(&self.record_path(name)) else {
            return Ok(State::Absent);
        };
        let Ok(stamp) = Stamp::of(&path) else {
            return Ok(State::Absent);
        };
        if stamp == record.stamp {
            return Ok(State::Intact(record));
        }
        let found = digest::of_file(&path)?;
        if found != record.sha256 {
            return Ok(State::Changed { record, found });
        }
        // A cache that restored the file may have dropped the executable bit.
        make_executable(&path).with_context(|| format!("cannot change `{}`", path.display()))?;
        record.stamp = stamp;
        record.store(&self.record_path(name))?;
        Ok(State::Intact(record))
    }

    /// Returns the record of an installed binary, unchecked.
    pub(super) fn record(&self, name: &str) -> Option<Record> {
        Record::load(&self.record_path(name))
    }

    /// Takes the lock of a name, waiting at most `wait` for another holder. `waiting` receives once
    /// who holds it. Removes the work that an earlier holder left behind.
    pub(super) fn lock(
        &self,
        name: &str,
        wait: Duration,
        cancel: &AtomicBool,
        waiting: &dyn Fn(&str),
    ) -> anyhow::Result<Guard> {
        let create = |dir: &Path| {
            fs::create_dir_all(dir)
                .with_context(|| format!("cannot create the directory `{}`", dir.display()))
        };
        let locks = self.dir.join(".locks");
        create(&locks)?;
        create(&self.dir.join(".records"))?;
        let path = locks.join(name);
        let deadline = Instant::now() + wait;
        let mut told = false;
        let claim = || {
            let lock = FileLock::try_exclusive(&path)?;
            if lock.is_none() && !told {
                waiting(&holder(&path));
                told = true;
            }
            if lock.is_none() && cancel.load(Ordering::Relaxed) {
                return Err(super::cancelled());
            }
            Ok(lock)
        };
        let lock = wait_until(deadline, LOCK_POLL, &Interrupt::default(), claim)?;
        let lock = lock.done().ok_or_else(|| {
            let message = format!("waited for {} to install `{name}`", holder(&path));
            Failure::new(Exit::Timeout, message)
                .hint("end that process if it hangs, then run the command again")
        })?;
        sign(lock.file()).with_context(|| format!("cannot write `{}`", path.display()))?;
        let work = self.dir.join(".work").join(name);
        remove_dir(&work)?;
        create(&work)?;
        Ok(Guard {
            store: self.clone(),
            name: name.to_owned(),
            work,
            _lock: lock,
        })
    }
}

/// The right to install one name.
#[derive(Debug)]
pub(super) struct Guard {
    store: Store,
    name: String,
    work: PathBuf,
    _lock: FileLock,
}

impl Guard {
    /// Returns a private directory on the file system of the binary; removed with the guard.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// Installs a file of the work directory whose digest the caller has verified. An installed
    /// file of the same content is not replaced, so that running processes keep their program.
    pub(super) fn install(
        &self,
        file: &Path,
        sha256: String,
        facts: Facts,
    ) -> anyhow::Result<Record> {
        let target = self.store.binary(&self.name);
        let same = Stamp::of(&target).is_ok()
            && digest::of_file(&target).is_ok_and(|found| found == sha256);
        let install = || {
            if same {
                make_executable(&target)
            } else {
                replace(file, &target)
            }
        };
        install().with_context(|| format!("cannot install `{}`", target.display()))?;
        let stamp =
            Stamp::of(&target).with_context(|| format!("cannot read `{}`", target.display()))?;
        let record = Record {
            version: facts.version,
            source: facts.source,
            sha256,
            stamp,
            origin: facts.origin,
            build: facts.build,
        };
        record.store(&self.store.record_path(&self.name))?;
        Ok(record)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The lock is still held here; what cannot be removed now is removed under the next lock.
        let _ = remove_dir(&self.work);
    }
}

fn make_executable(file: &Path) -> io::Result<()> {
    fs::set_permissions(file, Permissions::from_mode(BINARY_MODE))
}

fn replace(file: &Path, target: &Path) -> io::Result<()> {
    make_executable(file)?;
    File::open(file)?.sync_all()?;
    fs::rename(file, target)?;
    if let Some(dir) = target.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn remove_dir(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Writes our pid into the lock file, for processes that wait.
fn sign(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

/// Returns the holder of a lock, as recorded in the file.
fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    match read {
        Ok(_) if !text.is_empty() => format!("process {text}"),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    fn facts() -> Facts {
        Facts {
            version: Some("1".into()),
            source: Source::Archive,
            origin: None,
            build: None,
        }
    }

    fn mode(store: &Store, name: &str) -> u32 {
        let meta = fs::metadata(store.binary(name)).unwrap();
        meta.permissions().mode() & 0o777
    }

    fn install(store: &Store, name: &str, content: &str) -> Record {
        let guard = store
            .lock(name, WAIT, &AtomicBool::new(false), &|_| {})
            .unwrap();
        let file = guard.work().join("file");
        fs::write(&file, content).unwrap();
        let sha256 = digest::of_file(&file).unwrap();
        guard.install(&file, sha256, facts()).unwrap()
    }

    #[test]
    fn installed_file_is_executable_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join(".dep"));
        let record = install(&store, "a", "one");
        assert_eq!(store.state("a").unwrap(), State::Intact(record));
        assert_eq!(mode(&store, "a"), 0o755);
        let work = dir.path().join(".dep/.work");
        assert_eq!(fs::read_dir(work).unwrap().count(), 0);
    }

    #[test]
    fn a_touched_file_is_digested_once_and_a_replaced_one_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf());
        let record = install(&store, "a", "one");
        fs::write(store.binary("a"), "one").unwrap();
        let State::Intact(refreshed) = store.state("a").unwrap() else {
            panic!("same content must be intact");
        };
        assert_ne!(refreshed.stamp, record.stamp);
        assert_eq!(Stamp::of(&store.binary("a")).unwrap(), refreshed.stamp);
        fs::remove_file(store.binary("a")).unwrap();
        fs::write(store.binary("a"), "one").unwrap();
        assert!(matches!(store.state("a").unwrap(), State::Intact(_)));
        assert_eq!(
            mode(&store, "a"),
            0o755,
            "a cache forgot that it is a program"
        );
        fs::write(store.binary("a"), "two").unwrap();
        let State::Changed { found, .. } = store.state("a").unwrap() else {
            panic!("other content must be noticed");
        };
        assert_eq!(found, digest::of_bytes(b"two"));
        fs::remove_file(store.binary("a")).unwrap();
        assert_eq!(store.state("a").unwrap(), State::Absent);
    }

    #[test]
    fn a_link_in_place_of_the_binary_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf());
        install(&store, "a", "one");
        fs::rename(store.binary("a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("b", store.binary("a")).unwrap();
        assert_eq!(store.state("a").unwrap(), State::Absent);
        install(&store, "a", "one");
        assert!(matches!(store.state("a").unwrap(), State::Intact(_)));
    }

    #[test]
    fn same_content_keeps_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf());
        let first = install(&store, "a", "one");
        assert_eq!(install(&store, "a", "one").stamp, first.stamp);
        assert_ne!(install(&store, "a", "two").stamp, first.stamp);
    }

    #[test]
    fn leftovers_of_a_killed_run_go_with_the_next_lock() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf());
        let work = dir.path().join(".work/a");
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("half"), "ha").unwrap();
        // Killed between rename and record: the file exists, the record does not.
        fs::write(store.binary("a"), "half").unwrap();
        assert_eq!(store.state("a").unwrap(), State::Absent);
        install(&store, "a", "one");
        assert!(!work.exists());
        assert_eq!(fs::read_to_string(store.binary("a")).unwrap(), "one");
    }

    #[test]
    fn a_second_holder_waits_and_says_for_whom() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf());
        let never = AtomicBool::new(false);
        let guard = store.lock("a", WAIT, &never, &|_| {}).unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let told = told;
                store
                    .lock("a", WAIT, &never, &|who| told.send(who.to_owned()).unwrap())
                    .map(|_| ())
            });
            let who = heard.recv_timeout(WAIT).unwrap();
            assert_eq!(who, format!("process {}", std::process::id()));
            drop(guard);
            waiter.join().unwrap().unwrap();
        });
    }

    #[test]
    fn waiting_has_a_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_path_buf());
        let never = AtomicBool::new(false);
        let _guard = store.lock("a", WAIT, &never, &|_| {}).unwrap();
        let error = store
            .lock("a", Duration::from_millis(1), &never, &|_| {})
            .unwrap_err();
        assert_eq!(kit::failure::exit_of(&error), Exit::Timeout);
    }
}
