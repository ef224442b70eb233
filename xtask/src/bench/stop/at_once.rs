//! Many services that stop at once: process-compose 1.120 misses some of these exits.

use anyhow::Context as _;

use super::super::programs::Program;
use super::super::report::BenchReport;
use super::super::timing::run;
use super::END_MS;
use engine::checkout::context::Ctx;

/// The number of services.
const COUNT: usize = 20;

/// The program of each of them: it exits as soon as it receives SIGTERM.
const NAME: &str = "shell-exec";

/// Adds the row of a `down` of many services.
pub(super) fn at_once(
    ctx: &Ctx,
    runs: usize,
    programs: &[Program],
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let program = programs.iter().find(|program| program.name == NAME);
    let program = program.with_context(|| format!("no program `{NAME}`"))?;
    let copies = (0..COUNT).map(|index| program.named(&format!("s{index:02}")));
    let copies: Vec<Program> = copies.collect();
    let sandbox = super::sandbox(ctx, &copies)?;
    let mut took = Vec::new();
    for _ in 0..runs {
        run(&mut sandbox.direct(&["up"])?)?;
        took.push(run(&mut sandbox.direct(&["down"])?)?);
    }
    let what = format!("`down` of {COUNT} services that end at once");
    report.largest(&what, &took, END_MS);
    Ok(())
}
