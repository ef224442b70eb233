//! `--fix`: repairs what is ours and safe to repair.
//!
//! Each fix checks again, under the operation lock, and does nothing when nothing is to be done.
//! Must never delete data, and never signal a process that does not hold this instance's lock.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use kit::files;

use super::Fix;
use super::check::{Check, Id, Severity};
use super::remains::{self, Living};
use super::scene::Scene;
use crate::dep;
use engine::base::interrupt::Interrupt;
use engine::checkout::env::exposed::{Dotenv, secret_variables};
use engine::supervisor::operation::{Operation, Wait};
use engine::supervisor::stop::{self, Stopped};

/// How long leftovers may take to stop by themselves before they are signalled.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The actions of one fix, one line each.
type Done = anyhow::Result<Vec<String>>;

/// Repairs what these checks found.
pub(super) fn apply(scene: &Scene<'_>, checks: &[Check]) -> Vec<Fix> {
    let is_found = |id: Id| {
        let found = |check: &Check| check.id == id && check.severity >= Severity::Warning;
        checks.iter().any(found)
    };
    let mut fixes = Vec::new();
    let mut note = |id: Id, done: Done| match done {
        Ok(lines) => fixes.extend(lines.into_iter().map(|what| Fix {
            id,
            done: true,
            what,
        })),
        Err(error) => fixes.push(Fix {
            id,
            done: false,
            what: format!("{error:#}"),
        }),
    };
    if is_found(Id::DotenvMode) {
        note(Id::DotenvMode, dotenv_mode(scene));
    }
    let remains = [Id::Leftovers, Id::SupervisorSocket, Id::TemporaryFiles];
    if let Some(first) = remains.into_iter().find(|id| is_found(*id)) {
        // The effects of a running command are no leftovers. It may hang: do not wait for it.
        let (ui, never) = (&scene.ctx.ui, Interrupt::default());
        match Operation::begin(scene.paths(), ui, "doctor", Wait::No, &never) {
            Ok(_operation) => {
                if is_found(Id::Leftovers) || is_found(Id::SupervisorSocket) {
                    note(first, leftovers(scene));
                }
                if is_found(Id::TemporaryFiles) {
                    note(Id::TemporaryFiles, temporary_files(scene));
                }
            }
            Err(error) => note(first, Err(error)),
        }
    }
    if is_found(Id::DepBinaries) {
        note(Id::DepBinaries, binaries(scene));
    }
    fixes
}

fn dotenv_mode(scene: &Scene<'_>) -> Done {
    let path = scene.paths().dotenv();
    let secrets = secret_variables(scene.services.as_deref().unwrap_or_default());
    let dotenv = Dotenv::look(&path).context("cannot look at `.env`")?;
    if dotenv.is_none_or(|dotenv| dotenv.exposed(&secrets).is_empty()) {
        return Ok(Vec::new());
    }
    let kind = fs::symlink_metadata(&path).context("cannot look at `.env`")?;
    anyhow::ensure!(
        kind.is_file(),
        "`.env` leads elsewhere: its mode is not ours to change"
    );
    fs::set_permissions(&path, Permissions::from_mode(files::PRIVATE_FILE_MODE))
        .context("cannot change the mode of `.env`")?;
    Ok(vec!["`.env` has mode 0600 now".to_owned()])
}

/// Stops processes that lost their supervisor, as `down` does, and removes files of a past run.
fn leftovers(scene: &Scene<'_>) -> Done {
    let living = Living::look(scene)?;
    if living.held && !living.is_orphaned() || living.answers {
        // The user decides when a running supervisor stops.
        return Ok(Vec::new());
    }
    let client = scene.ctx.client()?;
    let stopped = stop::stop(scene.ctx, &client, STOP_TIMEOUT)?;
    let mut done = Vec::new();
    match stopped {
        Stopped::BySignal(holders) => {
            let ended = holders.iter().map(|holder| format!("{holder} was ended"));
            done.extend(ended);
        }
        Stopped::Gracefully | Stopped::NothingRan if living.held => {
            done.push("what had lost its supervisor has stopped by itself".to_owned());
        }
        Stopped::Gracefully | Stopped::NothingRan => {}
    }
    if let Some(socket) = living.socket {
        done.push(format!("removed the socket `{}`", socket.display()));
    }
    Ok(done)
}

fn temporary_files(scene: &Scene<'_>) -> Done {
    let mut done = Vec::new();
    for path in remains::abandoned(scene.paths(), SystemTime::now()) {
        let shown = scene.shown(&path);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("cannot remove `{shown}`"))?;
        done.push(format!("removed `{shown}`"));
    }
    Ok(done)
}

fn binaries(scene: &Scene<'_>) -> Done {
    let options = dep::Options {
        offline: scene.options.offline,
        ..dep::Options::default()
    };
    let requests = scene.requests()?;
    let names = dep::repair(&scene.some_ctx(), &requests, &options)?.into_iter();
    let again = names.map(|name| format!("`.dep/{name}` was installed again"));
    Ok(again.collect())
}
