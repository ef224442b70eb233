//! `cargo xtask SERVICE spec|command|run`, for every service that has a manifest. The commands of
//! NATS alone are in `nats.rs`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use engine::Ctx;
use engine::operations::inputs::Inputs;
use service_nats::topology::SERVICE;
use xtask::nats_run;
use xtask::service::{self, Resolved};

use super::print_json;
use crate::cli::{Cli, InstanceOption, NatsCli, NatsCommand, ServiceCli, ServiceCommand, refuse};

pub(crate) fn run(instance: Option<&str>, words: &[OsString]) -> anyhow::Result<ExitCode> {
    let name = words
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default();
    // An error in it is reported only after one in the name.
    let parsed = parse(&name, &words[1..]);
    let own = parsed.as_ref().ok();
    let own = own.and_then(|(option, _)| option.instance.as_deref());
    let ctx = Ctx::load(own.or(instance))?;
    let inputs = Inputs::load(&ctx)?;
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let resolved = service::find(&inputs, &name, &commands)?;
    match parsed {
        Err(error) => Ok(refuse(&error, Some(&name))),
        Ok((_, NatsCommand::Common(command))) => common(&ctx, &inputs, resolved, command),
        Ok((_, NatsCommand::Own(command))) => super::nats::run(&ctx, &command),
    }
}

/// Runs the commands that every service has.
fn common(
    ctx: &Ctx,
    inputs: &Inputs,
    resolved: Resolved<'_>,
    command: ServiceCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        ServiceCommand::Spec => return print_json(ctx, &service::spec(resolved)?),
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

/// Parses the arguments after the name of a service.
fn parse(name: &str, words: &[OsString]) -> Result<(InstanceOption, NatsCommand), clap::Error> {
    if name == SERVICE {
        let cli: NatsCli = parse_as(name, words)?;
        return Ok((cli.instance, cli.command));
    }
    let cli: ServiceCli = parse_as(name, words)?;
    Ok((cli.instance, NatsCommand::Common(cli.command)))
}

fn parse_as<T: CommandFactory + FromArgMatches>(
    name: &str,
    words: &[OsString],
) -> Result<T, clap::Error> {
    let command = T::command().bin_name(format!("cargo xtask {name}"));
    T::from_arg_matches(&command.try_get_matches_from(words)?)
}
