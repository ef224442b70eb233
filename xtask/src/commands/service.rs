//! `cargo xtask SERVICE spec|command|run`, for every service that has a manifest.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use xtask::Ctx;
use xtask::inputs::Inputs;
use xtask::nats_run;
use xtask::service;

use super::print_json;
use crate::cli::{Cli, ServiceCli, ServiceCommand};

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
    let command = ServiceCli::command().bin_name(format!("cargo xtask {name}"));
    let matches = command
        .try_get_matches_from(&words[1..])
        .unwrap_or_else(|error| error.exit());
    let cli = ServiceCli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        ServiceCommand::Spec => print_json(&ctx, &service::spec(resolved)?)?,
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
            return nats_run::run(&ctx, &inputs, resolved, &options).map(ExitCode::from);
        }
        ServiceCommand::Run { options, .. } => {
            service::run(&ctx, &inputs, resolved, &(&options).into())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
