//! Obtains one pinned program: tries its sources in order until one succeeds.
//!
//! Owns the order and the meaning of a source's failure: most are skipped with a reason, a wrong
//! digest stops everything.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use kit::{Exit, Failure};

use super::context::Context;
use super::got::{Got, Miss, Wanted, unpack};
use super::lock::Artefact;
use super::net;
use super::progress::Task;
use super::record::{Record, Source};
use super::store::{Facts, Guard, State};
use super::{gomod, system, wheel};
use engine::base::digest::Hashing;

/// The record of a program, or one line for each source that failed.
pub(super) type Outcome = Result<Record, Vec<String>>;

/// Fetches and installs a program, unless another process did while we waited for the lock.
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
    if let Some(record) = from_other_checkout(context, &guard, wanted, &task)? {
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
            Ok(Some(got)) => {
                let record = install(&guard, wanted, source, got)?;
                task.done(source);
                keep(context, wanted, &record, &task);
                return Ok(Ok(record));
            }
            Ok(None) => {}
            Err(Miss::Skip(line)) => lines.push(format!("{source}: {line}")),
            // Failures after a cancellation are not reported.
            Err(Miss::Told(_)) if context.cancel.load(Ordering::Relaxed) => {
                return Err(super::cancelled());
            }
            Err(Miss::Told(line)) => {
                task.note(format!("{}: {source}: {line}", task.label()));
                lines.push(format!("{source}: {line}"));
            }
            Err(Miss::Fatal(error)) => return Err(error),
        }
    }
    if lines.is_empty() {
        return Err(no_pin(context, wanted));
    }
    Ok(Err(lines))
}

fn install(guard: &Guard, wanted: Wanted<'_>, source: Source, got: Got) -> anyhow::Result<Record> {
    let facts = Facts {
        version: Some(wanted.version.to_owned()),
        source,
        origin: got.origin,
        build: None,
    };
    guard.install(&got.file, got.sha256, facts)
}

/// Installs the user's copy of a program. With `--system`, programs on PATH come first.
fn from_other_checkout(
    context: &Context<'_>,
    guard: &Guard,
    wanted: Wanted<'_>,
    task: &Task<'_>,
) -> anyhow::Result<Option<Record>> {
    let shared = context.shared.as_ref().filter(|_| !context.options.system);
    let tell = |line: String| task.note(line);
    let found = shared.and_then(|shared| shared.get(context, wanted, guard.work(), &tell));
    let Some((source, got)) = found else {
        return Ok(None);
    };
    let record = install(guard, wanted, source, got)?;
    task.done("from the store");
    Ok(Some(record))
}

/// Keeps a program for other checkouts. A failure costs those a download, no more.
fn keep(context: &Context<'_>, wanted: Wanted<'_>, record: &Record, task: &Task<'_>) {
    let kept = context
        .shared
        .as_ref()
        .map_or(Ok(()), |shared| shared.put(context, wanted, record));
    if let Err(error) = kept {
        let label = task.label();
        task.note(format!(
            "{label} is not kept for other checkouts: {error:#}"
        ));
    }
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
            task.borrow_mut().stage("fetching", Source::Archive);
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

/// Whether `dep.lock` allows an installed program.
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

impl Context<'_> {
    /// Returns the record of an installed binary whose file is intact and, if it was fetched, is
    /// allowed by the lock. `tell` reports a file that was changed.
    pub(super) fn installed(
        &self,
        name: &str,
        wanted: Option<Wanted<'_>>,
        tell: bool,
    ) -> anyhow::Result<Option<Record>> {
        match self.store.state(name)? {
            State::Absent => Ok(None),
            State::Intact(record) => {
                let allowed = wanted.is_none_or(|wanted| allowed(self, wanted, &record));
                Ok(allowed.then_some(record))
            }
            State::Changed { record, found } => {
                if tell {
                    let expected = record.sha256;
                    self.ui.line(format!(
                        "`.dep/{name}` was changed: sha256 {found}, not {expected}; \
                         installing it again"
                    ));
                }
                Ok(None)
            }
        }
    }
}
