//! The content of a checkout by kind: generated files, binaries, data.
//!
//! Owns what belongs to each level, and which entries are never deleted. Must not delete anything
//! or follow a link.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::paths::{INSTANCES, Paths};

/// A kind of files that is deleted as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Generated files and logs.
    State,
    /// Binaries.
    Dep,
    /// The data of all services.
    Data,
}

/// The present content of a level.
#[derive(Debug, Clone, Serialize)]
pub struct Content {
    /// Which level.
    pub level: Level,
    /// Its directory, relative to the root.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes per entry of the directory; for data, per service.
    pub entries: BTreeMap<String, u64>,
}

impl Level {
    /// All levels, from what is generated again at once to what is lost.
    pub const ALL: [Self; 3] = [Self::State, Self::Dep, Self::Data];

    /// Returns its directory.
    pub fn directory(self, paths: &Paths) -> PathBuf {
        match self {
            Self::State => paths.state(),
            Self::Dep => paths.dep(),
            Self::Data => paths.data(),
        }
    }

    /// Returns entries that are kept: locks, and other instances below the default one.
    fn kept(self) -> &'static [&'static str] {
        match self {
            Self::State => &["alive.lock", "down.lock", "operation.lock", INSTANCES],
            Self::Dep => &[".locks"],
            Self::Data => &[INSTANCES],
        }
    }

    /// Returns the present content of the level.
    pub fn content(self, paths: &Paths) -> anyhow::Result<Content> {
        let directory = self.directory(paths);
        let mut entries = BTreeMap::new();
        for path in self.paths(paths)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            entries.insert(name.into_owned(), size(&path)?);
        }
        let shown = directory.strip_prefix(paths.root()).unwrap_or(&directory);
        Ok(Content {
            level: self,
            path: shown.display().to_string(),
            bytes: entries.values().sum(),
            entries,
        })
    }

    /// Returns the paths to delete. A directory that is a link leads out of the checkout.
    pub fn paths(self, paths: &Paths) -> anyhow::Result<Vec<PathBuf>> {
        let directory = self.directory(paths);
        if directory.is_symlink() {
            return Ok(Vec::new());
        }
        let kept = self.kept();
        let found = list(&directory)?.into_iter();
        let goes = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_none_or(|name| !kept.contains(&name))
        };
        Ok(found.filter(goes).collect())
    }
}

/// Returns the entries of a directory, sorted; empty if the directory is missing.
pub fn list(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(directory)?;
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    };
    match read() {
        Ok(mut paths) => {
            paths.sort();
            Ok(paths)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot list `{}`", directory.display())),
    }
}

/// Returns the bytes of a file or of all files below a directory. Links are not followed.
fn size(path: &Path) -> anyhow::Result<u64> {
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        // A server that is stopping may still remove its own files.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
        }
    };
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    let sizes = list(path)?.into_iter().map(|path| size(&path));
    sizes.sum()
}
