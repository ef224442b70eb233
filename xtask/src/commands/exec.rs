//! `cargo xtask exec`: a program of the user with the variables of the running stack, or of one
//! that is started for it.
//!
//! With the running stack, the program takes the place of this one, so its exit code, signals,
//! input and terminal are its own.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use engine::Ctx;
use engine::base::interrupt::{Interrupt, Interrupted};
use engine::checkout::paths::INSTANCE_VARIABLE;
use engine::instances::POLICY_VARIABLE;
use engine::operations::exports;
use engine::operations::inputs::Selection;
use engine::operations::up::{self, Mode, UpOptions, UpReport};
use engine::plan::binaries::Request;
use engine::plan::env::Origin;
use engine::plan::render::variables::Variables;
use kit::failure::exit_of;
use kit::server::exit_code;
use kit::{Exit, Failure};
use xtask::cargo;
use xtask::dep;
use xtask::ephemeral::{self, Guardian};

use super::lock_wait;
use super::up::View;
use crate::cli::Exec;

/// The exit codes of a shell for a program that does not exist, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// How the ports of a stack that is started for a program are chosen.
const OWN_PORTS: &str = "auto";

/// Printed at once when the start is interrupted.
const INTERRUPTED: &str = "interrupted: ending in order";

pub(crate) fn run(instance: Option<&str>, args: &Exec) -> anyhow::Result<ExitCode> {
    if args.ephemeral {
        return in_own_stack(instance, args).map(ExitCode::from);
    }
    let ctx = Ctx::load(instance)?;
    let not_running = || {
        let message = "there is no running stack whose variables a program could get";
        Failure::new(Exit::NotRunning, message).hint(ctx.paths.command("up"))
    };
    let mut exports = exports::of_running(&ctx)?.ok_or_else(not_running)?;
    if args.secrets {
        exports.extend(exports::secrets_of_running(&ctx)?.ok_or_else(not_running)?);
    }
    let error = command(&ctx, args, exports).exec();
    Ok(ExitCode::from(cannot_run(&ctx, args, &error)))
}

/// Returns the program with its variables; those of the stack win over others.
fn command(ctx: &Ctx, args: &Exec, exports: Variables) -> Command {
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
    command
}

/// Reports that the program could not be started. Returns the exit code.
fn cannot_run(ctx: &Ctx, args: &Exec, error: &io::Error) -> u8 {
    let program = args.program.display();
    ctx.ui
        .line(format!("error: cannot run `{program}`: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

/// Runs the program in a stack of its own, which is gone afterwards. Returns the exit code: that of
/// the program, or if that is 0, of the removal of the stack.
fn in_own_stack(instance: Option<&str>, args: &Exec) -> anyhow::Result<u8> {
    if instance.is_some() {
        let message = "`--ephemeral` starts an instance with a name of its own";
        let hint = "leave out `--instance`, or `--ephemeral` for the running instance";
        return Err(Failure::new(Exit::Usage, message).hint(hint).into());
    }
    // Refuses a bad `.env` before anything begins. Hints are about the usual instance: the other
    // one is gone when they are read.
    Ctx::load(None)?;
    let guardian = Guardian::start()?;
    let ended = start_and_run(guardian.instance(), args);
    let removed = guardian.end();
    match ended? {
        0 => removed,
        code => Ok(code),
    }
}

/// Starts the stack and runs the program. Returns the exit code of the program.
fn start_and_run(instance: &str, args: &Exec) -> anyhow::Result<u8> {
    let mut ctx = Ctx::load(Some(instance))?;
    ctx.env.set(POLICY_VARIABLE, OWN_PORTS);
    let (report, interrupt) = start(&ctx, args)?;
    let seconds = report.ready_after.as_secs_f64();
    ctx.ui.line(format!(
        "started in {seconds:.2} s as the instance `{instance}`"
    ));
    let mut exports = exports::of(&report.inputs.stack);
    if args.secrets {
        exports.extend(exports::secrets_of_running(&ctx)?.unwrap_or_default());
    }
    // A command of Core that the program runs means this stack.
    exports.insert(INSTANCE_VARIABLE.to_owned(), instance.to_owned());
    let mut command = command(&ctx, args, exports);
    Ok(match ephemeral::run(&mut command, &interrupt)? {
        Ok(status) => exit_code(status),
        Err(error) => cannot_run(&ctx, args, &error),
    })
}

/// Starts the stack. No signal ends this process from the end of the preparation on, so that all of
/// them end the program, and then the stack.
fn start(ctx: &Ctx, args: &Exec) -> anyhow::Result<(UpReport, Interrupt)> {
    let options = UpOptions {
        mode: Mode::Up,
        selection: Selection::All,
        timeout: Duration::from_secs(args.timeout),
        // Another command may look at the lock for an instant.
        lock: lock_wait(false),
        move_streams: false,
    };
    let fetch = (&args.fetch).into();
    let ensure = |requests: &[Request]| dep::ensure(ctx, requests, &fetch);
    let prepared = up::prepare(ctx, &options, ensure)?;
    let interrupt = Interrupt::notice()?;
    let answer = interrupt.answer(&ctx.ui, INTERRUPTED);
    let mut view = View::new(ctx);
    let report = up::up(ctx, &options, prepared, &interrupt, |inputs, states| {
        view.show(inputs, states);
    });
    drop(answer);
    view.clear();
    match report {
        Ok(report) => Ok((report, interrupt)),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => {
            // The logs that its hint names are gone when it is read.
            let message = "cannot start a stack for this program";
            let hint = "`cargo xtask up --instance NAME` starts a stack that keeps its logs";
            let failure = Failure::new(exit_of(&error), message);
            Err(failure.hint(hint).source(error).into())
        }
    }
}
