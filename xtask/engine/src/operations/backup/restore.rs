//! Restores a backup: everything or nothing.
//!
//! The archive and its database are checked while the stack keeps running. Then the servers stop,
//! their stores are moved away, and empty ones are filled. Until everything is verified, any end of
//! this command is followed by moving the old stores back.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kit::{Exit, Failure};
use serde::Serialize;
use serde_json::Value;

use super::archive::Archive;
use super::journal::{Journal, Phase};
use super::progress::Progress;
use super::running::{self, Running};
use super::take::{Clock, Contents, Seconds};
use super::{database, disks, streams};
use crate::SCHEMA_VERSION;
use crate::base::interrupt::{Interrupt, Interrupted};
use crate::checkout::context::Ctx;
use crate::supervisor::alive;
use crate::supervisor::operation::{Operation, Wait};
use crate::topology::streams::{sync, unless_interrupted};

/// The options of `restore`.
#[derive(Debug, Clone)]
pub struct Options {
    /// The archive.
    pub file: PathBuf,
    /// Whether the present data of the stack may be replaced.
    pub replace: bool,
    /// Whether to wait for another operation on this instance.
    pub lock: Wait,
}

/// The result of a restore.
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
    /// The directory that keeps the earlier data.
    pub replaced: PathBuf,
    /// How long each part took.
    pub seconds: Seconds,
}

/// Restores a backup into the running stack, replacing its data.
pub fn restore(ctx: &Ctx, options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    Running::need(ctx, "restore")?;
    let _operation = Operation::begin(&ctx.paths, &ctx.ui, "restore", options.lock, interrupt)?;
    super::recover_all(ctx, interrupt)?;
    let running = Running::need(ctx, "restore")?;
    let progress = Progress::new(&ctx.ui, interrupt);
    let mut seconds = Seconds::default();
    let mut clock = Clock::start();
    let size = std::fs::metadata(&options.file).map_or(0, |data| data.len());
    progress.stage("checking the archive", size)?;
    let archive = Archive::check(&options.file, &mut |bytes| progress.add(bytes))?;
    seconds.archive = clock.lap();
    check_topology(&running, &archive)?;
    disks::check(&ctx.paths, &running.facts)?;
    if !options.replace {
        check_empty(&running)?;
    }
    let staged = database::stage(&ctx.paths, &running, &archive, &progress);
    let staged = staged.inspect_err(|_| drop(database::remove_staged(&ctx.paths)))?;
    seconds.database = clock.lap();
    let configs = archive.manifest.streams.iter();
    let configs = configs.map(|stream| (stream.domain.clone(), stream.config.clone()));
    let stores = running::stores(&running.facts);
    let configs: Vec<(String, Value)> = configs.collect();
    let mut journal = Journal::begin(&ctx.paths, Timestamp::now(), stores, configs)?;
    let exchange = Exchange {
        ctx,
        running: &running,
        archive: &archive,
        progress: &progress,
        staged: &staged,
    };
    let done = exchange.run(&journal, &mut clock, &mut seconds);
    if let Err(error) = done.and_then(|()| journal.commit(&ctx.paths)) {
        return Err(give_back(ctx, &journal, error));
    }
    finish(ctx, &running, &journal)?;
    database::remove_staged(&ctx.paths)?;
    Ok(Report {
        schema_version: SCHEMA_VERSION,
        file: options.file.clone(),
        size: archive.size,
        contents: Contents::of(&archive.manifest),
        replaced: journal.kept(&ctx.paths),
        seconds,
    })
}

/// The inputs of the exchange of the stores.
struct Exchange<'a> {
    ctx: &'a Ctx,
    running: &'a Running<'a>,
    archive: &'a Archive,
    progress: &'a Progress<'a>,
    staged: &'a Path,
}

impl Exchange<'_> {
    fn run(
        &self,
        journal: &Journal,
        clock: &mut Clock,
        seconds: &mut Seconds,
    ) -> anyhow::Result<()> {
        let interrupt = self.progress.interrupt();
        self.progress.stage("stopping the servers", 0)?;
        let stopped = self.running.stop()?;
        let staged = ["pb_data", "superuser.json"].map(|name| {
            let to = Path::new("pocketbase").join(name);
            (self.staged.join(name), to)
        });
        let staged: Vec<_> = staged
            .into_iter()
            .filter(|(from, _)| from.exists())
            .collect();
        journal.exchange(&self.ctx.paths, &staged)?;
        drop(stopped);
        self.progress.stage("starting the servers", 0)?;
        self.running.start(interrupt)?;
        seconds.rest = clock.lap();
        let places = self.running.places();
        let work = streams::put_back(&places, self.archive, self.progress);
        let work = unless_interrupted(interrupt, work);
        kit::runtime::current_thread()?.block_on(work)?;
        seconds.streams = clock.lap();
        // A server (2.15) knows the ids of restored messages only after reading them at a start.
        self.progress.stage("starting NATS once more", 0)?;
        self.running.restart_nats(interrupt)?;
        let work = streams::are_there(&places, self.archive);
        let work = unless_interrupted(interrupt, work);
        kit::runtime::current_thread()?.block_on(work)?;
        seconds.rest += clock.lap();
        // On disk, before it counts.
        sync(self.ctx)
    }
}

/// Refuses an archive whose streams have no place in the present topology.
fn check_topology(running: &Running<'_>, archive: &Archive) -> anyhow::Result<()> {
    let wanted = &archive.manifest.topology;
    if running.facts.spec == *wanted {
        return Ok(());
    }
    let message = format!(
        "the backup is of another topology of NATS than the one that runs: {}",
        serde_json::to_string(wanted)?
    );
    let hint = "nothing was changed; ask for that topology first: put it into a file, then \
         `cargo xtask topology set nats --file FILE`";
    Err(Failure::new(Exit::Invalid, message).hint(hint).into())
}

/// Refuses a stack that contains data.
fn check_empty(running: &Running<'_>) -> anyhow::Result<()> {
    let places = running.places();
    let streams = kit::runtime::current_thread()?.block_on(streams::holds(&places))?;
    let collections = database::holds(running)?;
    let mut held = Vec::new();
    for (kind, names) in [("streams", streams), ("collections", collections)] {
        if !names.is_empty() {
            held.push(format!("the {kind} `{}`", names.join("`, `")));
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    let message = format!("the stack holds data: {}", held.join(" and "));
    let hint = "nothing was changed; --replace keeps that data beside the restored one";
    Err(Failure::new(Exit::Invalid, message).hint(hint).into())
}

/// Rolls an exchange back because of `error`, and says so in it.
fn give_back(ctx: &Ctx, journal: &Journal, error: anyhow::Error) -> anyhow::Error {
    // An interrupted restore must be rolled back nevertheless.
    let back = take_back(ctx, journal, &Interrupt::default());
    let interrupted = error.downcast_ref::<Interrupted>().is_some();
    match back {
        Ok(()) if interrupted => {
            ctx.ui
                .line("nothing was restored: all data is where it was");
            error
        }
        Ok(()) => {
            let what = "nothing was restored, and all data is where it was";
            let failure = Failure::new(Exit::ReloadFailed, what).source(error);
            let hint = "correct what is named above, then run the same command again";
            failure.hint(hint).into()
        }
        Err(again) => {
            let what = format!("nothing was restored: {error:#}; nor is all data where it was");
            let failure = Failure::new(Exit::Unexpected, what).source(again);
            failure
                .hint("cargo xtask down, then cargo xtask up: it puts that right")
                .into()
        }
    }
}

/// Moves the old stores back into their places, whether the stack is running or not.
fn take_back(ctx: &Ctx, journal: &Journal, interrupt: &Interrupt) -> anyhow::Result<()> {
    let running = Running::find(ctx)?;
    let stopped = if let Some(running) = &running {
        running.stop()?
    } else {
        let facts = service_nats::topology::read(&ctx.paths.topology())?;
        running::claim(ctx, &facts)?
    };
    journal.take_back(&ctx.paths)?;
    database::remove_staged(&ctx.paths)?;
    Journal::clear(&ctx.paths)?;
    drop(stopped);
    let discarded = journal.discarded(&ctx.paths);
    if discarded.exists() {
        ctx.ui.line(format!(
            "what was restored so far is in `{}`; nothing needs it",
            discarded.display()
        ));
    }
    match running {
        Some(running) => running.start(interrupt),
        None => Ok(()),
    }
}

/// Opens the restored streams.
fn finish(ctx: &Ctx, running: &Running<'_>, journal: &Journal) -> anyhow::Result<()> {
    let places = running.places();
    let opened = streams::open_all(&places, &journal.streams);
    let opened = kit::runtime::current_thread()?.block_on(opened);
    opened
        .and_then(|()| Journal::clear(&ctx.paths))
        .map_err(|error| {
            let what = "everything is restored, but not every stream takes messages yet";
            let failure = Failure::new(Exit::Unexpected, what).source(error);
            failure.hint("cargo xtask up: it goes on from here").into()
        })
}

/// Finishes an interrupted restore: rolls it back, or continues it if it counts already. Under the
/// operation lock. Steps that need running servers are postponed until there are some.
pub(crate) fn recover(ctx: &Ctx, interrupt: &Interrupt) -> anyhow::Result<()> {
    let Some(journal) = Journal::read(&ctx.paths, |text| ctx.ui.line(text))? else {
        return Ok(());
    };
    match journal.phase {
        Phase::Exchanging => {
            ctx.ui
                .line("a restore was cut off: putting all data back where it was");
            take_back(ctx, &journal, interrupt)
        }
        Phase::Opening if alive::is_held(&ctx.paths.alive_lock())? => {
            let Some(running) = Running::find(ctx)? else {
                return Ok(());
            };
            finish(ctx, &running, &journal)
        }
        Phase::Opening => Ok(()),
    }
}
