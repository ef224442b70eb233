//! The command lines of backup and restore.

use std::path::PathBuf;

use clap::Args;

/// Put the database and all streams into one archive.
///
/// The archive holds secrets and is readable by you alone. It is there whole, or not at all.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The archive; default: `core-INSTANCE-TIME.core-backup.tar` in the current directory
    pub(crate) file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Lock and output.
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// Put an archive back, whole or not at all.
///
/// Needs a running stack of the same topology. What the stack holds is kept beside the data.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The archive
    pub(crate) file: PathBuf,
    /// Replace what the stack holds; it is kept in `.data/replaced-TIME`
    #[arg(long)]
    pub(crate) replace: bool,
    /// Lock and output.
    #[command(flatten)]
    pub(crate) report: ReportOptions,
}

/// How a command waits and what it prints.
#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// Give up at once when another command is at work on this stack
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print sizes, digests and times as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
