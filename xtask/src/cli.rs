//! Every clap type. The docstrings are the manual; behaviour is in `commands/`.

mod backup;
mod life;
mod observe;
mod refused;
mod service;
mod tools;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand};
use engine::instances::Policy;
use service_nats::topology::Profile;

pub(crate) use backup::{Backup, Restore};
pub(crate) use life::{Attach, Life, Logs, Restart, Signal, Start, Stop};
pub(crate) use observe::Observe;
pub(crate) use refused::refuse;
pub(crate) use service::{
    NatsCli, NatsCommand, NatsOwnCommand, NatsTool, Replicate, ServiceCli, ServiceCommand,
};
pub(crate) use tools::{
    Clean, Complete, Completions, Env, EnvFormat, Exec, Explain, Graph, GraphFormat, Init, Open,
    Ports, Template,
};

/// A day: more is a mistake, and what is added to the present time must stay a time.
const TIMEOUT_MAX_SECONDS: u64 = 86_400;

/// Parses the seconds that a command may take.
fn seconds() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=TIMEOUT_MAX_SECONDS)
}
/// The most lines of history that are asked for at once.
const HISTORY_MAX: usize = 500;
/// The most runs of a benchmark.
const RUNS_MAX: usize = 1000;

/// Run NATS, PocketBase and Caddy as one stack, supervised by process-compose.
///
/// Data goes to stdout, messages to stderr. docs/troubleshooting.md lists the exit codes.
#[derive(Debug, Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Which stack to work on.
    #[command(flatten)]
    pub(crate) instance: InstanceOption,
    /// The command; an overview is printed if there is none.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Which stack of this checkout to work on.
#[derive(Debug, Args)]
pub(crate) struct InstanceOption {
    /// Select an instance of this checkout; default: the variable `CORE_INSTANCE`, else `default`
    #[arg(long, global = true, value_name = "NAME", value_parser = instance)]
    pub(crate) instance: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the stack and return when every service is healthy
    Up(Up),
    /// Stop the stack and verify that nothing is left running
    Down(Down),
    /// Apply edited manifests and variables to the running stack
    Reload(Reload),
    /// Show what `up` or `reload` would change, and why
    Plan(Plan),
    /// Show services, processes, health and ports
    Status(Status),
    /// Follow the events of processes and topology
    Observe(Observe),
    /// List the instances of this checkout, or all instances on this machine
    Ps(Ps),
    /// Check this checkout and this machine, and suggest fixes
    Doctor(Doctor),
    /// Show the logs of all processes, merged by time; works after `down`, too
    Logs(Logs),
    /// Restart services one at a time, and wait until they are healthy
    Restart(Restart),
    /// Stop services until the next `start`, `restart` or `up`
    Stop(Stop),
    /// Start services that are not running, and wait until they are healthy
    Start(Start),
    /// Send a signal to the processes of a service
    Signal(Signal),
    /// Open the terminal UI of process-compose for the running stack
    Attach(Attach),
    /// Show and change the topology of NATS while the stack runs
    #[command(subcommand)]
    Topology(Topology),
    /// Back up the database and all streams into one archive
    Backup(Backup),
    /// Restore an archive, completely or not at all
    Restore(Restore),
    /// Write the configuration file of process-compose
    Render(Render),
    /// Print environment variables with the addresses of the running stack
    Env(Env),
    Exec(Exec),
    /// Show every port: its number, where it is declared, which program listens
    Ports(Ports),
    /// Show every resolved value of a service and its source
    Explain(Explain),
    /// Show the dependency graph of the processes
    Graph(Graph),
    /// Open the page of a service in a browser
    Open(Open),
    /// Delete generated files, binaries or data; without options, list them only
    Clean(Clean),
    /// Run the checks of a change: formatting, lints, tests, stops and reloads
    Ci,
    /// Print the key under which CI can cache `.dep/`
    CiKey,
    /// Create a new service with a valid manifest
    Init(Init),
    /// Print the completion script for a shell
    Completions(Completions),
    /// List, fetch, verify and update binaries
    #[command(subcommand)]
    Dep(Dep),
    /// Generate docs/service.schema.json, the JSON schema of manifests
    Schema(Generate),
    /// Generate docs/cli.md, this reference
    Docs(Generate),
    /// Measure the overhead of the stack against the bare servers
    Bench(Bench),
    /// Print the candidates for the last argument, for the scripts of `completions`
    #[command(hide = true)]
    CompleteNames(Complete),
    /// Answer every connection to a port, for the benchmark
    #[command(hide = true)]
    BenchListen {
        /// The port.
        port: u16,
    },
    /// Keep an instance for the command that started this one, and remove it when that has ended
    #[command(hide = true)]
    Guardian,
    /// Inspect or run a single service: `cargo xtask SERVICE spec|command|run`
    #[command(external_subcommand)]
    Service(Vec<OsString>),
}

/// Start the stack and return when every service is healthy.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Start only these services and their dependencies; running processes keep running
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Start the named services without their dependencies
    #[arg(long, requires = "services")]
    pub(crate) no_deps: bool,
    /// Choose how a start assigns ports; default: the variable `CORE_PORTS`, else `sticky`
    ///
    /// `fixed`: the ports of the manifests and variables. `sticky`: the same, but a port that
    /// another instance uses is replaced by a free one, the same at each start. `auto`: free
    /// ports, chosen again at each start.
    #[arg(long, value_name = "POLICY", value_parser = Policy::NAMES)]
    pub(crate) ports: Option<String>,
    /// Return when every service is healthy; this is the default
    #[arg(short, long, conflicts_with = "attach")]
    pub(crate) detach: bool,
    /// Stay in the foreground and show the logs; Ctrl-C stops the stack
    #[arg(long)]
    pub(crate) attach: bool,
    /// Open the terminal UI of process-compose after the start; leaving it stops nothing
    #[arg(long, conflicts_with_all = ["attach", "detach", "json", "ci"])]
    pub(crate) tui: bool,
    /// Show the critical path of the start: which process waited for which
    #[arg(long)]
    pub(crate) timings: bool,
    /// Group the output and annotate failures for GitHub Actions and GitLab
    #[arg(long, conflicts_with = "attach")]
    pub(crate) ci: bool,
    /// Options shared with `reload`.
    #[command(flatten)]
    pub(crate) converge: Converge,
}

/// Whether a command waits for another one on the same stack.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LockOption {
    /// Fail at once if another command holds the lock of this stack
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// The options that `up` and `reload` share.
#[derive(Debug, Args)]
pub(crate) struct Converge {
    /// Fail if not every service is healthy after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = seconds())]
    pub(crate) timeout: u64,
    /// Whether to wait for another command.
    #[command(flatten)]
    pub(crate) lock: LockOption,
    /// Print the actions and what each process waited for as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Move the streams of removed nodes to nodes that stay
    #[arg(long)]
    pub(crate) move_streams: bool,
    /// Run test clients during the change and report gaps, errors and losses
    #[arg(long)]
    pub(crate) probe: bool,
    /// Which part of the manifests applies.
    #[command(flatten)]
    pub(crate) profile: ProfileOption,
    /// How binaries are obtained.
    #[command(flatten)]
    pub(crate) fetch: FetchOptions,
}

/// Which part of the manifests applies.
#[derive(Debug, Args)]
pub(crate) struct ProfileOption {
    /// Select the deployment profile; default: the variable `CORE_PROFILE`, else `local`
    #[arg(long, value_name = "PROFILE", value_parser = Profile::NAMES)]
    pub(crate) profile: Option<String>,
}

/// Apply edited manifests and variables to the running stack.
///
/// Unchanged processes keep running. A change that does not become healthy is rolled back.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// Options shared with `up`.
    #[command(flatten)]
    pub(crate) converge: Converge,
}

/// Show what `up` or `reload` would change, and why.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Which part of the manifests applies.
    #[command(flatten)]
    pub(crate) profile: ProfileOption,
}

/// How binaries are obtained.
#[derive(Debug, Args)]
pub(crate) struct FetchOptions {
    /// Make no network call; use installed or cached binaries
    #[arg(long, env = "CORE_OFFLINE", value_parser = switch)]
    pub(crate) offline: bool,
    /// Build with Cargo.lock unchanged
    #[arg(long)]
    pub(crate) locked: bool,
    /// Accept a program on PATH if it has the pinned version
    #[arg(long)]
    pub(crate) system: bool,
}

/// Stop the stack and verify that nothing is left running.
#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Send signals to what is still running after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = seconds())]
    pub(crate) timeout: u64,
    /// Whether to wait for another command.
    #[command(flatten)]
    pub(crate) lock: LockOption,
    /// Print the actions as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show services, processes, health and ports.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Update whenever something changes, until Ctrl-C; with `--json`, one document per line
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Print the status as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the instances of this checkout, or all instances on this machine.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Include all checkouts of this user
    #[arg(long)]
    pub(crate) all: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check this checkout and this machine, and suggest fixes. docs/doctor.md explains each check.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Apply the safe fixes: the mode of `.env`, leftovers, damaged binaries
    #[arg(long)]
    pub(crate) fix: bool,
    /// Print every check as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Make no network call
    #[arg(long, env = "CORE_OFFLINE", value_parser = switch)]
    pub(crate) offline: bool,
}

/// Write the configuration file of process-compose.
#[derive(Debug, Args)]
pub(crate) struct Render {
    /// Print the file with secrets masked instead of writing it
    #[arg(long, conflicts_with = "check")]
    pub(crate) stdout: bool,
    /// Check the manifests and the environment; write nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Which part of the manifests applies.
    #[command(flatten)]
    pub(crate) profile: ProfileOption,
}

/// Show and change the topology of NATS while the stack runs, through its record in the database.
#[derive(Debug, Subcommand)]
pub(crate) enum Topology {
    /// Show the topology that is applied and the one that is requested
    Show {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Request another topology and wait until it is applied
    Set(TopologySet),
    /// Return to the topology of the manifest
    Reset {
        /// How long to wait.
        #[command(flatten)]
        wait: WaitOptions,
    },
    /// Show earlier changes, applied or refused, newest first
    History {
        /// Show at most this many changes
        #[arg(long, default_value_t = 20, value_parser = number::<HISTORY_MAX>)]
        limit: usize,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Request another topology. Options that are not given keep their present value.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct TopologySet {
    /// Name of the service
    #[arg(default_value = "nats")]
    pub(crate) service: String,
    /// Use a single server
    #[arg(long, group = "what", conflicts_with_all = ["hub_nodes", "hub_region", "leaf"])]
    pub(crate) single_node: bool,
    /// Set the number of hub nodes: odd, at least 3
    #[arg(long, group = "what", value_name = "N")]
    pub(crate) hub_nodes: Option<u32>,
    /// Set the region of the hub
    #[arg(long, group = "what", value_name = "REGION")]
    pub(crate) hub_region: Option<String>,
    /// Set the complete list of regions with leaf nodes
    #[arg(long, group = "what", value_name = "REGION", value_delimiter = ',')]
    pub(crate) leaf: Vec<String>,
    /// Remove all leaf nodes
    #[arg(long, group = "what", conflicts_with_all = ["leaf", "single_node"])]
    pub(crate) no_leaf: bool,
    /// Set the number of leaf nodes in each region
    #[arg(long, group = "what", value_name = "N", conflicts_with = "single_node")]
    pub(crate) leaf_nodes: Option<u32>,
    /// Read the specification from a JSON file; `-` is stdin
    #[arg(long, group = "what", conflicts_with_all =
        ["single_node", "hub_nodes", "hub_region", "leaf", "no_leaf", "leaf_nodes"])]
    pub(crate) file: Option<PathBuf>,
    /// Move the streams of removed nodes to nodes that stay
    #[arg(long)]
    pub(crate) move_streams: bool,
    /// How long to wait.
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

/// How long to wait for a change of the topology.
#[derive(Debug, Args)]
pub(crate) struct WaitOptions {
    /// Fail if the change is not applied after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = seconds())]
    pub(crate) timeout: u64,
    /// Return as soon as the request is stored
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List, fetch, verify and update binaries.
#[derive(Debug, Subcommand)]
pub(crate) enum Dep {
    /// List every binary: version, source, platforms, whether it is installed
    List {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Build or fetch the binaries that are not installed
    Fetch {
        /// Fetch only these binaries
        names: Vec<String>,
        /// How binaries are obtained.
        #[command(flatten)]
        options: FetchOptions,
    },
    /// Verify the digests of all installed binaries
    Verify {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Pin the digests of a version in dep.lock
    Update {
        /// Update only these binaries: NAME at the manifest's version, or NAME@VERSION
        #[arg(value_name = "NAME[@VERSION]")]
        targets: Vec<String>,
    },
}

/// Write a generated file.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// Check that the file is up to date; write nothing
    #[arg(long)]
    pub(crate) check: bool,
}

/// Measure the overhead of the stack against the bare servers.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure; default: all but `stop`, `reload` and `cold`, which take minutes, and
    /// `peers`, for which pip fetches two supervisors
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(xtask::bench::PARTS))]
    pub(crate) parts: Vec<String>,
    /// Set the runs per figure (the median); default: 7, `stop` 20, `reload` 1000 changes
    #[arg(long, value_parser = number::<RUNS_MAX>)]
    pub(crate) runs: Option<usize>,
    /// Judge by counts only; show times, but do not fail on a slow machine
    #[arg(long)]
    pub(crate) counts: bool,
    /// Write the ratios into `docs/performance.md`, with which later runs are compared
    #[arg(long, conflicts_with = "counts")]
    pub(crate) write: bool,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A boolean variable; an empty value is off, like an unset one.
fn switch(text: &str) -> Result<bool, clap::Error> {
    let parser = clap::builder::BoolishValueParser::new();
    let text = if text.is_empty() { "false" } else { text };
    parser.parse_ref(&clap::Command::new("xtask"), None, text.as_ref())
}

/// The name of an instance.
fn instance(text: &str) -> Result<String, String> {
    match kit::names::problem(text) {
        None => Ok(text.to_owned()),
        Some(problem) => Err(format!("the name {problem}")),
    }
}

/// A whole number, 1 to `MAX`.
fn number<const MAX: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MAX).contains(&number) => Ok(number),
        _ => Err(format!("must be 1 to {MAX}")),
    }
}

#[cfg(test)]
mod tests;
