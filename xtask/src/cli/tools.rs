//! The clap types of the commands for scripts, CI and new services.

use clap::{Args, ValueEnum};

/// Print variables that tell apps and tests where the running stack is.
#[derive(Debug, Args)]
pub(crate) struct Env {
    /// How they are written
    #[arg(long, value_enum, default_value_t = EnvFormat::Sh)]
    pub(crate) format: EnvFormat,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Of the manifests, whether the stack runs or not
    #[arg(long)]
    pub(crate) declared: bool,
}

/// How variables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvFormat {
    /// Lines for `eval`
    Sh,
    /// A document
    Json,
    /// Lines of a `.env` file
    Dotenv,
    /// Added to the file that the variable `GITHUB_ENV` names, else printed
    Github,
}

/// Show every port: its number, where that is declared, who listens.
#[derive(Debug, Args)]
pub(crate) struct Ports {
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show every resolved value of a service and where it comes from.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The service
    pub(crate) service: String,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what depends on what.
#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// How it is written
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub(crate) format: GraphFormat,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// A line for each process, in the order of the start
    Text,
    /// A flowchart for Mermaid
    Mermaid,
    /// For Graphviz
    Dot,
    /// A document
    Json,
}

/// Open the page of a service in a browser; print its address where there is none.
#[derive(Debug, Args)]
pub(crate) struct Open {
    /// The service; without, the front of the stack: whatever exports `CORE_URL`
    pub(crate) service: Option<String>,
}

/// Delete what can be made again, and data if asked to; without options, say what that would be.
#[derive(Debug, Args)]
pub(crate) struct Clean {
    /// Delete generated files and logs: `.core-stack`
    #[arg(long)]
    pub(crate) state: bool,
    /// Delete binaries: `.dep`
    #[arg(long)]
    pub(crate) dep: bool,
    /// Delete the data of all services: `.data`
    #[arg(long)]
    pub(crate) data: bool,
    /// Do not ask before data is deleted
    #[arg(long, requires = "data")]
    pub(crate) yes: bool,
    /// Give up at once when another command is at work on this stack
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write a new service that is valid at once.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Its name: a-z, 0-9 and `-`
    pub(crate) name: String,
    /// With a program in Rust: packages in `services/` and `cmd/`, in the workspace
    #[arg(long)]
    pub(crate) wrapper: bool,
    /// Its HTTP port. Default: the first one from 9000 that is free
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
}

/// Print completions for a shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Print the names that can stand where somebody types.
#[derive(Debug, Args)]
pub(crate) struct Complete {
    /// The line so far, without the name of the program; the last word is the one that is typed
    #[arg(last = true)]
    pub(crate) words: Vec<String>,
}
