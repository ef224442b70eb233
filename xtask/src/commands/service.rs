//! `cargo xtask SERVICE spec|command|run`, for every service that has a manifest.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use xtask::Ctx;
use xtask::inputs::Inputs;
use xtask::service;

use super::print_json;
use crate::cli::{Cli, ServiceCli, ServiceCommand};

pub(crate) fn run(instance: Option<&str>, words: &[OsString]) -> anyhow::Result<ExitCode> {
    let name = words
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default();
    let command = ServiceCli::command().bin_name(format!("cargo xtask {name}"));
    // A mistake in it counts only after one in the name.
    let parsed = command
        .try_get_matches_from(&words[1..])
        .and_then(|matches| ServiceCli::from_arg_matches(&matches));
    let own = parsed.as_ref().ok();
    let own = own.and_then(|cli| cli.instance.instance.as_deref());
    let ctx = Ctx::load(own.or(instance))?;
    let inputs = Inputs::load(&ctx)?;
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let resolved = service::find(&inputs, &name, &commands)?;
    let cli = parsed.unwrap_or_else(|error| error.exit());
    match cli.command {
        ServiceCommand::Spec => print_json(&ctx, &service::spec(resolved)?)?,
        ServiceCommand::Command { env } => ctx.ui.data(service::command_line(resolved, env))?,
        ServiceCommand::Run { options } => {
            service::run(&ctx, &inputs, resolved, &(&options).into())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
