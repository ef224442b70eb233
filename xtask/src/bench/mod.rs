//! `cargo xtask bench`: what the stack costs, against what it could cost.
//!
//! Every figure is a ratio or a difference of medians measured in one run on one machine, since
//! times alone say nothing about another one. Linux only: it looks into `/proc`.

mod bare;
mod cold;
mod commands;
mod hundred;
mod logs;
mod plain;
mod probe;
mod report;
mod sandbox;
mod servers;
mod timing;

pub use hundred::listen;
pub use report::{Report, Row};

use anyhow::bail;

use crate::context::Ctx;
use crate::dep;
use crate::inputs::Inputs;

/// What can be measured.
pub const PARTS: [&str; 6] = ["stack", "commands", "probe", "hundred", "logs", "cold"];

/// Measures the named parts, or all but `cold` when none is named. Each figure is the median of
/// `runs` runs.
pub fn bench(ctx: &Ctx, parts: &[String], runs: usize) -> anyhow::Result<Report> {
    if !cfg!(target_os = "linux") {
        bail!("the benchmark runs on Linux only");
    }
    let all = parts.is_empty();
    let wanted = |part: &str| (all && part != "cold") || parts.iter().any(|name| name == part);
    // Old binaries would be built anew in the middle of a figure.
    let requests = Inputs::load(ctx)?.requests()?;
    dep::ensure(
        &ctx.paths,
        &ctx.env,
        &ctx.ui,
        &requests,
        &dep::Options::default(),
    )?;
    let mut report = Report::default();
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
    if wanted("logs") {
        logs::logs(ctx, runs, &mut report)?;
    }
    if wanted("cold") {
        cold::cold(ctx, &mut report)?;
    }
    Ok(report)
}
