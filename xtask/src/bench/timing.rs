//! Medians of wall-clock times, in milliseconds.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

/// Returns the median of figures.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs a command and returns its duration. Its output is kept for the error.
pub(super) fn run(command: &mut Command) -> anyhow::Result<f64> {
    command.stdin(Stdio::null());
    let begun = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let took = millis(begun);
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}): {}", output.status, text.trim());
    }
    Ok(took)
}

/// Returns the milliseconds since `begun`.
pub(super) fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}
