//! A stack for one program, against a start and a stop of an instance without data.

use super::report::BenchReport;
use super::sandbox::Sandbox;
use super::timing::{median, run};
use engine::checkout::context::Ctx;

/// How much longer it may take: the guardian's start, and the removal of what the instance left.
const FACTOR: f64 = 1.3;

/// Adds the row of `exec --ephemeral`.
pub(super) fn ephemeral(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(ctx)?;
    let (mut together, mut apart) = (Vec::new(), Vec::new());
    for index in 0..runs {
        together.push(run(&mut sandbox.xtask(&[
            "exec",
            "--ephemeral",
            "--",
            "true",
        ]))?);
        // Each has empty data, too: the first start of a server takes longer than others.
        let name = format!("new-{index}");
        let up = ["up", "--ports", "auto", "--instance", &name];
        let down = ["down", "--instance", &name];
        apart.push(run(&mut sandbox.xtask(&up))? + run(&mut sandbox.xtask(&down))?);
    }
    report.compare(
        "`exec --ephemeral -- true`",
        "`up` of an instance without data, then `down`",
        (median(together), median(apart)),
        (FACTOR, 0.0),
    );
    Ok(())
}
