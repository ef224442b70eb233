//! `cargo xtask SERVICE spec|command|run`, for every service that has a manifest. What only NATS
//! has is in `nats.rs`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use service_nats::topology::SERVICE;
use xtask::Ctx;
use xtask::inputs::Inputs;
use xtask::nats_run;
use xtask::service::{self, Resolved};

use super::print_json;
use crate::cli::{Cli, NatsCli, NatsCommand, ServiceCli, ServiceCommand};

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load()?;
    let inputs = Inputs::load(&ctx)?;
    let name = words
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default();
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let resolved = service::find(&inputs, &name, &commands)?;
    if name == SERVICE {
        let cli: NatsCli = parse(&name, &words[1..]);
        return match cli.command {
            NatsCommand::Common(command) => common(&ctx, &inputs, resolved, command),
            NatsCommand::Own(command) => super::nats::run(&ctx, &command),
        };
    }
    let cli: ServiceCli = parse(&name, &words[1..]);
    common(&ctx, &inputs, resolved, cli.command)
}

/// What every service has.
fn common(
    ctx: &Ctx,
    inputs: &Inputs,
    resolved: Resolved<'_>,
    command: ServiceCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        ServiceCommand::Spec => print_json(ctx, &service::spec(resolved)?)?,
        ServiceCommand::Command { env } => ctx.ui.data(service::command_line(resolved, env))?,
        ServiceCommand::Run {
            nodes: Some(nodes),
            leaf,
            options,
        } => {
            let options = nats_run::Options {
                nodes,
                regions: leaf,
                dep: (&options).into(),
            };
            return nats_run::run(ctx, inputs, resolved, &options).map(ExitCode::from);
        }
        ServiceCommand::Run { options, .. } => {
            service::run(ctx, inputs, resolved, &(&options).into())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Parses what follows the name of a service, or ends as clap does.
fn parse<T: CommandFactory + FromArgMatches>(name: &str, words: &[OsString]) -> T {
    let command = T::command().bin_name(format!("cargo xtask {name}"));
    let matches = command.try_get_matches_from(words);
    let matches = matches.unwrap_or_else(|error| error.exit());
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}
