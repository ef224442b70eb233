//! A fresh clone with empty `target/` and `.dep/`, until healthy: the time of each part.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use rustix::param::clock_ticks_per_second;
use xshell::{Shell, cmd};

use super::programs::stat;
use super::report::BenchReport;
use super::timing::run;
use crate::cargo;
use engine::checkout::context::Ctx;

/// How much longer the whole may take than the lower bound of its parts.
const FACTOR: f64 = 1.15;

/// Adds the rows of a cold start: the whole, and each part as `dep` reports it.
pub(super) fn cold(ctx: &Ctx, report: &mut BenchReport) -> anyhow::Result<()> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let clone = directory.path().join("clone");
    let shell = Shell::new().context("cannot find the working directory")?;
    let checkout = ctx.paths.root();
    cmd!(shell, "git clone --quiet --no-hardlinks {checkout} {clone}")
        .quiet()
        .run()?;
    if let Ok(dotenv) = fs::read(ctx.paths.dotenv()) {
        fs::write(clone.join(".env"), dotenv).context("cannot copy `.env`")?;
    }
    let xtask = |args: &[&str]| {
        let mut command = cargo::command(cargo::program());
        command
            .current_dir(&clone)
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CORE_ROOT");
        command.arg("xtask").args(args);
        command
    };
    let cpu_before = children_cpu_seconds()?;
    let begun = Instant::now();
    run(&mut xtask(&["--version"]))?;
    let build = begun.elapsed();
    let output = xtask(&["up"])
        .output()
        .context("cannot run `cargo xtask up`")?;
    let whole = begun.elapsed();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let cpu = children_cpu_seconds()? - cpu_before;
    let down = run(&mut xtask(&["down"]));
    if !output.status.success() {
        bail!("the cold start failed: {text}");
    }
    down?;
    let pieces = pieces(&text);
    let slowest = pieces.values().copied().fold(0.0, f64::max);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    #[expect(clippy::cast_precision_loss, reason = "a handful of cores")]
    let least = (build.as_secs_f64() + slowest).max(cpu / cores as f64);
    let against = "max(xtask's build + the slowest other piece, CPU seconds / cores)";
    let (what, limit) = ("fresh clone to healthy", Some(least * FACTOR));
    report.add(what, against, "s", (whole.as_secs_f64(), least), limit);
    report.figure(
        "fresh clone: building xtask",
        "s",
        build.as_secs_f64(),
        None,
    );
    report.figure("fresh clone: CPU of all pieces", "s", cpu, None);
    for (name, took) in pieces {
        report.figure(format!("fresh clone: {name}"), "s", took, None);
    }
    Ok(())
}

/// Parses `installed NAME VERSION (SOURCE) in 1.2 s` lines.
fn pieces(text: &str) -> BTreeMap<String, f64> {
    let piece = |line: &str| {
        let (what, took) = line.strip_prefix("installed ")?.rsplit_once(" in ")?;
        Some((what.to_owned(), took.strip_suffix(" s")?.parse().ok()?))
    };
    text.lines().filter_map(piece).collect()
}

/// Returns the CPU time of all reaped descendants of this process, in seconds.
fn children_cpu_seconds() -> anyhow::Result<f64> {
    let fields = stat(Path::new("/proc/self/stat")).context("cannot read own times")?;
    // Fields 16 and 17 of proc_pid_stat(5); the first after the name is 3.
    let ticks = fields[13].parse::<u64>()? + fields[14].parse::<u64>()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}
