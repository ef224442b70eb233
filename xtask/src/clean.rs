//! Deleting what a checkout has made: generated files, binaries, data.
//!
//! Owns what belongs to each level, and that nothing else is touched: no link is followed, and
//! lock files stay, because a lock on a deleted file keeps nobody out. Must not ask anybody: the
//! command does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::files::FileLock;
use kit::{Exit, Failure};
use serde::Serialize;

use crate::context::Ctx;
use crate::instances::ps;
use crate::interrupt::Interrupt;
use crate::paths::{INSTANCES, Paths};
use crate::supervisor::alive;
use crate::supervisor::operation::{Operation, Wait};

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

    fn directory(self, paths: &Paths) -> PathBuf {
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
    pub(crate) fn paths(self, paths: &Paths) -> anyhow::Result<Vec<PathBuf>> {
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

/// Refuses before anybody is asked: links, and a stack that runs.
pub fn check(ctx: &Ctx, levels: &[Level]) -> anyhow::Result<()> {
    for level in levels {
        let directory = level.directory(&ctx.paths);
        if directory.is_symlink() {
            let shown = directory.display();
            let message = format!("`{shown}` is a link, which is not followed");
            let hint = "delete what it leads to yourself, or the link";
            return Err(Failure::new(Exit::Invalid, message).hint(hint).into());
        }
    }
    if ctx.is_running()? {
        return Err(runs(&ctx.paths).into());
    }
    if levels.contains(&Level::Dep) {
        for other in ps::of_checkout(&ctx.paths) {
            if alive::is_held(&other.alive_lock())? {
                return Err(runs(&other).into());
            }
        }
    }
    Ok(())
}

/// Deletes the levels. Returns what they held.
pub fn clean(ctx: &Ctx, levels: &[Level], wait: Wait) -> anyhow::Result<Vec<Content>> {
    let _operation = Operation::begin(&ctx.paths, &ctx.ui, "clean", wait, &Interrupt::default())?;
    check(ctx, levels)?;
    let claim = alive::try_claim(&ctx.paths.alive_lock())?;
    let _claim = claim.ok_or_else(|| runs(&ctx.paths))?;
    let mut locks = Vec::new();
    for level in levels {
        locks.extend(claim_all(*level, &ctx.paths)?);
    }
    let mut deleted = Vec::new();
    for level in levels {
        deleted.push(level.content(&ctx.paths)?);
        for path in level.paths(&ctx.paths)? {
            delete(&path).with_context(|| format!("cannot delete `{}`", path.display()))?;
        }
    }
    Ok(deleted)
}

/// Takes the locks of those who use a level without an operation: a service that runs by itself
/// holds its data, a command that installs a binary its name.
fn claim_all(level: Level, paths: &Paths) -> anyhow::Result<Vec<FileLock>> {
    let directory = level.directory(paths);
    let files: Vec<PathBuf> = match level {
        Level::State => Vec::new(),
        Level::Dep => list(&directory.join(".locks"))?,
        Level::Data => {
            let services = list(&directory)?.into_iter();
            services.map(|service| service.join(".lock")).collect()
        }
    };
    let files = files.iter().filter(|file| {
        let is_link = file.parent().is_some_and(Path::is_symlink);
        !is_link && file.symlink_metadata().is_ok_and(|meta| meta.is_file())
    });
    let claim = |file: &PathBuf| {
        FileLock::try_exclusive(file)?.ok_or_else(|| {
            let shown = file.strip_prefix(paths.root()).unwrap_or(file).display();
            let message = format!("cannot delete what is in use: `{shown}` is held");
            let hint = "end the command or the service that uses it, then run this again";
            Failure::new(Exit::Locked, message).hint(hint).into()
        })
    };
    files.map(claim).collect()
}

fn runs(paths: &Paths) -> Failure {
    let message = "cannot clean up: the stack runs";
    Failure::new(Exit::Locked, message).hint(paths.command("down"))
}

/// The entries of a directory, sorted; none when there is no directory.
fn list(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
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

/// Deletes a file, a link itself, or a directory with all below it; no link is followed.
fn delete(path: &Path) -> io::Result<()> {
    let deleted = if path.symlink_metadata()?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match deleted {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
