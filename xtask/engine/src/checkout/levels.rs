//! What a checkout holds of each kind: generated files, binaries, data.
//!
//! Owns what belongs to each level, and which entries stay whatever is deleted. Must not delete
//! anything, nor follow a link.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::paths::{INSTANCES, Paths};

/// What is deleted together.
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

/// What a level holds now.
#[derive(Debug, Clone, Serialize)]
pub struct Content {
    /// Which level.
    pub level: Level,
    /// Its directory, from the root.
    pub path: String,
    /// All of it, in bytes.
    pub bytes: u64,
    /// Bytes by entry of the directory: of data, by service.
    pub entries: BTreeMap<String, u64>,
}

impl Level {
    /// All levels, from what is made again at once to what is lost.
    pub const ALL: [Self; 3] = [Self::State, Self::Dep, Self::Data];

    /// Where it is.
    pub fn directory(self, paths: &Paths) -> PathBuf {
        match self {
            Self::State => paths.state(),
            Self::Dep => paths.dep(),
            Self::Data => paths.data(),
        }
    }

    /// Entries that stay: locks, and what other instances have below the default one.
    fn kept(self) -> &'static [&'static str] {
        match self {
            Self::State => &["alive.lock", "down.lock", "operation.lock", INSTANCES],
            Self::Dep => &[".locks"],
            Self::Data => &[INSTANCES],
        }
    }

    /// What the level holds now.
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

    /// What would be deleted. A directory that is a link leads out of the checkout.
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

/// The entries of a directory, sorted; none when there is no directory.
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

/// Bytes of a file or of everything below a directory. Links count as what they are.
fn size(path: &Path) -> anyhow::Result<u64> {
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        // A server that stops may still be removing files of its own.
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
