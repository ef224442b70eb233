//! Makes a backup.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use kit::files::{PRIVATE_FILE_MODE, create_private_dir};
use kit::{Exit, Failure};
use serde::Serialize;

use super::archive::{self, Archive};
use super::manifest::{Entry, Manifest, Skipped, Stream};
use super::progress::Progress;
use super::running::Running;
use super::{database, disks, streams};
use crate::SCHEMA_VERSION;
use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;
use crate::supervisor::operation::{Operation, Wait};
use crate::topology::streams::unless_interrupted;

/// The directory of its parts, below the generated files.
const STAGING: &str = "backup";

/// The options of `backup`.
#[derive(Debug, Clone)]
pub struct Options {
    /// The archive; without it, one named by instance and time in the current directory.
    pub file: Option<PathBuf>,
    /// Whether an existing file is replaced.
    pub force: bool,
    /// Whether to wait for another operation on this instance.
    pub lock: Wait,
}

/// The result of a backup.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this document.
    pub schema_version: u32,
    /// The archive.
    pub file: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its content.
    #[serde(flatten)]
    pub contents: Contents,
    /// How long each part took.
    pub seconds: Seconds,
}

/// The content of an archive, for a report.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// When it was made.
    pub created: String,
    /// Rows of the database, of all tables.
    pub rows: u64,
    /// The streams.
    pub streams: Vec<StreamReport>,
    /// Streams that are not in it.
    pub skipped: Vec<Skipped>,
    /// Whether uploaded files are at S3, and so not in it.
    pub files_elsewhere: bool,
    /// The entries, with their digests.
    pub entries: Vec<Entry>,
}

/// A stream in a report.
#[derive(Debug, Serialize)]
pub struct StreamReport {
    /// Its domain.
    pub domain: String,
    /// Its name.
    pub name: String,
    /// Number of messages.
    pub messages: u64,
    /// Number of consumers.
    pub consumers: usize,
    /// SHA-256 over its messages, if it could be computed.
    pub content: Option<String>,
}

/// How long the parts took, in seconds.
#[derive(Debug, Default, Serialize)]
pub struct Seconds {
    /// The database.
    pub database: f64,
    /// The streams.
    pub streams: f64,
    /// Writing the archive, or checking it before a restore.
    pub archive: f64,
    /// Reading it back, or stopping and starting servers.
    pub rest: f64,
}

impl Contents {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let stream = |stream: &Stream| StreamReport {
            domain: stream.domain.clone(),
            name: stream.name.clone(),
            messages: stream.messages,
            consumers: stream.consumers.len(),
            content: stream.content.clone(),
        };
        Self {
            created: manifest.created.clone(),
            rows: manifest.database.rows.values().sum(),
            streams: manifest.streams.iter().map(stream).collect(),
            skipped: manifest.skipped.clone(),
            files_elsewhere: manifest.database.files_elsewhere,
            entries: manifest.entries.clone(),
        }
    }
}

/// Makes a backup of the running stack. The archive is complete and read back, or does not exist.
pub fn backup(ctx: &Ctx, options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let now = Timestamp::now();
    let target = target(options, ctx.paths.instance(), now)?;
    Running::need(ctx, "backup")?;
    let _operation = Operation::begin(&ctx.paths, &ctx.ui, "backup", options.lock, interrupt)?;
    super::recover_all(ctx, interrupt)?;
    let running = Running::need(ctx, "backup")?;
    let mounted = disks::mounted(&ctx.paths, &running.facts);
    if !mounted.is_empty() {
        let why = disks::describe(&mounted);
        ctx.ui
            .line(format!("warning: {why}; {}", disks::MOUNTED_HINT));
    }
    let staging = Staging::make(&ctx.paths.state().join(STAGING))?;
    let progress = Progress::new(&ctx.ui, interrupt);
    let mut seconds = Seconds::default();
    let mut clock = Clock::start();
    // The database first: the streams then contain what it says was sent, but not vice versa.
    progress.stage("copying the database", 0)?;
    let (database, mut files) = database::take(&ctx.paths, &running, &staging.0, &progress)?;
    seconds.database = clock.lap();
    let places = running.places();
    let directory = staging.0.join("streams");
    create_private_dir(&directory)?;
    let taken = unless_interrupted(interrupt, streams::take(&places, &directory, &progress));
    let taken = kit::runtime::current_thread()?.block_on(taken)?;
    seconds.streams = clock.lap();
    files.extend(taken.files);
    progress.stage("writing the archive", 2 * streams::size(&directory)?)?;
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        core_version: env!("CARGO_PKG_VERSION").to_owned(),
        created: now.to_string(),
        topology: running.facts.spec.clone(),
        services: running.applied.services.clone(),
        database,
        streams: taken.streams,
        skipped: taken.skipped,
        entries: entries(&files, &progress)?,
    };
    let files: Vec<PathBuf> = files.into_iter().map(|(_, file)| file).collect();
    let mut file = temporary(&target)?;
    archive::write(file.as_file_mut(), &manifest, &files, &mut |bytes| {
        progress.add(bytes)
    })?;
    file.as_file()
        .sync_all()
        .context("cannot write the archive through")?;
    seconds.archive = clock.lap();
    progress.stage("reading it back", file.as_file().metadata()?.len())?;
    let read = Archive::check(file.path(), &mut |bytes| progress.add(bytes))?;
    if read.manifest != manifest {
        let message = "the archive does not say what was written into it";
        return Err(Failure::new(Exit::Unexpected, message).into());
    }
    persist(file, &target, options.force)?;
    seconds.rest = clock.lap();
    Ok(Report {
        schema_version: SCHEMA_VERSION,
        file: target,
        size: read.size,
        contents: Contents::of(&manifest),
        seconds,
    })
}

/// Returns the path of the archive: in an existing directory, and not an existing file.
fn target(options: &Options, instance: &str, now: Timestamp) -> anyhow::Result<PathBuf> {
    let absolute =
        |path: PathBuf| std::path::absolute(path).context("cannot tell the current directory");
    let target = match &options.file {
        Some(file) => absolute(file.clone())?,
        // Two backups within a second have different names.
        None => free_backup(&absolute(PathBuf::from("."))?, instance, now),
    };
    let refuse = |message: String| Failure::new(Exit::Invalid, message);
    if target.is_dir() {
        let message = format!("`{}` is a directory", target.display());
        let hint = "name a file in it, or go there and name none";
        return Err(refuse(message).hint(hint).into());
    }
    if target.exists() && !options.force {
        let message = format!("`{}` is there already", target.display());
        return Err(refuse(message)
            .hint("choose another name, or --force")
            .into());
    }
    if !directory(&target).is_dir() {
        let message = format!("there is no directory `{}`", directory(&target).display());
        return Err(refuse(message).hint("make it first").into());
    }
    Ok(target)
}

/// Returns an unused name in `directory` that contains the time.
fn free_backup(directory: &Path, instance: &str, now: Timestamp) -> PathBuf {
    let time = super::compact(now);
    let numbered = (2_u64..).map(|number| format!("{time}-{number}"));
    let path = |id: String| directory.join(format!("core-{instance}-{id}.core-backup.tar"));
    let mut paths = std::iter::once(time.clone()).chain(numbered).map(path);
    let is_free = |path: &PathBuf| path.symlink_metadata().is_err();
    paths.find(is_free).unwrap_or_else(|| directory.join(time))
}

fn directory(target: &Path) -> &Path {
    target.parent().unwrap_or(target)
}

fn entries(files: &[(String, PathBuf)], progress: &Progress<'_>) -> anyhow::Result<Vec<Entry>> {
    let entry = |(path, file): &(String, PathBuf)| {
        let mut file =
            File::open(file).with_context(|| format!("cannot open `{}`", file.display()))?;
        let mut seen = |bytes| progress.add(bytes);
        let (size, sha256) = archive::digest(&mut file, &mut seen)?;
        let path = path.clone();
        Ok(Entry { path, size, sha256 })
    };
    files.iter().map(entry).collect()
}

/// Creates a file beside the target that is removed automatically.
fn temporary(target: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;

    tempfile::Builder::new()
        .prefix(".tmp-core-backup-")
        .permissions(fs::Permissions::from_mode(PRIVATE_FILE_MODE))
        .tempfile_in(directory(target))
        .with_context(|| format!("cannot write into `{}`", directory(target).display()))
}

fn persist(file: tempfile::NamedTempFile, target: &Path, force: bool) -> anyhow::Result<()> {
    let persisted = if force {
        file.persist(target)
    } else {
        file.persist_noclobber(target)
    };
    let persisted = persisted.map_err(|error| error.error);
    persisted.with_context(|| format!("cannot write `{}`", target.display()))?;
    let directory = File::open(directory(target)).and_then(|directory| directory.sync_all());
    directory.with_context(|| format!("cannot write `{}` through", target.display()))
}

/// The directory of the parts. Leftovers of a killed command are removed first.
struct Staging(PathBuf);

impl Staging {
    fn make(path: &Path) -> anyhow::Result<Self> {
        if path.exists() {
            let removed = fs::remove_dir_all(path);
            removed.with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
        create_private_dir(path)?;
        Ok(Self(path.to_path_buf()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the time since the last call.
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn lap(&mut self) -> f64 {
        let lap: Duration = self.0.elapsed();
        self.0 = Instant::now();
        lap.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(file: PathBuf, force: bool) -> Options {
        Options {
            file: Some(file),
            force,
            lock: Wait::No,
        }
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(
            target(&options(file.clone(), false), "default", now).unwrap(),
            file
        );
        fs::write(&file, "").unwrap();
        assert!(target(&options(file.clone(), false), "default", now).is_err());
        assert_eq!(
            target(&options(file.clone(), true), "default", now).unwrap(),
            file
        );
        for bad in [dir.path().to_path_buf(), dir.path().join("none/a.tar")] {
            let error = target(&options(bad, true), "default", now).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Invalid);
        }
    }

    #[test]
    fn the_name_tells_the_time_and_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "core-default-19700101T000000Z.core-backup.tar",
            "core-default-19700101T000000Z-2.core-backup.tar",
        ] {
            let path = free_backup(dir.path(), "default", Timestamp::UNIX_EPOCH);
            assert_eq!(path, dir.path().join(name));
            fs::write(path, "").unwrap();
        }
    }
}
