//! The supervisor's own view of the running stack, in a terminal.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use kit::{Exit, Failure, files};

use crate::dep;
use engine::checkout::context::Ctx;
use engine::plan::binaries;
use engine::supervisor::BINARY;

/// Variables of the terminal that a view needs, besides those of every process.
const TERMINAL: [&str; 4] = ["TERM", "COLORTERM", "TERM_PROGRAM", "LC_CTYPE"];

/// Where process-compose keeps its settings: in the instance, not in the user's home.
const SETTINGS: (&str, &str) = ("PROC_COMP_CONFIG", "process-compose");

/// Returns an error unless stdin and stdout belong to a person at a terminal.
pub fn needs_terminal() -> anyhow::Result<()> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return Ok(());
    }
    let failure = Failure::new(Exit::Usage, "the view of the supervisor needs a terminal");
    Err(failure.hint("cargo xtask logs -f").into())
}

/// Replaces this process by the view. Returns only an error.
pub fn open(ctx: &Ctx) -> anyhow::Result<Infallible> {
    let requests = binaries::tools()?;
    let options = dep::Options::default();
    let installed = dep::ensure(ctx, &requests, &options)?;
    let binary = installed
        .get(BINARY)
        .context("process-compose is not among the binaries")?;
    let (variable, folder) = SETTINGS;
    let settings = ctx.paths.state().join(folder);
    files::create_private_dir(&settings)?;
    let terminal = TERMINAL.into_iter();
    let terminal = terminal.filter_map(|name| Some((name, std::env::var_os(name)?)));
    let client = ctx.client()?;
    let mut command = Command::new(&binary.path);
    command
        .current_dir(ctx.paths.root())
        // Above all no `PC_*`, which would change its behaviour.
        .env_clear()
        .envs(ctx.env.passed_on())
        .envs(terminal)
        .env(variable, settings)
        .args(["attach", "-U", "--unix-socket"])
        .arg(client.socket())
        // It would truncate the log of the supervisor, or write another one.
        .args(["-L", "/dev/null"]);
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", binary.path.display()))
}
