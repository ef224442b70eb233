//! The `cargo xtask` binary: parses, runs, maps the error to an exit code.
//!
//! Cargo finds it through the alias in `.cargo/config.toml`. Owns the command line only; everything
//! else is in the library of this package.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser as _;
use engine::base::interrupt::Interrupted;
use engine::base::ui::Ui;
use engine::checkout::hints;
use engine::checkout::paths::Paths;
use xtask::bars;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    bars::begin();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::refuse(&error, None),
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            let ui = Ui::new();
            ui.line(hints::describe(&error));
            if kit::failure::hint_of(&error).is_none()
                && let Some(hint) = hint(&error)
            {
                ui.line(format!("hint: {}", hints::complete(&hint)));
            }
            code_of(&error)
        }
    }
}

/// Returns what to do about an error of the system.
fn hint(error: &anyhow::Error) -> Option<String> {
    engine::checkout::blame::hint(error, &Paths::discover().ok()?)
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let instance = cli.instance.instance.as_deref();
    let Some(command) = cli.command else {
        return commands::overview::run();
    };
    match command {
        Command::Up(args) => commands::up::run(instance, &args),
        Command::Down(args) => commands::down::run(instance, &args),
        Command::Reload(args) => commands::up::reload(instance, &args),
        Command::Plan(args) => commands::plan::run(instance, &args),
        Command::Status(args) => commands::status::run(instance, &args),
        Command::Observe(args) => commands::observe::run(instance, &args),
        Command::Ps(args) => commands::ps::run(&args),
        Command::Doctor(args) => commands::doctor::run(instance, &args),
        Command::Logs(args) => commands::logs::run(instance, args),
        Command::Restart(args) => commands::life::restart(instance, &args),
        Command::Stop(args) => commands::life::stop(instance, &args),
        Command::Start(args) => commands::life::start(instance, &args),
        Command::Signal(args) => commands::life::signal(instance, &args),
        Command::Attach(args) => commands::attach::run(instance, &args),
        Command::Topology(command) => commands::topology::run(instance, &command),
        Command::Backup(args) => commands::backup::run(instance, &args),
        Command::Restore(args) => commands::backup::restore(instance, &args),
        Command::Render(args) => commands::render::run(instance, &args),
        Command::Env(args) => commands::env::run(instance, &args),
        Command::Exec(args) => commands::exec::run(instance, &args),
        Command::Ports(args) => commands::ports::run(instance, &args),
        Command::Explain(args) => commands::explain::run(instance, &args),
        Command::Graph(args) => commands::graph::run(instance, &args),
        Command::Open(args) => commands::open::run(instance, &args),
        Command::Clean(args) => commands::clean::run(instance, &args),
        Command::Ci => commands::stages::run(),
        Command::CiKey => commands::ci_key::run(),
        Command::Init(args) => commands::init::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::CompleteNames(args) => commands::completions::complete(instance, &args),
        Command::Dep(args) => commands::dep::run(args),
        Command::Schema(args) => commands::schema::run(&args),
        Command::Docs(args) => commands::docs::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::BenchListen { port } => xtask::bench::listen(port).map(|()| ExitCode::SUCCESS),
        Command::Guardian => xtask::ephemeral::guard().map(|()| ExitCode::SUCCESS),
        Command::Service(words) => commands::service::run(instance, &words),
    }
}

/// Returns the exit code for an error.
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    let interrupted = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Interrupted>());
    if let Some(Interrupted(signal)) = interrupted {
        return ExitCode::from(128 + u8::try_from(*signal).unwrap_or(0));
    }
    kit::failure::exit_of(error).into()
}
