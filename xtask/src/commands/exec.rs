//! `cargo xtask exec`: a program of the user with the variables of the running stack.
//!
//! The program takes the place of this one, so its exit code, signals, input and terminal are its
//! own.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use engine::Ctx;
use engine::operations::exports;
use engine::plan::env::Origin;
use kit::{Exit, Failure};
use xtask::cargo;

use crate::cli::Exec;

/// The exit codes of a shell for a program that does not exist, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

pub(crate) fn run(instance: Option<&str>, args: &Exec) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load(instance)?;
    let exports = exports::of_running(&ctx)?.ok_or_else(|| {
        let message = "there is no running stack whose variables a program could get";
        Failure::new(Exit::NotRunning, message).hint(ctx.paths.command("up"))
    })?;
    let mut command = cargo::command(&args.program);
    command.args(&args.arguments);
    for (name, value) in ctx.env.iter() {
        if ctx.env.origin(name) == Some(Origin::DotEnv) {
            command.env(name, value);
        }
    }
    for (name, value) in exports {
        let chosen = args.env.iter().any(|(chosen, _)| *chosen == name);
        let other = ctx.env.get(&name).filter(|other| **other != *value);
        if other.is_some() && !chosen {
            let place = match ctx.env.origin(&name) {
                Some(Origin::DotEnv) => "in `.env`",
                _ => "in the environment",
            };
            ctx.ui.line(format!(
                "warning: `{name}` is that of the running stack, not the one {place}; \
                 `-e {name}=VALUE` sets another"
            ));
        }
        command.env(name, value);
    }
    command.envs(args.env.iter().map(|(name, value)| (name, value)));
    let error = command.exec();
    let program = args.program.display();
    ctx.ui
        .line(format!("error: cannot run `{program}`: {error}"));
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    Ok(ExitCode::from(code))
}
