//! The stores of a stack, exchanged for others and back, so that a crash at any moment leaves
//! enough to know which are which.
//!
//! Owns `.data/restore.json`. A store is moved, never copied and never removed.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;
use kit::files::{PRIVATE_FILE_MODE, create_private_dir, write_atomically};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::SCHEMA_VERSION;
use crate::paths::Paths;

/// The file.
const FILE: &str = "restore.json";

/// A restore that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// Version of this document.
    schema_version: u32,
    /// What the directories of this restore end in.
    pub(crate) id: String,
    /// How far it is.
    pub(crate) phase: Phase,
    /// What is exchanged.
    stores: Vec<Store>,
    /// The configuration of each stream that is to be opened, with its domain.
    pub(crate) streams: Vec<(String, Value)>,
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Everything can be taken back.
    Exchanging,
    /// What was restored counts; streams are being opened.
    Opening,
}

/// A file or directory that is exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Store {
    /// Its path below `.data`.
    path: PathBuf,
    /// Whether there was one before.
    existed: bool,
}

impl Journal {
    /// Notes what is about to be exchanged.
    pub(crate) fn begin(
        paths: &Paths,
        id: String,
        stores: Vec<PathBuf>,
        streams: Vec<(String, Value)>,
    ) -> anyhow::Result<Self> {
        let store = |path: PathBuf| Store {
            existed: paths.data().join(&path).exists(),
            path,
        };
        let journal = Self {
            schema_version: SCHEMA_VERSION,
            id,
            phase: Phase::Exchanging,
            stores: stores.into_iter().map(store).collect(),
            streams,
        };
        journal.write(paths)?;
        Ok(journal)
    }

    /// The restore that a command began, if it did not end.
    pub(crate) fn read(paths: &Paths) -> anyhow::Result<Option<Self>> {
        let path = file(paths);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
            }
        };
        let journal = serde_json::from_slice(&text);
        journal
            .map(Some)
            .with_context(|| format!("`{}` does not tell of a restore", path.display()))
    }

    /// Notes that what was restored counts from now on.
    pub(crate) fn commit(&mut self, paths: &Paths) -> anyhow::Result<()> {
        self.phase = Phase::Opening;
        self.write(paths)
    }

    /// Notes that nothing is left to do.
    pub(crate) fn clear(paths: &Paths) -> anyhow::Result<()> {
        let path = file(paths);
        fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        sync(&paths.data())
    }

    /// Moves every store away; from `staged` comes what takes the place of some.
    pub(crate) fn exchange(
        &self,
        paths: &Paths,
        staged: &[(PathBuf, PathBuf)],
    ) -> anyhow::Result<()> {
        for store in self.stores.iter().filter(|store| store.existed) {
            rename(
                &paths.data().join(&store.path),
                &self.kept(paths).join(&store.path),
            )?;
        }
        for (from, path) in staged {
            rename(from, &paths.data().join(path))?;
        }
        Ok(())
    }

    /// Moves every store back. Can be done again when it was cut off.
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
                rename(&place, &self.discarded(paths).join(&store.path))?;
            }
            if store.existed {
                rename(&kept, &place)?;
            }
        }
        remove_empty(&self.kept(paths));
        Ok(())
    }

    /// Where what was replaced is kept.
    pub(crate) fn kept(&self, paths: &Paths) -> PathBuf {
        paths.data().join(format!("replaced-{}", self.id))
    }

    /// Where what was restored and taken back is kept.
    pub(crate) fn discarded(&self, paths: &Paths) -> PathBuf {
        paths.data().join(format!("discarded-{}", self.id))
    }

    fn write(&self, paths: &Paths) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(&file(paths), &text, PRIVATE_FILE_MODE)?;
        sync(&paths.data())
    }
}

fn file(paths: &Paths) -> PathBuf {
    paths.data().join(FILE)
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
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

/// A name in a directory is on disk when the directory is.
fn sync(directory: &Path) -> anyhow::Result<()> {
    let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("cannot write `{}` through", directory.display()))
}

/// Removes directories in which nothing is left.
fn remove_empty(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_empty(&entry.path());
        }
    }
    // One that is not empty stays.
    let _ = fs::remove_dir(directory);
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
        Journal::begin(paths, "1".to_owned(), stores.to_vec(), Vec::new()).unwrap()
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
        assert_eq!(Journal::read(&paths).unwrap().as_ref(), Some(&journal));
        let staged = [(dir.path().join("staged"), PathBuf::from("pb/pb_data"))];
        journal.exchange(&paths, &staged).unwrap();
        let now = fs::read_to_string(paths.data().join("pb/pb_data/x")).unwrap();
        assert_eq!(now, "new");
        assert!(!paths.data().join("nats/jetstream").exists());
        // What a server makes anew.
        fs::create_dir_all(paths.data().join("pb/more")).unwrap();
        for _ in 0..2 {
            journal.take_back(&paths).unwrap();
            is_as_before(&paths);
        }
        assert!(journal.discarded(&paths).join("pb/pb_data/x").exists());
        assert!(!journal.kept(&paths).exists());
        Journal::clear(&paths).unwrap();
        assert_eq!(Journal::read(&paths).unwrap(), None);
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
}
