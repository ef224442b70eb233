//! The clap types of the commands for scripts, CI and new services.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::{FetchOptions, LockOption, seconds};

/// Print environment variables with the addresses of the running stack.
#[derive(Debug, Args)]
pub(crate) struct Env {
    /// Select the output format
    #[arg(long, value_enum, default_value_t = EnvFormat::Sh)]
    pub(crate) format: EnvFormat,
    /// Print JSON; the same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Print the values that the manifests declare, whether the stack runs or not
    #[arg(long)]
    pub(crate) declared: bool,
}

/// The formats of `env`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvFormat {
    /// Shell commands for `eval`
    Sh,
    /// A JSON document
    Json,
    /// Lines of a `.env` file
    Dotenv,
    /// Append to the file that the variable `GITHUB_ENV` names, else print
    Github,
}

/// Run a program with the variables of the running stack.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Start a stack for this program alone, with free ports and empty data; delete it afterwards
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Fail if not every service of that stack is healthy after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "ephemeral",
        value_parser = seconds())]
    pub(crate) timeout: u64,
    /// How binaries of that stack are obtained.
    #[command(flatten)]
    pub(crate) fetch: FetchOptions,
    /// Add the `secret_exports` of all services
    #[arg(long)]
    pub(crate) secrets: bool,
    /// Set a variable, whatever the stack and the environment say
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) env: Vec<(String, String)>,
    /// The program
    pub(crate) program: OsString,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name is empty");
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Show every port: its number, where it is declared, which program listens.
#[derive(Debug, Args)]
pub(crate) struct Ports {
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show every resolved value of a service and its source.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Name of the service
    pub(crate) service: String,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the dependency graph of the processes.
#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// Select the output format
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub(crate) format: GraphFormat,
    /// Print JSON; the same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// The formats of `graph`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// One line per process, in start order
    Text,
    /// A flowchart for Mermaid
    Mermaid,
    /// A graph for Graphviz
    Dot,
    /// A JSON document
    Json,
}

/// Open the page of a service in a browser; print its address if there is no browser.
#[derive(Debug, Args)]
pub(crate) struct Open {
    /// Name of the service; default: the one that exports `CORE_URL`
    pub(crate) service: Option<String>,
}

/// Delete generated files, binaries or data; without options, list them only.
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
    /// Delete the binaries that all checkouts share
    #[arg(long)]
    pub(crate) store: bool,
    /// Delete data without asking
    #[arg(long, requires = "data")]
    pub(crate) yes: bool,
    /// Whether to wait for another command.
    #[command(flatten)]
    pub(crate) lock: LockOption,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Create a new service with a valid manifest.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Name of the service: a-z, 0-9 and `-`
    pub(crate) name: String,
    /// Create a Rust program, too: packages in `services/` and `cmd/`, in the workspace
    #[arg(long, conflicts_with = "template")]
    pub(crate) wrapper: bool,
    /// Create an application: a page, an API in Rust, or a worker in Python
    #[arg(long, value_enum)]
    pub(crate) template: Option<Template>,
    /// Set the HTTP port; default: the first free one from 9000
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
}

/// What `init` makes an application from.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Template {
    /// A page that Vite serves, at `/`
    Vite,
    /// An API in Rust with axum
    Axum,
    /// A worker in Python that answers on NATS
    Python,
}

/// Print the completion script for a shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Name of the shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Print the candidates for the last argument.
#[derive(Debug, Args)]
pub(crate) struct Complete {
    /// The arguments so far, without the program; the last one is being completed
    #[arg(last = true)]
    pub(crate) words: Vec<String>,
}
