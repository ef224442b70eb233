//! Commands on a running stack, against an empty `cargo xtask`.

use super::report::BenchReport;
use super::sandbox::Sandbox;
use super::timing::{median, run};
use crate::cargo;
use engine::checkout::context::Ctx;

/// Milliseconds that a command may take beyond the empty run.
const REPORTING_MARGIN_MS: f64 = 60.0;

/// Milliseconds that `down` may take beyond it.
const DOWN_MARGIN_MS: f64 = 300.0;

/// Most of the time of `cargo run --package xtask` that the launcher may take.
const LAUNCHER_FACTOR: f64 = 0.8;

/// Adds the rows of `up` on a running stack, `status`, `logs`, `nats spec` and `down`.
pub(super) fn commands(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(ctx)?;
    let commands: [&[&str]; 4] = [
        &["up"],
        &["status"],
        &["logs", "--tail", "20"],
        &["nats", "spec"],
    ];
    let mut figures = [(); 4].map(|()| Vec::new());
    let (mut empty, mut down, mut checked) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        run(&mut sandbox.xtask(&["up"]))?;
        for (command, figures) in commands.iter().zip(&mut figures) {
            figures.push(run(&mut sandbox.xtask(command))?);
        }
        down.push(run(&mut sandbox.xtask(&["down"]))?);
        empty.push(run(&mut sandbox.xtask(&["--version"]))?);
        let mut whole = cargo::command(cargo::program());
        whole.args(["run", "--quiet", "--package", "xtask", "--bin", "xtask"]);
        whole
            .args(["--", "--version"])
            .current_dir(ctx.paths.root());
        checked.push(run(&mut whole)?);
    }
    let (empty, checked) = (median(empty), median(checked));
    report.compare(
        "an empty `cargo xtask`",
        "`cargo run --package xtask`, which checks all packages",
        (empty, checked),
        (LAUNCHER_FACTOR, 0.0),
    );
    let against = "an empty `cargo xtask`";
    let names = [
        "`up` on a running stack",
        "`status`",
        "`logs --tail 20`",
        "`nats spec`",
    ];
    for (name, figures) in names.iter().zip(figures) {
        let value = median(figures);
        report.compare(*name, against, (value, empty), (1.0, REPORTING_MARGIN_MS));
    }
    let down = median(down);
    report.compare(
        "`down`, proven, idle clients",
        against,
        (down, empty),
        (1.0, DOWN_MARGIN_MS),
    );
    report.figure(
        "an empty `cargo run` in an empty package",
        "ms",
        empty_package(runs)?,
        None,
    );
    Ok(())
}

/// Measures `cargo run` in an empty package: the rest of an empty run is due to this workspace.
fn empty_package(runs: usize) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let manifest = "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n";
    std::fs::write(directory.path().join("Cargo.toml"), manifest)?;
    std::fs::create_dir(directory.path().join("src"))?;
    std::fs::write(directory.path().join("src/main.rs"), "fn main() {}\n")?;
    let once = || {
        let mut command = cargo::command(cargo::program());
        command
            .args(["run", "--quiet"])
            .current_dir(directory.path());
        command.env_remove("CARGO_TARGET_DIR");
        run(&mut command)
    };
    once()?;
    Ok(median(
        (0..runs).map(|_| once()).collect::<anyhow::Result<_>>()?,
    ))
}
