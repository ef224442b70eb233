//! Ten instances of one checkout that start at once, against one that has a core of its own.

use std::num::NonZero;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::report::BenchReport;
use super::sandbox::Sandbox;
use super::timing::{median, millis, run};
use engine::checkout::context::Ctx;

const COUNT: usize = 10;

/// Milliseconds that `ps --all` may take beyond an empty run: it queries each of ten stacks.
const LISTING_MARGIN_MS: f64 = 80.0;

/// How much longer they may take than one after the other, on each core.
const FACTOR: f64 = 3.0;

/// Adds the rows of ten instances at once, and of listing all of them.
pub(super) fn instances(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(ctx)?;
    let names: Vec<String> = (0..COUNT).map(|index| format!("i{index}")).collect();
    let command = |word: &str, name: &str| sandbox.xtask(&[word, "--instance", name]);
    // The first start of each creates its data directories: the measured starts are warm.
    together(names.iter().map(|name| command("up", name)))?;
    together(names.iter().map(|name| command("down", name)))?;
    let (mut one, mut all, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    let mut empty = Vec::new();
    for _ in 0..runs {
        one.push(run(&mut command("up", &names[0]))?);
        run(&mut command("down", &names[0]))?;
        all.push(together(names.iter().map(|name| command("up", name)))?);
        listed.push(run(&mut sandbox.xtask(&["ps", "--all"]))?);
        empty.push(run(&mut sandbox.xtask(&["--version"]))?);
        together(names.iter().map(|name| command("down", name)))?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful of cores")]
    let rounds = COUNT as f64 / thread::available_parallelism().map_or(1, NonZero::get) as f64;
    report.compare(
        format!("{COUNT} instances of one checkout at once, to healthy"),
        "one after the other on each core",
        (median(all), median(one) * rounds.max(1.0)),
        (FACTOR, 0.0),
    );
    report.compare(
        format!("`ps --all` of {COUNT} that run"),
        "an empty `cargo xtask`",
        (median(listed), median(empty)),
        (1.0, LISTING_MARGIN_MS),
    );
    Ok(())
}

/// Runs commands in parallel, and returns the milliseconds until the last has exited.
fn together(commands: impl Iterator<Item = Command>) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut children = Vec::new();
    for mut command in commands {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        children.push(command.spawn().context("cannot run a command")?);
    }
    let outputs: Vec<_> = children
        .into_iter()
        .map(|child| child.wait_with_output().context("cannot wait for it"))
        .collect();
    let took = millis(begun);
    for output in outputs {
        let output = output?;
        if !output.status.success() {
            bail!(
                "one of them failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
    }
    Ok(took)
}
