//! `cargo xtask nats replicate` and `cargo xtask nats cli`.

use std::process::ExitCode;
use std::time::Duration;

use engine::Ctx;
use engine::operations::inputs::Inputs;
use engine::topology::replicate::{self, Outcome};
use service_nats::topology::SERVICE;
use xtask::nats_cli;

use super::columns::width;
use super::{begin, lock_wait, print_json};
use crate::cli::{NatsOwnCommand, NatsTool, Replicate};

pub(crate) fn run(ctx: &Ctx, command: &NatsOwnCommand) -> anyhow::Result<ExitCode> {
    match command {
        NatsOwnCommand::Cli(args) => tool(ctx, args),
        NatsOwnCommand::Replicate(args) => replicate(ctx, args),
    }
}

/// Runs the program in place of this one. Returns only an error.
fn tool(ctx: &Ctx, args: &NatsTool) -> anyhow::Result<ExitCode> {
    let process = match (&args.node, &args.leaf) {
        (Some(node), _) => node.clone(),
        (None, Some(region)) => format!("{SERVICE}-leaf-{region}"),
        (None, None) => SERVICE.to_owned(),
    };
    let server = nats_cli::find(ctx, &process, args.sys)?;
    let error = nats_cli::run(ctx, &server, &args.arguments, &(&args.fetch).into())?;
    match error {}
}

fn replicate(ctx: &Ctx, args: &Replicate) -> anyhow::Result<ExitCode> {
    let _operation = begin(ctx, "nats replicate", lock_wait(args.lock.no_wait))?;
    // Only now: the operation that we waited for may have changed the topology.
    let inputs = Inputs::load(ctx)?;
    let timeout = Duration::from_secs(args.timeout);
    let report = replicate::replicate(ctx, &inputs.topology, &args.streams, timeout)?;
    if args.json {
        print_json(ctx, &report)?;
    } else {
        table(ctx, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(ctx: &Ctx, report: &replicate::Report) -> anyhow::Result<()> {
    for skipped in &report.skipped {
        ctx.ui
            .line(format!("no copy of `{}`: {}", skipped.name, skipped.reason));
    }
    let names = report.streams.iter().map(|stream| stream.name.as_str());
    let width = width(names.chain(["STREAM"]));
    ctx.ui
        .data(format!("{:width$}  MESSAGES  LAG  COPY", "STREAM"))?;
    for stream in &report.streams {
        let copy = match stream.outcome {
            Outcome::Created => "created",
            Outcome::Exists => "exists",
        };
        ctx.ui.data(format!(
            "{:width$}  {:8}  {:3}  {copy}",
            stream.name, stream.messages, stream.lag
        ))?;
    }
    Ok(())
}
