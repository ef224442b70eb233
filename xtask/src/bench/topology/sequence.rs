//! A topology that grows and shrinks under load: the effect on clients.

use std::thread;
use std::time::{Duration, Instant};

use super::{REGIONS, Sandbox, alone, apply, hub, states, touched};
use crate::bench::report::BenchReport;
use crate::load::{Load, LoadReport, Targets};

/// How much longer the longest time without an answer may be than without a change.
const GAP_FACTOR: f64 = 3.0;

/// Adds the rows.
pub(super) fn under_load(sandbox: &Sandbox, report: &mut BenchReport) -> anyhow::Result<()> {
    let steps = [
        hub(3, &REGIONS),
        hub(5, &REGIONS),
        hub(3, &REGIONS),
        alone(),
    ];
    let before = states(sandbox)?;
    let (noticed, took) = loaded(sandbox, || {
        steps
            .iter()
            .try_for_each(|step| apply(sandbox, step).map(drop))
    })?;
    let touched = touched(&before, &states(sandbox)?);
    let (quiet, _) = loaded(sandbox, || {
        thread::sleep(took);
        Ok(())
    })?;
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    report.count(
        format!(
            "1 to 3 + 2 regions to 5 to 3 to 1: restarts of {}",
            names.join(", ")
        ),
        touched,
    );
    rows(&noticed, &quiet, report);
    let seconds = took.as_secs_f64();
    report.figure(
        "1 to 3 + 2 regions to 5 to 3 to 1: all of it",
        "s",
        seconds,
        None,
    );
    Ok(())
}

fn rows(noticed: &LoadReport, quiet: &LoadReport, report: &mut BenchReport) {
    let is_http = |name: &str| name.starts_with("http");
    let clients = || noticed.clients.iter();
    let sum = |figure: fn(&crate::load::Client) -> u64, wanted: fn(&str) -> bool| -> u64 {
        let wanted = clients().filter(|(name, _)| wanted(name));
        wanted.map(|(_, client)| figure(client)).sum()
    };
    let all = |_: &str| true;
    for (what, value) in [
        ("messages and records lost", sum(|c| c.lost, all)),
        (
            "messages and records there twice",
            sum(|c| c.duplicated, all),
        ),
        ("operations given up", sum(|c| c.errors, all)),
        (
            "requests through Caddy that failed",
            sum(|c| c.errors + c.retried, |name| !name.starts_with("nats")),
        ),
        (
            "clients of nats disconnected",
            sum(|c| c.disconnected, |name| name.starts_with("nats")),
        ),
    ] {
        report.count(format!("under load meanwhile: {what}"), value);
    }
    report.compare(
        "under load meanwhile: longest time without an answer of Caddy",
        "the same without a change",
        (
            noticed.longest_gap_ms(is_http),
            quiet.longest_gap_ms(is_http),
        ),
        (GAP_FACTOR, 0.0),
    );
    for (name, client) in clients() {
        let what = format!("under load meanwhile: {name}, longest time without an answer");
        report.figure(what, "ms", client.longest_gap_ms, None);
    }
}

/// Runs `work` under load. Returns what clients noticed and its duration.
fn loaded(
    sandbox: &Sandbox,
    change: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<(LoadReport, Duration)> {
    let load = Load::begin(Targets::of_running(&sandbox.ctx().paths)?)?;
    let begun = Instant::now();
    change()?;
    let took = begun.elapsed();
    Ok((load.finish()?, took))
}
