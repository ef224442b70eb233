//! The clap types of one service by itself, and of what only NATS has.

use clap::{Args, Parser, Subcommand};

use super::{FetchOptions, InstanceOption, TIMEOUT_MAX_SECONDS};

/// One service by itself.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_version_flag = true,
    max_term_width = 100
)]
pub(crate) struct ServiceCli {
    /// Which stack is meant.
    #[command(flatten)]
    pub(crate) instance: InstanceOption,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ServiceCommand,
}

/// NATS by itself.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_version_flag = true,
    max_term_width = 100
)]
pub(crate) struct NatsCli {
    /// Which stack is meant.
    #[command(flatten)]
    pub(crate) instance: InstanceOption,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: NatsCommand,
}

/// What can be done with NATS: what every service has, and more.
#[derive(Debug, Subcommand)]
pub(crate) enum NatsCommand {
    /// What every service has.
    #[command(flatten)]
    Common(ServiceCommand),
    /// What only NATS has.
    #[command(flatten)]
    Own(NatsOwnCommand),
}

/// What only NATS has.
#[derive(Debug, Subcommand)]
pub(crate) enum NatsOwnCommand {
    /// Keep copies of the streams of `nats` at the hub
    Replicate(Replicate),
}

/// Keep copies of the streams of `nats` at the hub, each on three of its nodes.
#[derive(Debug, Args)]
pub(crate) struct Replicate {
    /// Only these streams; all that can be copied when none is named
    #[arg(value_name = "STREAM")]
    pub(crate) streams: Vec<String>,
    /// Seconds within which the copies must be complete
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MAX_SECONDS)
    )]
    pub(crate) timeout: u64,
    /// Give up at once when another command is at work on this stack
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print the copies as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What can be done with one service.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Print its resolved manifest as JSON, with secrets masked
    Spec,
    /// Print the exact command that runs it
    Command {
        /// With its environment in front, secrets masked
        #[arg(long)]
        env: bool,
    },
    /// Run it in the foreground; Ctrl-C stops it gracefully
    Run {
        /// NATS alone: run a hub of so many nodes instead, beside the stack
        #[arg(long, value_name = "N")]
        nodes: Option<u32>,
        /// NATS alone: with `--nodes`, a region with a leaf node; may be given several times
        #[arg(long, value_name = "REGION", requires = "nodes")]
        leaf: Vec<String>,
        /// How binaries are had.
        #[command(flatten)]
        options: FetchOptions,
    },
}
