//! One archive of the database and of all streams, and restoring it.
//!
//! Owns the form of the archive and `.data/restore.json`. Everything happens under the operation
//! lock. Nothing in `.data` is deleted: what a restore replaces is moved aside and reported. Must
//! not start a server or change a store that one has open: the supervisor starts and stops servers,
//! and PocketBase and NATS write and read their own backups.

mod archive;
mod database;
pub mod disks;
mod journal;
mod manifest;
mod progress;
mod restore;
mod running;
mod streams;
mod take;
mod unpack;

use jiff::Timestamp;

use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;
use crate::topology;

pub use manifest::{Entry, Skipped};
pub(crate) use restore::recover;
pub use restore::{Options as RestoreOptions, Report as RestoreReport, restore};
pub use take::{
    Contents, Options as BackupOptions, Report as BackupReport, Seconds, StreamReport, backup,
};

/// Finishes or rolls back the work of commands that were killed.
fn recover_all(ctx: &Ctx, interrupt: &Interrupt) -> anyhow::Result<()> {
    recover(ctx, interrupt)?;
    let Some(running) = running::Running::find(ctx)? else {
        return Ok(());
    };
    topology::streams::recover(ctx, &running.facts)
}

/// Formats a time for a file name.
fn compact(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}
