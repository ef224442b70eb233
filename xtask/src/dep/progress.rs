//! Progress of one binary: a bar on a terminal, plain lines elsewhere.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::bars;
use engine::base::ui::Ui;

/// Interval in which a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// The progress of one task. Its bar disappears when it is dropped.
pub(super) struct Task<'a> {
    ui: &'a Ui,
    label: String,
    bar: ProgressBar,
    started: Instant,
}

impl<'a> Task<'a> {
    /// Starts `label`, for example `caddy-server 2.11.7`. Nothing is shown yet.
    pub(super) fn new(ui: &'a Ui, label: impl Into<String>) -> Self {
        Self {
            ui,
            label: label.into(),
            bar: ProgressBar::hidden(),
            started: Instant::now(),
        }
    }

    /// Returns the label.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Shows the current stage: `fetching`, `wheel`.
    pub(super) fn stage(&mut self, doing: &str, source: impl fmt::Display) {
        let text = format!("{doing} {} ({source})", self.label);
        let Some(bars) = bars::bars() else {
            self.ui.line(text);
            return;
        };
        self.bar.finish_and_clear();
        self.bar = bars.add(ProgressBar::new_spinner());
        self.bar
            .set_style(style("{spinner} {prefix} {wide_msg:.dim}"));
        self.bar.set_prefix(text);
        bars::spin(&self.bar, TICK);
    }

    /// Shows the newest line of a tool's output.
    pub(super) fn detail(&self, text: &str) {
        self.bar.set_message(text.trim().to_owned());
    }

    /// Shows the bytes downloaded so far, and the expected number, if known.
    pub(super) fn bytes(&self, done: u64, total: Option<u64>) {
        if let Some(total) = total.filter(|total| self.bar.length() != Some(*total)) {
            self.bar.set_length(total);
            let template = "{spinner} {prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}";
            self.bar.set_style(style(template));
        }
        self.bar.set_position(done);
    }

    /// Prints a line that stays.
    pub(super) fn note(&self, text: impl AsRef<str>) {
        self.ui.line(text);
    }

    /// Reports that the task is done.
    pub(super) fn done(&self, source: impl fmt::Display) {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        let label = &self.label;
        self.ui
            .line(format!("installed {label} ({source}) in {seconds:.1} s"));
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid() {
        for template in [
            "{spinner} {prefix} {wide_msg:.dim}",
            "{spinner} {prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
