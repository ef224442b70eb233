//! `cargo xtask bench`: the cost of the stack, against its lower bound.
//!
//! Every figure is a ratio or a difference of medians measured in one run on one machine, since
//! times alone say nothing about another machine. Linux only: it reads `/proc`.

mod bare;
mod cold;
mod commands;
mod committed;
mod ephemeral;
mod hundred;
mod instances;
mod listener;
mod logs;
mod peers;
mod plain;
mod probe;
pub mod programs;
mod reload;
mod report;
mod routes;
mod sandbox;
mod servers;
mod stop;
mod timing;
mod topology;

pub use committed::write;
pub use listener::listen;
pub use report::{BenchReport, Row};

use anyhow::bail;

use crate::dep;
use engine::checkout::context::Ctx;
use engine::operations::inputs::Inputs;

/// The parts that can be measured.
pub const PARTS: [&str; 13] = [
    "stack",
    "commands",
    "probe",
    "hundred",
    "instances",
    "ephemeral",
    "routes",
    "logs",
    "topology",
    "stop",
    "reload",
    "cold",
    "peers",
];

/// Parts that take minutes, or fetch something, and are measured only when they are named.
const LONG: [&str; 4] = ["stop", "reload", "cold", "peers"];

/// Default number of runs of each figure.
const RUNS: usize = 7;

/// Default number of runs of a stop: its duration depends on a race.
const STOP_RUNS: usize = 20;

/// Default number of reloads: one in a hundred lost a process.
const RELOADS: usize = 1000;

/// Measures the named parts, or all that take no minutes when none is named. Each figure is the
/// median of `runs` runs. With `counts`, durations do not matter.
pub fn bench(
    ctx: &Ctx,
    parts: &[String],
    runs: Option<usize>,
    counts: bool,
) -> anyhow::Result<BenchReport> {
    if !cfg!(target_os = "linux") {
        bail!("the benchmark runs on Linux only");
    }
    let all = parts.is_empty();
    let wanted =
        |part: &str| (all && !LONG.contains(&part)) || parts.iter().any(|name| name == part);
    // Outdated binaries would be built in the middle of a measurement.
    let requests = Inputs::load(ctx)?.requests()?;
    dep::ensure(ctx, &requests, &dep::Options::default())?;
    let mut report = BenchReport::default();
    if wanted("stop") {
        stop::stop(ctx, runs.unwrap_or(STOP_RUNS), counts, &mut report)?;
    }
    if wanted("reload") {
        reload::reload(ctx, runs.unwrap_or(RELOADS), &mut report)?;
    }
    let runs = runs.unwrap_or(RUNS);
    if wanted("stack") {
        plain::stack(ctx, runs, &mut report)?;
    }
    if wanted("commands") {
        commands::commands(ctx, runs, &mut report)?;
    }
    if wanted("probe") {
        probe::probe(ctx, runs, &mut report)?;
    }
    if wanted("hundred") {
        hundred::hundred(ctx, runs, &mut report)?;
    }
    if wanted("instances") {
        instances::instances(ctx, runs, &mut report)?;
    }
    if wanted("ephemeral") {
        ephemeral::ephemeral(ctx, runs, &mut report)?;
    }
    if wanted("routes") {
        routes::routes(ctx, runs, &mut report)?;
    }
    if wanted("logs") {
        logs::logs(ctx, runs, &mut report)?;
    }
    if wanted("topology") {
        topology::topology(ctx, runs, &mut report)?;
    }
    if wanted("cold") {
        cold::cold(ctx, &mut report)?;
    }
    if wanted("peers") {
        peers::peers(ctx, runs, &mut report)?;
    }
    committed::compare(&ctx.paths, &mut report);
    Ok(report)
}
