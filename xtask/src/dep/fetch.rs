//! Getting one pinned program: its sources in order, until one gives it.
//!
//! Owns the order and what a failure of a source means: most are skipped with a reason, a wrong
//! digest stops everything.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use kit::{Exit, Failure};

use super::context::Context;
use super::lock::{Artefact, Program};
use super::net;
use super::progress::Task;
use super::record::{Record, Source};
use super::store::{Facts, Guard};
use super::{archive, gomod, system, wheel};
use engine::base::digest::{self, Hashing};

/// Why a source gave nothing.
#[derive(Debug)]
pub(super) enum Miss {
    /// The next source is tried; this line is shown if none is left.
    Skip(String),
    /// The same, and told at once: it is a surprise.
    Told(String),
    /// Nothing may go on.
    Fatal(anyhow::Error),
}

impl From<anyhow::Error> for Miss {
    fn from(error: anyhow::Error) -> Self {
        Self::Fatal(error)
    }
}

/// A binary in the work directory, checked against its pins.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) file: PathBuf,
    pub(super) sha256: String,
    /// SHA-256 of what it was taken from.
    pub(super) origin: Option<String>,
}

/// A program to get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) program: &'a Program,
}

/// How a program was had, or one line for each source that did not give it.
pub(super) type Outcome = Result<Record, Vec<String>>;

/// Gets and installs a program, unless another process did so while we waited for the lock.
pub(super) fn fetch(context: &Context<'_>, wanted: Wanted<'_>) -> anyhow::Result<Outcome> {
    let label = format!("{} {}", wanted.name, wanted.version);
    let mut task = Task::new(context.ui, label);
    let wait =
        |holder: &str| task.note(format!("waiting for {holder} to install `{}`", wanted.name));
    let guard = context.store.lock(
        wanted.name,
        context.limits.lock_wait,
        &context.cancel,
        &wait,
    )?;
    if let Some(record) = context.installed(wanted.name, Some(wanted), true)? {
        return Ok(Ok(record));
    }
    let mut lines = Vec::new();
    for source in [Source::System, Source::Archive, Source::Wheel, Source::Go] {
        let attempt = match source {
            Source::System => system::get(context, &guard, wanted, &mut task),
            Source::Archive => from_archive(context, &guard, wanted, &mut task),
            Source::Wheel => wheel::get(context, &guard, wanted, &mut task),
            _ => gomod::get(context, &guard, wanted, &mut task),
        };
        match attempt {
            Ok(Some(got)) => return install(&guard, wanted, source, got, &task).map(Ok),
            Ok(None) => {}
            Err(Miss::Skip(line)) => lines.push(format!("{}: {line}", source.as_str())),
            // What fails because all work is being ended is no news.
            Err(Miss::Told(_)) if context.cancel.load(Ordering::Relaxed) => {
                return Err(super::cancelled());
            }
            Err(Miss::Told(line)) => {
                task.note(format!("{}: {}: {line}", task.label(), source.as_str()));
                lines.push(format!("{}: {line}", source.as_str()));
            }
            Err(Miss::Fatal(error)) => return Err(error),
        }
    }
    if lines.is_empty() {
        return Err(no_pin(context, wanted));
    }
    Ok(Err(lines))
}

fn install(
    guard: &Guard,
    wanted: Wanted<'_>,
    source: Source,
    got: Got,
    task: &Task<'_>,
) -> anyhow::Result<Record> {
    let facts = Facts {
        version: Some(wanted.version.to_owned()),
        source,
        origin: got.origin,
        build: None,
    };
    let record = guard.install(&got.file, got.sha256, facts)?;
    task.done(source.as_str());
    Ok(record)
}

fn no_pin(context: &Context<'_>, wanted: Wanted<'_>) -> anyhow::Error {
    let Wanted { name, version, .. } = wanted;
    let platform = &context.platform;
    let message = format!("`dep.lock` pins nothing of `{name}` {version} for {platform}");
    Failure::new(Exit::Binary, message)
        .hint(super::update_hint(name))
        .into()
}

fn from_archive(
    context: &Context<'_>,
    guard: &Guard,
    wanted: Wanted<'_>,
    task: &mut Task<'_>,
) -> Result<Option<Got>, Miss> {
    let Some(pin) = wanted.program.artefacts(&context.platform).archive else {
        return Ok(None);
    };
    if context.options.offline {
        return Err(Miss::Skip("not tried, because of --offline".into()));
    }
    let download = guard.work().join("archive");
    let sha256 = download_archive(context, &pin.location, &download, task)?;
    let name = pin.location.rsplit('/').next().unwrap_or_default();
    unpack(context, guard, &download, name, &pin, sha256).map(Some)
}

/// Downloads into a new file and returns its SHA-256.
pub(super) fn download_archive(
    context: &Context<'_>,
    url: &str,
    target: &Path,
    task: &mut Task<'_>,
) -> Result<String, Miss> {
    let create = File::create_new(target);
    let file = create.map_err(|error| {
        Miss::Fatal(
            anyhow::Error::new(error).context(format!("cannot create `{}`", target.display())),
        )
    })?;
    let mut writer = Hashing::new(file);
    let begun = std::cell::Cell::new(false);
    let task = std::cell::RefCell::new(task);
    let progress = |done, total| {
        if !begun.replace(true) {
            task.borrow_mut()
                .stage("fetching", Source::Archive.as_str());
        }
        task.borrow().bytes(done, total);
    };
    let result = context
        .net
        .download(url, &mut writer, &context.cancel, &progress);
    match result {
        Ok(()) => {}
        Err(net::Problem::Unreachable(line)) => return Err(Miss::Skip(line)),
        Err(net::Problem::Failed(line)) => return Err(Miss::Told(line)),
        Err(net::Problem::Cancelled) => return Err(Miss::Fatal(super::cancelled())),
    }
    let flush = writer.flush();
    flush.map_err(|error| Miss::Fatal(error.into()))?;
    Ok(writer.finish().1)
}

/// Checks a download, takes the binary out, checks it too.
pub(super) fn unpack(
    context: &Context<'_>,
    guard: &Guard,
    download: &Path,
    name: &str,
    pin: &Artefact,
    sha256: String,
) -> Result<Got, Miss> {
    if let Some(expected) = &pin.download {
        check(&context.net.mirrored(&pin.location), expected, &sha256)?;
    }
    let file = guard.work().join(format!("binary-of-{name}"));
    let limit = context.limits.unpacked_bytes;
    let binary = archive::extract(download, name, &pin.file, &file, limit).map_err(|error| {
        // What is not pinned itself may be broken without anybody lying.
        match pin.download {
            Some(_) => Miss::Fatal(binary_failure(&error)),
            None => Miss::Told(format!("{error:#}")),
        }
    })?;
    if let Some(expected) = &pin.binary {
        let what = format!("`{}` in {}", pin.file, pin.location);
        check(&what, expected, &binary)?;
    }
    // A failure leaves it to the guard.
    let _ = fs::remove_file(download);
    Ok(Got {
        file,
        sha256: binary,
        origin: Some(sha256),
    })
}

fn binary_failure(error: &anyhow::Error) -> anyhow::Error {
    Failure::new(Exit::Binary, format!("{error:#}")).into()
}

/// A wrong digest ends everything: somebody lies, or the pin is wrong.
pub(super) fn check(what: &str, expected: &str, found: &str) -> Result<(), Miss> {
    if expected == found {
        return Ok(());
    }
    let message = format!("wrong digest of {what}: expected sha256 {expected}, found {found}");
    Err(Miss::Fatal(
        Failure::new(Exit::Binary, message)
            .hint("nothing was installed; find out who changed it before trusting it")
            .into(),
    ))
}

/// Whether an installed program is one that the lock allows.
pub(super) fn allowed(context: &Context<'_>, wanted: Wanted<'_>, record: &Record) -> bool {
    if record.version.as_deref() != Some(wanted.version) {
        return false;
    }
    let artefacts = wanted.program.artefacts(&context.platform);
    let pinned = |artefact: Option<Artefact>| {
        artefact.is_some_and(|pin| match (&pin.binary, &pin.download) {
            (Some(binary), _) => *binary == record.sha256,
            (None, download) => *download == record.origin,
        })
    };
    match record.source {
        Source::Archive => pinned(artefacts.archive),
        Source::Wheel => pinned(artefacts.wheel),
        Source::Go => {
            record.origin.is_some() && record.origin == gomod::pin(context.paths, wanted.name)
        }
        Source::System => context.options.system,
        Source::CargoBuild => false,
    }
}

/// Digests a file that some tool left in the work directory.
pub(super) fn got(file: PathBuf, origin: Option<String>) -> Result<Got, Miss> {
    let sha256 = digest::of_file(&file)?;
    Ok(Got {
        file,
        sha256,
        origin,
    })
}
