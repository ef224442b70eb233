//! The command line of NATS, on a server of the running stack.
//!
//! The program takes the place of this one. Address and login are in its environment, never in its
//! arguments; they are those of the running server, whatever the user's own contexts say.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::Context as _;
use kit::{Exit, Failure, names};
use service_nats::credentials::Login;
use service_nats::topology::{SERVICE, entrance, system_entrance};

use crate::cargo;
use crate::dep;
use engine::checkout::applied::Applied;
use engine::checkout::context::Ctx;
use engine::plan::binaries::{self, NATS_CLI};
use engine::topology::wrapper;

/// The prefix of the variables that the program reads.
const PREFIX: &str = "NATS_";
/// Those that do not say which server is meant, or who asks.
const HARMLESS: [&str; 2] = ["NATS_COLOR", "NATS_TIMEOUT"];
/// Without it, the context that the user has selected would add its own credentials.
const NO_CONTEXT: &str = "--no-context";

/// A server and a login.
#[derive(Debug)]
pub struct Server {
    url: String,
    login: Login,
}

/// Finds a server of the running stack by its process.
pub fn find(ctx: &Ctx, process: &str, system: bool) -> anyhow::Result<Server> {
    let applied = Applied::running(ctx)?.ok_or_else(|| {
        let message = "there is no running stack whose NATS could be asked";
        Failure::new(Exit::NotRunning, message).hint(ctx.paths.command("up"))
    })?;
    let stack = applied.stack;
    let servers = || {
        let processes = stack.processes.iter();
        let of_nats = processes.filter(|(_, process)| process.service == SERVICE);
        of_nats.map(|(name, _)| name.as_str())
    };
    if !servers().any(|server| server == process) {
        let message = format!("the running stack has no server `{process}` of NATS");
        let hint = names::hint(process, "there are", servers());
        return Err(Failure::new(Exit::Usage, message).hint(hint).into());
    }
    let config = wrapper::config(&ctx.paths, &stack, process);
    let enter = if system { system_entrance } else { entrance };
    let found = config.as_deref().and_then(enter);
    let (address, login) = found.ok_or_else(|| {
        let message = format!("`{process}` has not run, so its address is unknown");
        let hint = format!("cargo xtask start {process}");
        Failure::new(Exit::NotRunning, message).hint(hint)
    })?;
    Ok(Server {
        url: format!("nats://{address}"),
        login,
    })
}

/// Replaces this process by the program, which is fetched first if it is missing. Returns only an
/// error.
pub fn run(
    ctx: &Ctx,
    server: &Server,
    arguments: &[OsString],
    options: &dep::Options,
) -> anyhow::Result<Infallible> {
    let mut requests = binaries::on_demand()?;
    requests.retain(|request| request.name == NATS_CLI);
    let installed = dep::ensure(ctx, &requests, options)?;
    let binary = installed
        .get(NATS_CLI)
        .context("the command line of NATS is not among the binaries")?;
    let mut command = cargo::command(&binary.path);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with(PREFIX) && !HARMLESS.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command
        .arg(NO_CONTEXT)
        .args(arguments)
        .env("NATS_URL", &server.url)
        .env("NATS_USER", &server.login.user)
        .env("NATS_PASSWORD", &server.login.password);
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", binary.path.display()))
}
