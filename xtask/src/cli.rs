//! Every clap type. The docstrings are the manual; behaviour is in `commands/`.

mod backup;
mod life;
mod observe;
mod refused;
mod service;
mod tools;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand};
use engine::instances::Policy;
use service_nats::topology::Profile;

pub(crate) use backup::{Backup, Restore};
pub(crate) use life::{Attach, Life, Logs, Restart, Signal, Start, Stop};
pub(crate) use observe::Observe;
pub(crate) use refused::refuse;
pub(crate) use service::{
    NatsCli, NatsCommand, NatsOwnCommand, Replicate, ServiceCli, ServiceCommand,
};
pub(crate) use tools::{
    Clean, Complete, Completions, Env, EnvFormat, Explain, Graph, GraphFormat, Init, Open, Ports,
};

/// A day: more is a mistake, and what is added to the present time must stay a time.
const TIMEOUT_MAX_SECONDS: u64 = 86_400;
/// The most lines of history that are asked for at once.
const HISTORY_MAX: usize = 500;
/// The most runs of a benchmark.
const RUNS_MAX: usize = 1000;

/// Runs NATS, PocketBase and Caddy as one stack, under process-compose.
///
/// Data goes to stdout, talk to stderr. Exit codes are listed in docs/troubleshooting.md.
#[derive(Debug, Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Which stack is meant.
    #[command(flatten)]
    pub(crate) instance: InstanceOption,
    /// What to do; without, a page of help.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Which of the stacks of this checkout is meant.
#[derive(Debug, Args)]
pub(crate) struct InstanceOption {
    /// The instance of this checkout; default: the variable `CORE_INSTANCE`, else `default`
    #[arg(long, global = true, value_name = "NAME", value_parser = instance)]
    pub(crate) instance: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the stack and return when everything is healthy
    Up(Up),
    /// Stop the stack and prove that nothing of it is left
    Down(Down),
    /// Apply edited manifests and variables to the running stack
    Reload(Reload),
    /// Show what `up` or `reload` would do, and why
    Plan(Plan),
    /// Show services, processes, health and ports
    Status(Status),
    /// Follow what happens to processes and topology
    Observe(Observe),
    /// List instances: those of this checkout, or all on this machine
    Ps(Ps),
    /// Check this checkout and this machine, and say what to do
    Doctor(Doctor),
    /// Show the logs of all processes, merged by time; also after the stack is down
    Logs(Logs),
    /// Restart services one after the other, and wait until they are healthy
    Restart(Restart),
    /// Stop services, until `start` or `up`
    Stop(Stop),
    /// Start services that do not run, and wait until they are healthy
    Start(Start),
    /// Send a signal to the processes of a service
    Signal(Signal),
    /// Open the view of process-compose on the running stack
    Attach(Attach),
    /// Show and change the topology of NATS while the stack runs
    #[command(subcommand)]
    Topology(Topology),
    /// Put the database and all streams into one archive
    Backup(Backup),
    /// Put an archive back, whole or not at all
    Restore(Restore),
    /// Write the file that process-compose runs
    Render(Render),
    /// Print variables that tell apps and tests where the running stack is
    Env(Env),
    /// Show every port: its number, where that is declared, who listens
    Ports(Ports),
    /// Show every resolved value of a service and where it comes from
    Explain(Explain),
    /// Show what depends on what
    Graph(Graph),
    /// Open the page of a service in a browser
    Open(Open),
    /// Delete generated files, binaries or data; without options, say what that would be
    Clean(Clean),
    /// Print a key for a cache of `.dep/` in CI
    CiKey,
    /// Write a new service that is valid at once
    Init(Init),
    /// Print completions for a shell
    Completions(Completions),
    /// List, fetch, verify and update binaries
    #[command(subcommand)]
    Dep(Dep),
    /// Write docs/service.schema.json, the JSON schema of a manifest
    Schema(Generate),
    /// Write docs/cli.md, this manual
    Docs(Generate),
    /// Measure what the stack costs against what it could cost
    Bench(Bench),
    /// Print the names that can stand where somebody types, for the scripts of `completions`
    #[command(hide = true)]
    CompleteNames(Complete),
    /// Answer every connection to a port, for the benchmark
    #[command(hide = true)]
    BenchListen {
        /// The port.
        port: u16,
    },
    /// Run one service by itself: `cargo xtask SERVICE spec|command|run`
    #[command(external_subcommand)]
    Service(Vec<OsString>),
}

/// Start the stack and return when everything is healthy.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Only these services and what they depend on; what runs goes on running
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Without what they depend on
    #[arg(long, requires = "services")]
    pub(crate) no_deps: bool,
    /// How ports are chosen when it starts; default: the variable `CORE_PORTS`, else `sticky`
    ///
    /// `fixed`: those of the manifests and variables. `sticky`: the same, but while another
    /// instance has one, a free one, the same each time. `auto`: free ones, anew each time.
    #[arg(long, value_name = "POLICY", value_parser = Policy::NAMES)]
    pub(crate) ports: Option<String>,
    /// Return when everything is healthy; that is what `up` always does
    #[arg(short, long, conflicts_with = "attach")]
    pub(crate) detach: bool,
    /// Stay and show the logs; Ctrl-C stops the stack
    #[arg(long)]
    pub(crate) attach: bool,
    /// Open the view of process-compose when everything is healthy; leaving it stops nothing
    #[arg(long, conflicts_with_all = ["attach", "detach", "json", "ci"])]
    pub(crate) tui: bool,
    /// Show which processes the start waited for, one after the other
    #[arg(long)]
    pub(crate) timings: bool,
    /// Group the output and annotate failures, as GitHub Actions and GitLab show them
    #[arg(long, conflicts_with = "attach")]
    pub(crate) ci: bool,
    /// What it shares with `reload`.
    #[command(flatten)]
    pub(crate) converge: Converge,
}

/// What `up` and `reload` share.
#[derive(Debug, Args)]
pub(crate) struct Converge {
    /// Seconds within which everything must be healthy
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
    /// Print what was done, and what each process waited for, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Move streams of nodes that go to those that stay
    #[arg(long)]
    pub(crate) move_streams: bool,
    /// Put the running stack under load meanwhile and tell what its clients noticed
    #[arg(long)]
    pub(crate) probe: bool,
    /// Which part of the manifests counts.
    #[command(flatten)]
    pub(crate) profile: ProfileOption,
    /// How binaries are had.
    #[command(flatten)]
    pub(crate) fetch: FetchOptions,
}

/// Which part of the manifests counts.
#[derive(Debug, Args)]
pub(crate) struct ProfileOption {
    /// The deployment that counts; default: the variable `CORE_PROFILE`, else `local`
    #[arg(long, value_name = "PROFILE", value_parser = Profile::NAMES)]
    pub(crate) profile: Option<String>,
}

/// Apply edited manifests and variables to the running stack.
///
/// What did not change keeps running. A change that does not become healthy is taken back.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// What it shares with `up`.
    #[command(flatten)]
    pub(crate) converge: Converge,
}

/// Show what `up` or `reload` would do, and why.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Which part of the manifests counts.
    #[command(flatten)]
    pub(crate) profile: ProfileOption,
}

/// How binaries are had.
#[derive(Debug, Args)]
pub(crate) struct FetchOptions {
    /// Make no network call: use what is installed or cached
    #[arg(long, env = "CORE_OFFLINE", value_parser = switch)]
    pub(crate) offline: bool,
    /// Build with Cargo.lock exactly as it is
    #[arg(long)]
    pub(crate) locked: bool,
    /// Accept a program of the pinned version that is on PATH
    #[arg(long)]
    pub(crate) system: bool,
}

/// Stop the stack and prove that nothing of it is left.
#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Seconds within which everything must have stopped before it is signalled
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MAX_SECONDS)
    )]
    pub(crate) timeout: u64,
    /// Give up at once when another command is at work on this stack
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show services, processes, health and ports.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Show it anew whenever something changes, until Ctrl-C; as JSON, one document a line
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List instances: those of this checkout, or all on this machine.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Of all checkouts of this user
    #[arg(long)]
    pub(crate) all: bool,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check this checkout and this machine, and say what to do. Each check is explained in
/// docs/doctor.md.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Put right what is safe to: the mode of `.env`, leftovers, damaged binaries
    #[arg(long)]
    pub(crate) fix: bool,
    /// Print every check as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Make no network call
    #[arg(long, env = "CORE_OFFLINE", value_parser = switch)]
    pub(crate) offline: bool,
}

/// Write the file that process-compose runs.
#[derive(Debug, Args)]
pub(crate) struct Render {
    /// Print it, with secrets masked, and write nothing
    #[arg(long, conflicts_with = "check")]
    pub(crate) stdout: bool,
    /// Only check that manifests and environment are valid
    #[arg(long)]
    pub(crate) check: bool,
    /// Which part of the manifests counts.
    #[command(flatten)]
    pub(crate) profile: ProfileOption,
}

/// Show and change the topology of NATS while the stack runs, through its record in the database.
#[derive(Debug, Subcommand)]
pub(crate) enum Topology {
    /// Show what was applied last and what the record says
    Show {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask for another topology and wait until it is applied
    Set(TopologySet),
    /// Give the topology back to the manifest
    Reset {
        /// How long to wait.
        #[command(flatten)]
        wait: WaitOptions,
    },
    /// Show what was applied or refused before, the newest first
    History {
        /// The most lines to show
        #[arg(long, default_value_t = 20, value_parser = number::<HISTORY_MAX>)]
        limit: usize,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Ask for another topology. What is not named stays as the record has it.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct TopologySet {
    /// The service
    #[arg(default_value = "nats")]
    pub(crate) service: String,
    /// One server alone
    #[arg(long, group = "what", conflicts_with_all = ["hub_nodes", "hub_region", "leaf"])]
    pub(crate) single_node: bool,
    /// How many nodes the hub has: odd, at least 3
    #[arg(long, group = "what", value_name = "N")]
    pub(crate) hub_nodes: Option<u32>,
    /// Where the hub is
    #[arg(long, group = "what", value_name = "REGION")]
    pub(crate) hub_region: Option<String>,
    /// The regions with a leaf node, all of them
    #[arg(long, group = "what", value_name = "REGION", value_delimiter = ',')]
    pub(crate) leaf: Vec<String>,
    /// No region with a leaf node
    #[arg(long, group = "what", conflicts_with_all = ["leaf", "single_node"])]
    pub(crate) no_leaf: bool,
    /// How many leaf nodes each region has
    #[arg(long, group = "what", value_name = "N", conflicts_with = "single_node")]
    pub(crate) leaf_nodes: Option<u32>,
    /// A file with the specification in JSON, `-` for stdin
    #[arg(long, group = "what", conflicts_with_all =
        ["single_node", "hub_nodes", "hub_region", "leaf", "no_leaf", "leaf_nodes"])]
    pub(crate) file: Option<PathBuf>,
    /// Move streams of nodes that go to those that stay
    #[arg(long)]
    pub(crate) move_streams: bool,
    /// How long to wait.
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

/// How long a change of the topology is waited for.
#[derive(Debug, Args)]
pub(crate) struct WaitOptions {
    /// Seconds within which it must be applied
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MAX_SECONDS)
    )]
    pub(crate) timeout: u64,
    /// Return as soon as it is written down
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List, fetch, verify and update binaries.
#[derive(Debug, Subcommand)]
pub(crate) enum Dep {
    /// Show every binary: version, source, platforms, whether it is installed
    List {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Build or fetch what is not installed
    Fetch {
        /// Only these binaries
        names: Vec<String>,
        /// How binaries are had.
        #[command(flatten)]
        options: FetchOptions,
    },
    /// Check the digest of everything that is installed
    Verify {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Pin the digests of a version in dep.lock
    Update {
        /// Only these binaries: NAME at the manifest's version, or NAME@VERSION
        #[arg(value_name = "NAME[@VERSION]")]
        targets: Vec<String>,
    },
}

/// Write a generated file.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// Only check that the file is up to date
    #[arg(long)]
    pub(crate) check: bool,
}

/// Measure what the stack costs against what it could cost.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure; all but `stop`, `reload` and `cold`, which take minutes, when none is named
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(xtask::bench::PARTS))]
    pub(crate) parts: Vec<String>,
    /// Runs of which each figure is the median; default: 7, `stop` 20, `reload` 1000 changes
    #[arg(long, value_parser = number::<RUNS_MAX>)]
    pub(crate) runs: Option<usize>,
    /// Judge by what is counted alone: times are shown, and a slow machine is no failure
    #[arg(long)]
    pub(crate) counts: bool,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A switch by a variable: an empty one is off, as an unset one.
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
