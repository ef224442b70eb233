//! The clap types of backup and restore.

use std::path::PathBuf;

use clap::Args;

use super::LockOption;

/// Back up the database and all streams into one archive.
///
/// The archive contains secrets; only you can read it. It is written completely or not at all.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Path of the archive; default: `core-INSTANCE-TIME.core-backup.tar` in this directory
    pub(crate) file: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long)]
    pub(crate) force: bool,
    /// Lock and output.
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// Restore an archive, completely or not at all.
///
/// Requires a running stack with the same topology. Replaced data is kept beside the new data.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Path of the archive
    pub(crate) file: PathBuf,
    /// Replace the data of the stack; the old data is kept in `.data/replaced-TIME`
    #[arg(long)]
    pub(crate) replace: bool,
    /// Lock and output.
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// How a command waits and what it prints.
#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// Whether to wait for another command.
    #[command(flatten)]
    pub(crate) lock: LockOption,
    /// Print sizes, digests and times as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
