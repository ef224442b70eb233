//! Exchanges the stores of a stack for others and back. After a crash at any time, the files show
//! which stores are which.
//!
//! Owns `.data/restore.json`, which is kept twice. A store is moved, never copied or removed, and
//! never to an existing name: ids are unique, even if the clock is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use kit::failure::exit_of;
use kit::files::{PRIVATE_FILE_MODE, create_private_dir, free_name};
use kit::{Exit, kept};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disks;
use crate::SCHEMA_VERSION;
use crate::checkout::paths::Paths;

/// The file.
const FILE: &str = "restore.json";
/// Prefix of the directory that keeps what a restore replaced.
const KEPT: &str = "replaced-";

/// A restore in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// Version of this document.
    schema_version: u32,
    /// The suffix of this restore's directories: a time, and a number if that is in use.
    pub(crate) id: String,
    /// Its progress.
    pub(crate) phase: Phase,
    /// The stores that are exchanged.
    stores: Vec<Store>,
    /// The configuration of each stream to open, with its domain.
    pub(crate) streams: Vec<(String, Value)>,
}

/// The progress of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Everything can be rolled back.
    Exchanging,
    /// The restored data counts; streams are being opened.
    Opening,
}

/// A file or directory that is exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Store {
    /// Its path below `.data`.
    path: PathBuf,
    /// Whether it existed before.
    existed: bool,
}

impl Journal {
    /// Records what is about to be exchanged, under an id that no restore had.
    pub(crate) fn begin(
        paths: &Paths,
        now: Timestamp,
        stores: Vec<PathBuf>,
        streams: Vec<(String, Value)>,
    ) -> anyhow::Result<Self> {
        let store = |path: PathBuf| Store {
            existed: paths.data().join(&path).exists(),
            path,
        };
        let journal = Self {
            schema_version: SCHEMA_VERSION,
            id: free_id(&paths.data(), &super::compact(now)),
            phase: Phase::Exchanging,
            stores: stores.into_iter().map(store).collect(),
            streams,
        };
        journal.write(paths)?;
        Ok(journal)
    }

    /// Returns the restore that a command began and did not finish. If the journal and its copy are
    /// invalid, missing stores are moved back from the last restore, the journal is moved aside,
    /// and `told` receives the message about it.
    pub(crate) fn read(paths: &Paths, told: impl FnOnce(String)) -> anyhow::Result<Option<Self>> {
        let path = file(paths);
        let error = match kept::read(&path) {
            Ok(journal) => return Ok(journal),
            Err(error) if exit_of(&error) == Exit::Invalid => error,
            Err(error) => return Err(error),
        };
        let last = last_kept(paths);
        let restored = match &last {
            Some(kept) => put_back_what_is_missing(kept, &paths.data())?,
            None => Vec::new(),
        };
        let aside = kept::set_aside(&path)?;
        let mut sentences = vec![format!("{error:#}; it is in `{}` now", aside.display())];
        if let Some(kept) = last {
            let kept = kept.display();
            sentences.push(format!("what the last restore replaced is in `{kept}`"));
        }
        for store in restored {
            sentences.push(format!("`{}` was missing and is back", store.display()));
        }
        told(sentences.join("; "));
        Ok(None)
    }

    /// Records that the restored data counts from now on.
    pub(crate) fn commit(&mut self, paths: &Paths) -> anyhow::Result<()> {
        self.phase = Phase::Opening;
        self.write(paths)
    }

    /// Removes the journal: everything is done.
    pub(crate) fn clear(paths: &Paths) -> anyhow::Result<()> {
        kept::remove(&file(paths))?;
        sync(&paths.data())
    }

    /// Moves every store away; `staged` contains replacements for some.
    pub(crate) fn exchange(
        &self,
        paths: &Paths,
        staged: &[(PathBuf, PathBuf)],
    ) -> anyhow::Result<()> {
        for store in self.stores.iter().filter(|store| store.existed) {
            move_aside(&paths.data(), &store.path, &self.kept(paths), &store.path)?;
        }
        for (from, path) in staged {
            rename(from, &paths.data().join(path))?;
        }
        Ok(())
    }

    /// Moves every store back. Can be repeated after an interruption.
    pub(crate) fn take_back(&self, paths: &Paths) -> anyhow::Result<()> {
        for store in &self.stores {
            let (place, kept) = (
                paths.data().join(&store.path),
                self.kept(paths).join(&store.path),
            );
            if store.existed && !kept.exists() {
                // It was not moved yet, or is back already.
                continue;
            }
            if place.exists() {
                // An earlier attempt may have left a store there.
                let discarded = self.discarded(paths);
                let free = free_name(&discarded.join(&store.path));
                let name = free.strip_prefix(&discarded).unwrap_or(&store.path);
                move_aside(&paths.data(), &store.path, &discarded, name)?;
            }
            if store.existed {
                rename(&kept, &place)?;
            }
        }
        remove_empty(&self.kept(paths));
        Ok(())
    }

    /// Returns the directory of what was replaced.
    pub(crate) fn kept(&self, paths: &Paths) -> PathBuf {
        kept_under(&paths.data(), &self.id)
    }

    /// Returns the directory of what was restored and rolled back.
    pub(crate) fn discarded(&self, paths: &Paths) -> PathBuf {
        discarded_under(&paths.data(), &self.id)
    }

    fn write(&self, paths: &Paths) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        kept::write(&file(paths), &text, PRIVATE_FILE_MODE)?;
        sync(&paths.data())
    }
}

fn file(paths: &Paths) -> PathBuf {
    paths.data().join(FILE)
}

fn kept_under(data: &Path, id: &str) -> PathBuf {
    data.join(format!("{KEPT}{id}"))
}

fn discarded_under(data: &Path, id: &str) -> PathBuf {
    data.join(format!("discarded-{id}"))
}

/// Returns an unused id.
fn free_id(data: &Path, time: &str) -> String {
    let numbered = (2_u64..).map(|number| format!("{time}-{number}"));
    let is_free = |id: &String| {
        let directories = [kept_under(data, id), discarded_under(data, id)];
        directories
            .iter()
            .all(|path| path.symlink_metadata().is_err())
    };
    let mut ids = std::iter::once(time.to_owned()).chain(numbered);
    ids.find(is_free).unwrap_or_else(|| time.to_owned())
}

/// Returns the directory of what the last restore replaced: the one that was changed last.
fn last_kept(paths: &Paths) -> Option<PathBuf> {
    let entries = fs::read_dir(paths.data()).into_iter().flatten().flatten();
    let kept = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with(KEPT) && entry.path().is_dir()
    });
    let changed = |entry: &fs::DirEntry| entry.metadata().and_then(|data| data.modified()).ok();
    kept.max_by_key(|entry| (changed(entry), entry.file_name()))
        .map(|entry| entry.path())
}

/// Moves each store back whose place is empty. Returns their paths below `.data`.
fn put_back_what_is_missing(kept: &Path, data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut back = Vec::new();
    for service in fs::read_dir(kept).into_iter().flatten().flatten() {
        for store in fs::read_dir(service.path()).into_iter().flatten().flatten() {
            let path = Path::new(&service.file_name()).join(store.file_name());
            if data.join(&path).symlink_metadata().is_err() {
                rename(&store.path(), &data.join(&path))?;
                back.push(path);
            }
        }
    }
    remove_empty(kept);
    Ok(back)
}

/// Moves a store of `data` to `name` in the directory `aside`, on its own disk.
fn move_aside(data: &Path, store: &Path, aside: &Path, name: &Path) -> anyhow::Result<()> {
    if let Some(service) = store
        .parent()
        .filter(|service| !service.as_os_str().is_empty())
    {
        disks::make_room(data, service, aside)?;
    }
    rename(&data.join(store), &aside.join(name))
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.symlink_metadata().is_ok() {
        bail!(
            "cannot move `{}`: there is something at `{}` already",
            from.display(),
            to.display()
        );
    }
    if let Some(parent) = to.parent().filter(|parent| !parent.exists()) {
        create_private_dir(parent)?;
    }
    let moved = fs::rename(from, to);
    moved.with_context(|| format!("cannot move `{}` to `{}`", from.display(), to.display()))?;
    for path in [from, to] {
        path.parent().map_or(Ok(()), sync)?;
    }
    Ok(())
}

/// Syncs a directory, so that the names in it are on disk.
fn sync(directory: &Path) -> anyhow::Result<()> {
    let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("cannot write `{}` through", directory.display()))
}

/// Removes empty directories.
fn remove_empty(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_empty(&entry.path());
        }
    }
    disks::remove_if_empty(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(dir: &Path) -> Paths {
        let paths = Paths::new(dir.to_path_buf());
        for (path, text) in [("nats/jetstream", "old"), ("pb/pb_data", "old")] {
            fs::create_dir_all(paths.data().join(path)).unwrap();
            fs::write(paths.data().join(path).join("x"), text).unwrap();
        }
        fs::create_dir_all(dir.join("staged")).unwrap();
        fs::write(dir.join("staged/x"), "new").unwrap();
        paths
    }

    fn begin(paths: &Paths) -> Journal {
        let stores = ["nats/jetstream", "pb/pb_data", "pb/more"].map(PathBuf::from);
        let now = Timestamp::UNIX_EPOCH;
        Journal::begin(paths, now, stores.to_vec(), Vec::new()).unwrap()
    }

    fn read(paths: &Paths) -> Option<Journal> {
        Journal::read(paths, |text| panic!("{text}")).unwrap()
    }

    fn is_as_before(paths: &Paths) {
        for path in ["nats/jetstream/x", "pb/pb_data/x"] {
            assert_eq!(fs::read_to_string(paths.data().join(path)).unwrap(), "old");
        }
        assert!(!paths.data().join("pb/more").exists());
    }

    #[test]
    fn stores_are_exchanged_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let journal = begin(&paths);
        assert_eq!(read(&paths).as_ref(), Some(&journal));
        let staged = [(dir.path().join("staged"), PathBuf::from("pb/pb_data"))];
        journal.exchange(&paths, &staged).unwrap();
        let now = fs::read_to_string(paths.data().join("pb/pb_data/x")).unwrap();
        assert_eq!(now, "new");
        assert!(!paths.data().join("nats/jetstream").exists());
        // A server creates it again.
        fs::create_dir_all(paths.data().join("pb/more")).unwrap();
        for _ in 0..2 {
            journal.take_back(&paths).unwrap();
            is_as_before(&paths);
        }
        assert!(journal.discarded(&paths).join("pb/pb_data/x").exists());
        assert!(!journal.kept(&paths).exists());
        Journal::clear(&paths).unwrap();
        assert_eq!(read(&paths), None);
    }

    #[test]
    fn an_exchange_that_was_cut_off_is_taken_back_wherever_that_was() {
        for moved in 0..=2 {
            let dir = tempfile::tempdir().unwrap();
            let paths = paths(dir.path());
            let journal = begin(&paths);
            for store in &journal.stores[..moved] {
                let kept = journal.kept(&paths).join(&store.path);
                rename(&paths.data().join(&store.path), &kept).unwrap();
            }
            journal.take_back(&paths).unwrap();
            is_as_before(&paths);
        }
    }

    #[test]
    fn a_service_on_a_disk_of_its_own_keeps_what_was_replaced_there() {
        use std::os::unix::fs::{MetadataExt as _, symlink};

        let dir = tempfile::tempdir().unwrap();
        let other = Path::new("/dev/shm");
        let device = |path: &Path| path.metadata().unwrap().dev();
        if !other.is_dir() || device(other) == device(dir.path()) {
            // There is only one file system.
            return;
        }
        let other = tempfile::tempdir_in(other).unwrap();
        let paths = paths(dir.path());
        fs::remove_dir_all(paths.data().join("pb")).unwrap();
        symlink(other.path(), paths.data().join("pb")).unwrap();
        fs::create_dir(other.path().join("pb_data")).unwrap();
        fs::write(other.path().join("pb_data/x"), "old").unwrap();
        for _ in 0..2 {
            fs::create_dir_all(other.path().join("staged")).unwrap();
            fs::write(other.path().join("staged/x"), "new").unwrap();
            let journal = begin(&paths);
            let staged = [(paths.data().join("pb/staged"), PathBuf::from("pb/pb_data"))];
            journal.exchange(&paths, &staged).unwrap();
            let text = |path: &Path| fs::read_to_string(path.join("pb/pb_data/x")).unwrap();
            assert_eq!(text(&paths.data()), "new");
            assert_eq!(text(&journal.kept(&paths)), "old");
            journal.take_back(&paths).unwrap();
            is_as_before(&paths);
            assert_eq!(text(&journal.discarded(&paths)), "new");
            assert!(journal.kept(&paths).symlink_metadata().is_err());
            Journal::clear(&paths).unwrap();
        }
        let left = fs::read_dir(other.path()).unwrap().count();
        assert_eq!(left, 3, "the store and what was discarded twice");
    }

    #[test]
    fn restores_of_one_moment_have_nothing_in_common() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let text = |path: &Path| fs::read_to_string(path.join("pb/pb_data/x")).unwrap();
        let stage = |new: &str| {
            fs::create_dir_all(dir.path().join("staged")).unwrap();
            fs::write(dir.path().join("staged/x"), new).unwrap();
            [(dir.path().join("staged"), PathBuf::from("pb/pb_data"))]
        };
        let first = begin(&paths);
        first.exchange(&paths, &stage("first")).unwrap();
        Journal::clear(&paths).unwrap();
        // It is done; another one is rolled back before and after it exchanged anything.
        for exchanges in [false, true, true] {
            let second = begin(&paths);
            assert_ne!(second.id, first.id);
            if exchanges {
                second.exchange(&paths, &stage("second")).unwrap();
            }
            second.take_back(&paths).unwrap();
            Journal::clear(&paths).unwrap();
            assert_eq!(text(&paths.data()), "first");
            assert_eq!(text(&first.kept(&paths)), "old");
        }
    }

    #[test]
    fn what_an_older_core_left_under_one_id_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let journal = begin(&paths);
        let staged = [(dir.path().join("staged"), PathBuf::from("pb/pb_data"))];
        journal.exchange(&paths, &staged).unwrap();
        // Discarded in the same second, when ids were only a time.
        let discarded = journal.discarded(&paths);
        fs::create_dir_all(discarded.join("pb/pb_data")).unwrap();
        fs::write(discarded.join("pb/pb_data/x"), "older").unwrap();
        journal.take_back(&paths).unwrap();
        is_as_before(&paths);
        let kept = |name: &str| fs::read_to_string(discarded.join(name)).unwrap();
        assert_eq!(
            (kept("pb/pb_data/x"), kept("pb/pb_data-2/x")),
            ("older".to_owned(), "new".to_owned())
        );
    }

    #[test]
    fn a_note_that_cannot_be_understood_keeps_nothing_from_starting() {
        for (damaged, exchanged) in [("", true), ("{\"schema_version\": 1", true), ("[]", false)] {
            let dir = tempfile::tempdir().unwrap();
            let paths = paths(dir.path());
            let journal = begin(&paths);
            if exchanged {
                // Cut off before anything replaced what was moved away.
                journal.exchange(&paths, &[]).unwrap();
            }
            fs::write(file(&paths), damaged).unwrap();
            assert_eq!(read(&paths).as_ref(), Some(&journal), "by its copy");
            fs::write(paths.data().join(".restore.json.copy"), "").unwrap();
            let mut told = String::new();
            assert_eq!(Journal::read(&paths, |text| told = text).unwrap(), None);
            assert!(told.contains("restore.json.damaged"), "{told}");
            assert_eq!(
                told.contains("was missing and is back"),
                exchanged,
                "{told}"
            );
            is_as_before(&paths);
            assert_eq!(read(&paths), None);
        }
    }
}
