//! The rows of a benchmark, as data.

use serde::Serialize;

use super::timing::median;
use engine::SCHEMA_VERSION;

/// All measurements.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    /// Version of this document's format.
    pub schema_version: u32,
    /// One row per figure.
    pub rows: Vec<Row>,
}

impl Default for BenchReport {
    fn default() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            rows: Vec::new(),
        }
    }
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What it was measured against.
    pub against: String,
    /// The figure, in `unit`.
    pub value: f64,
    /// The figure it is compared with, in `unit`.
    pub base: f64,
    /// `ms`, `MB` ...
    pub unit: &'static str,
    /// The largest value that is within the budget, in `unit`; `None` when none is set.
    pub limit: Option<f64>,
    /// The largest ratio of the two figures that is no regression; `None` when none is committed.
    pub largest_ratio: Option<f64>,
}

impl Row {
    /// Whether it counts events that must not happen, and is no measurement.
    pub fn is_count(&self) -> bool {
        self.unit.is_empty()
    }

    /// Returns the figure divided by the one it is compared with.
    pub fn ratio(&self) -> Option<f64> {
        (self.base > 0.0).then(|| self.value / self.base)
    }

    /// Whether the figure is larger than a fifth more than what is committed.
    pub fn has_regressed(&self) -> bool {
        let limit = self.ratio().zip(self.largest_ratio);
        limit.is_some_and(|(ratio, largest)| ratio > largest)
    }

    /// Whether the figure is within its budget, and no regression.
    pub fn within(&self) -> bool {
        self.limit.is_none_or(|limit| self.value <= limit) && !self.has_regressed()
    }
}

impl BenchReport {
    /// Adds a row of milliseconds whose budget is `factor` times the base plus `margin`.
    pub(super) fn compare(
        &mut self,
        what: impl Into<String>,
        against: &str,
        (value, base): (f64, f64),
        (factor, margin): (f64, f64),
    ) {
        let limit = base * factor + margin;
        self.add(what, against, "ms", (value, base), Some(limit));
    }

    /// Adds a row of the largest of some milliseconds beside their median, with a fixed budget.
    pub(super) fn largest(&mut self, what: &str, figures: &[f64], limit: f64) {
        let what = format!("{what}, longest of {}", figures.len());
        let largest = figures.iter().copied().fold(f64::NAN, f64::max);
        let figures = (largest, median(figures.to_vec()));
        self.add(what, "the median", "ms", figures, Some(limit));
    }

    /// Adds a row of something that must not happen at all.
    pub(super) fn count(&mut self, what: impl Into<String>, value: impl TryInto<u32>) {
        let value = value.try_into().unwrap_or(u32::MAX);
        self.figure(what, "", f64::from(value), Some(0.0));
    }

    /// Adds a row by itself, with a fixed budget, if any.
    pub(super) fn figure(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        value: f64,
        limit: Option<f64>,
    ) {
        self.add(what, "", unit, (value, 0.0), limit);
    }

    /// Adds any row.
    pub(super) fn add(
        &mut self,
        what: impl Into<String>,
        against: &str,
        unit: &'static str,
        (value, base): (f64, f64),
        limit: Option<f64>,
    ) {
        self.rows.push(Row {
            what: what.into(),
            against: against.to_owned(),
            value,
            base,
            unit,
            limit,
            largest_ratio: None,
        });
    }
}
