//! Deletes what a checkout has produced: generated files, binaries, data.
//!
//! Owns the guarantee that nothing else is deleted: no link is followed, and lock files stay,
//! because a lock on a deleted file excludes no process. Must not ask the user: the command does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::files::FileLock;
use kit::{Exit, Failure};

use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;
use crate::checkout::levels::{Content, Level, list};
use crate::checkout::paths::Paths;
use crate::instances::known;
use crate::supervisor::alive;
use crate::supervisor::operation::{Operation, Wait};

/// Refuses, before the user is asked: links, and a running stack.
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
        for other in known::of_checkout(&ctx.paths) {
            if alive::is_held(&other.alive_lock())? {
                return Err(runs(&other).into());
            }
        }
    }
    Ok(())
}

/// Deletes the levels. Returns their earlier content.
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

/// Takes the locks of processes that use a level without an operation: a service that runs alone
/// holds its data, a command that installs a binary holds its name.
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
