//! `cargo xtask bench`.

use std::process::ExitCode;

use engine::Ctx;
use xtask::bench::{self, Row};

use super::print_json;
use crate::cli::Bench;

pub(crate) fn run(args: &Bench) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load(None)?;
    let report = bench::bench(&ctx, &args.parts, args.runs, args.counts)?;
    if args.json {
        print_json(&ctx, &report)?;
    } else {
        for row in &report.rows {
            ctx.ui.data(line(row))?;
        }
    }
    if args.write {
        bench::write(&ctx.paths, &report)?;
        ctx.ui.line("wrote docs/performance.md");
    }
    let is_judged = |row: &&Row| !args.counts || row.is_count();
    let within = report.rows.iter().filter(is_judged).all(Row::within);
    Ok(if within {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn line(row: &Row) -> String {
    let Row {
        what,
        against,
        value,
        base,
        unit,
        limit,
        largest_ratio,
    } = row;
    let verdict = match limit {
        _ if row.has_regressed() => {
            let largest = largest_ratio.unwrap_or_default();
            format!("  SLOWER than {largest:.2}x, see docs/performance.md")
        }
        None => String::new(),
        Some(limit) if row.within() => format!("  within {limit:.1} {unit}"),
        Some(limit) => format!("  OVER {limit:.1} {unit}"),
    };
    if against.is_empty() {
        format!("{value:>8.1} {unit:<2}  {what}{verdict}")
    } else {
        let ratio = value / base;
        format!(
            "{value:>8.1} {unit:<2}  {what}: {ratio:.2}x of {against}, {base:.1} {unit}{verdict}"
        )
    }
}
