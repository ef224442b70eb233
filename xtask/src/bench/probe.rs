//! The readiness probe against curl, and the size and cost of probe and wrappers.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::param::clock_ticks_per_second;

use super::programs::stat;
use super::report::BenchReport;
use super::sandbox::Sandbox;
use super::timing::{median, run};
use engine::checkout::context::Ctx;
use engine::operations::inputs::Inputs;
use engine::plan::stack::{PROBE, ReadinessCheck};

/// Successive checks per figure: one alone is too short to measure.
const CHECKS: usize = 20;

/// How long an idle wrapper is observed.
const IDLE: Duration = Duration::from_secs(5);

/// Adds the rows of the probe and of the wrappers.
pub(super) fn probe(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(ctx)?;
    run(&mut sandbox.xtask(&["up"]))?;
    let inputs = Inputs::load(sandbox.ctx())?;
    let readiness = inputs.stack.processes["nats"].readiness.as_ref();
    let Some(ReadinessCheck::Http { url, .. }) = readiness.map(|readiness| &readiness.check) else {
        anyhow::bail!("nats has no HTTP readiness probe");
    };
    let binary = ctx.paths.dep().join(PROBE);
    let mut probe = Command::new(&binary);
    probe.args(["http", url, "--limit", "5"]);
    let (mut ours, mut curls) = (Vec::new(), Vec::new());
    for _ in 0..runs * CHECKS {
        ours.push(run(&mut probe)?);
        if let Ok(time) = run(Command::new("curl").args(["-fsS", "-o", "/dev/null", url])) {
            curls.push(time);
        }
    }
    if curls.is_empty() {
        report.figure(
            "probe: one check of a healthy server",
            "ms",
            median(ours),
            None,
        );
    } else {
        let figures = (median(ours), median(curls));
        report.compare(
            "probe: one check of a healthy server",
            "curl",
            figures,
            (2.0, 0.0),
        );
    }
    let size = fs::metadata(&binary)
        .context("cannot look at the probe")?
        .len();
    report.figure(
        "probe: size of the binary",
        "MB",
        megabytes(size),
        Some(5.0),
    );
    wrappers(&sandbox, report)?;
    run(&mut sandbox.xtask(&["down"]))?;
    Ok(())
}

fn wrappers(sandbox: &Sandbox, report: &mut BenchReport) -> anyhow::Result<()> {
    let states = sandbox.ctx().client()?.processes()?;
    let before: Vec<u64> = states
        .values()
        .map(|s| cpu_ticks(s.pid))
        .collect::<Result<_, _>>()?;
    // Not a wait for a condition: the figure is the CPU time used meanwhile.
    thread::sleep(IDLE);
    for (state, before) in states.values().zip(before) {
        let what = format!("wrapper `{}`: resident", state.name);
        report.figure(what, "MB", resident(state.pid)?, Some(8.0));
        let ticks = cpu_ticks(state.pid)? - before;
        #[expect(clippy::cast_precision_loss, reason = "a handful of ticks")]
        let percent = ticks as f64 / clock_ticks_per_second() as f64 / IDLE.as_secs_f64() * 100.0;
        report.figure(
            format!("wrapper `{}`: CPU when idle", state.name),
            "%",
            percent,
            Some(0.5),
        );
    }
    Ok(())
}

/// Returns the resident memory of a process in megabytes.
fn resident(pid: i32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("it does not run")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(megabytes(kilobytes.context("no resident size")? * 1024))
}

/// Returns the CPU time of a process so far, in clock ticks.
fn cpu_ticks(pid: i32) -> anyhow::Result<u64> {
    let fields = stat(Path::new(&format!("/proc/{pid}/stat"))).context("it does not run")?;
    // Fields 14 and 15 of proc_pid_stat(5); the first after the name is 3.
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
