//! One service by itself: its manifest, its command, and running it in the foreground.

use std::convert::Infallible;
use std::os::unix::process::CommandExt as _;

use anyhow::Context as _;
use kit::names;
use kit::{Exit, Failure};
use serde_json::{Value, json};

use crate::dep;
use engine::SCHEMA_VERSION;
use engine::checkout::context::Ctx;
use engine::operations::inputs::{Inputs, no_service, requests_of};
use engine::operations::preflight;
use engine::plan::stack::{self, Process, Service, words};

/// A service and its resolved process.
#[derive(Debug, Clone, Copy)]
pub struct Resolved<'a> {
    /// Its manifest.
    pub service: &'a Service,
    /// Its process.
    pub process: &'a Process,
}

fn look_up<'a>(inputs: &'a Inputs, name: &str) -> Option<Resolved<'a>> {
    let mut services = inputs.services.iter();
    let service = services.find(|service| service.name == name)?;
    let process = inputs.stack.processes.get(name)?;
    Some(Resolved { service, process })
}

/// Finds a service by name, in an argument that must be a service.
pub fn known<'a>(inputs: &'a Inputs, name: &str) -> anyhow::Result<Resolved<'a>> {
    if let Some(resolved) = look_up(inputs, name) {
        return Ok(resolved);
    }
    Err(no_service(&inputs.services, name))
}

/// Finds a service by name. An unknown name is a wrong command line; the user may have meant one of
/// the `commands`.
pub fn find<'a>(inputs: &'a Inputs, name: &str, commands: &[&str]) -> anyhow::Result<Resolved<'a>> {
    if let Some(resolved) = look_up(inputs, name) {
        return Ok(resolved);
    }
    let known = inputs.services.iter().map(|service| service.name.as_str());
    let meant = names::nearest(name, known.clone().chain(commands.iter().copied()));
    let hint = meant.map_or_else(
        || format!("services here: {}", known.collect::<Vec<_>>().join(", ")),
        |meant| format!("did you mean `cargo xtask {meant}`?"),
    );
    let message = format!("`{name}` is neither a command nor a service");
    Err(Failure::new(Exit::Usage, message).hint(hint).into())
}

/// Returns the resolved manifest. Secrets are masked.
pub fn spec(resolved: Resolved<'_>) -> anyhow::Result<Value> {
    let manifest = &resolved.service.document.manifest;
    let value = json!({
        "schema_version": SCHEMA_VERSION,
        "name": resolved.service.name,
        "file": resolved.service.file,
        "binaries": manifest.binaries,
        "process": resolved.process,
        "config": manifest.config,
    });
    Ok(value)
}

/// Returns the exact command, as a line for a shell; with its environment as a prefix if wanted.
/// Secrets are masked.
pub fn command_line(resolved: Resolved<'_>, with_env: bool) -> String {
    let mut words = Vec::new();
    if with_env {
        words.push("env".to_owned());
        let env = &resolved.process.env;
        words.extend(
            env.iter()
                .map(|(name, value)| format!("{name}={}", value.shown())),
        );
    }
    words.extend(resolved.process.command.iter().cloned());
    words::join(&words)
}

/// Runs one service in the foreground, in place of this process: signals and the exit code are then
/// its own. Returns only an error.
pub fn run(
    ctx: &Ctx,
    inputs: &Inputs,
    resolved: Resolved<'_>,
    options: &dep::Options,
) -> anyhow::Result<Infallible> {
    let requests = requests_of(resolved.service);
    dep::ensure(ctx, &requests, options)?;
    let alone = stack::single(&inputs.stack, &resolved.service.name);
    preflight::check_settings(ctx, &alone)?;
    preflight::check_ports(&alone, &inputs.others)?;
    kit::files::create_private_dir(&ctx.paths.state())?;
    let mut command = ctx.command(resolved.process, &resolved.process.command);
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", command.get_program().display()))
}
