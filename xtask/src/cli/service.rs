//! The clap types of the commands of a single service, and of those that only NATS has.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use super::{FetchOptions, InstanceOption, LockOption, seconds};

/// The commands of a single service.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_version_flag = true,
    max_term_width = 100
)]
pub(crate) struct ServiceCli {
    /// Which stack to work on.
    #[command(flatten)]
    pub(crate) instance: InstanceOption,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: ServiceCommand,
}

/// The commands of NATS.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_version_flag = true,
    max_term_width = 100
)]
pub(crate) struct NatsCli {
    /// Which stack to work on.
    #[command(flatten)]
    pub(crate) instance: InstanceOption,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: NatsCommand,
}

/// The commands of every service, and those that only NATS has.
#[derive(Debug, Subcommand)]
pub(crate) enum NatsCommand {
    /// The commands of every service.
    #[command(flatten)]
    Common(ServiceCommand),
    /// The commands that only NATS has.
    #[command(flatten)]
    Own(NatsOwnCommand),
}

/// The commands that only NATS has.
#[derive(Debug, Subcommand)]
pub(crate) enum NatsOwnCommand {
    /// Run the `nats` command line on a server of the running stack
    Cli(NatsTool),
    /// Mirror the streams of `nats` at the hub
    Replicate(Replicate),
}

/// Run the `nats` command line on a server of the running stack; it is fetched at its first use.
#[derive(Debug, Args)]
pub(crate) struct NatsTool {
    /// Select a server by its process: `nats-hub-1`; default: the first server, `nats`
    #[arg(long, value_name = "PROCESS")]
    pub(crate) node: Option<String>,
    /// Select the server of a region
    #[arg(long, value_name = "REGION", conflicts_with = "node")]
    pub(crate) leaf: Option<String>,
    /// Use the system account: `server ls`, `server report` and so on
    #[arg(long)]
    pub(crate) sys: bool,
    /// How the program is obtained.
    #[command(flatten)]
    pub(crate) fetch: FetchOptions,
    /// The arguments of the program
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    pub(crate) arguments: Vec<OsString>,
}

/// Mirror the streams of `nats` at the hub, each with three replicas.
#[derive(Debug, Args)]
pub(crate) struct Replicate {
    /// Names of streams; default: all that can be mirrored
    #[arg(value_name = "STREAM")]
    pub(crate) streams: Vec<String>,
    /// Fail if the mirrors are not complete after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = seconds())]
    pub(crate) timeout: u64,
    /// Whether to wait for another command.
    #[command(flatten)]
    pub(crate) lock: LockOption,
    /// Print the mirrors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The commands of every service.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Print the resolved manifest as JSON, with secrets masked
    Spec,
    /// Print the exact command that runs the service
    Command {
        /// Print the environment in front of it, with secrets masked
        #[arg(long)]
        env: bool,
    },
    /// Run the service in the foreground; Ctrl-C stops it gracefully
    Run {
        /// Run a hub of N nodes beside the stack instead (NATS only)
        #[arg(long, value_name = "N")]
        nodes: Option<u32>,
        /// Add a region with a leaf node; needs `--nodes`; may be repeated (NATS only)
        #[arg(long, value_name = "REGION", requires = "nodes")]
        leaf: Vec<String>,
        /// How binaries are obtained.
        #[command(flatten)]
        options: FetchOptions,
    },
}
