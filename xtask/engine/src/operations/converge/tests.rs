//! Starts and changes, with a supervisor, and processes, that misbehave.

mod change;
mod hub;
mod start;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::interrupt::Interrupt;
use crate::operations::up::{Outcome, UpOptions, UpReport};
use crate::supervisor::fake::bed::{Bed, options};

/// Longer than any step takes.
const LONG: Duration = Duration::from_secs(10);
/// Long enough for successful steps.
const SHORT: Duration = Duration::from_millis(250);

/// Runs `up` with this timeout.
fn within(bed: &Bed, timeout: Duration) -> anyhow::Result<UpReport> {
    let options = UpOptions {
        timeout,
        ..options()
    };
    bed.converge(&options, &Interrupt::default())
}

/// Returns the reported change of each process.
fn changed(report: &UpReport) -> BTreeMap<&str, &str> {
    match &report.outcome {
        Outcome::Changed(changes) => changes
            .iter()
            .map(|(name, change)| (name.as_str(), change.as_str()))
            .collect(),
        outcome => panic!("{outcome:?}"),
    }
}
