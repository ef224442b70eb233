//! PURE: the summary of all stages.

use std::fmt;
use std::time::Duration;

use super::failures::Failures;

/// Durations, omissions, failed tests and the end.
#[derive(Debug, Default)]
pub(super) struct Summary {
    times: Vec<(&'static str, Duration)>,
    left_out: Vec<String>,
    missing: Vec<String>,
    pub(super) failures: Failures,
    end: Option<String>,
}

impl Summary {
    pub(super) fn took(&mut self, stage: &'static str, time: Duration) {
        self.times.push((stage, time));
    }

    /// Adds a stage that cannot be run here.
    pub(super) fn leave_out(&mut self, line: &str) {
        self.left_out.push(line.to_owned());
    }

    /// Sets what tests have left out until now, one per line.
    pub(super) fn set_missing(&mut self, text: &str) {
        self.missing = text.lines().map(str::to_owned).collect();
    }

    /// Sets the error that ended the run.
    pub(super) fn end(&mut self, line: String) {
        self.end = Some(line);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("== summary")?;
        for (stage, time) in &self.times {
            write!(f, "\n{:>8}  {stage}", seconds(*time))?;
        }
        let mut missing: Vec<&String> = self.left_out.iter().chain(&self.missing).collect();
        missing.sort();
        if missing.is_empty() {
            f.write_str("\nnothing was left out")?;
        } else {
            write!(f, "\n{} not run:", missing.len())?;
        }
        let failures = self.failures.lines().iter();
        for line in missing.into_iter().chain(failures).chain(&self.end) {
            write!(f, "\n{line}")?;
        }
        Ok(())
    }
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64().round())
}
