//! Reports the result of a reload: on stderr for people, in a file for the program that waits.

use std::path::PathBuf;

use serde::Serialize;

use crate::files::{PRIVATE_FILE_MODE, write_for_this_run};
use crate::output::Output;

/// Counts the reloads of one wrapper and records the result of the last one.
pub(super) struct Reloads {
    report: PathBuf,
    count: u64,
    /// The id of the settings that are in effect.
    settings: Option<String>,
}

/// A successful reload.
pub(super) struct Applied {
    /// What is in effect, in the words of the service.
    pub(super) what: String,
    /// The id of the settings that it used.
    pub(super) settings: Option<String>,
}

/// The content of the report. The program that requested a reload waits until `wrapper` and `count`
/// show that this one is done.
#[derive(Serialize)]
struct Report<'a> {
    /// The pid of the wrapper.
    wrapper: u32,
    /// How many reloads this wrapper has done.
    count: u64,
    /// What is in effect, in the words of the service; absent after a failure and before the first.
    applied: Option<&'a str>,
    /// Why it failed.
    error: Option<String>,
    /// The id of the settings that are in effect, from the start or from a reload; absent without a
    /// file of settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<&'a str>,
}

impl Reloads {
    /// Starts at zero. An old report is overwritten: it is from another wrapper.
    pub(super) fn begin(report: PathBuf, settings: Option<&str>, output: &Output) -> Self {
        let reloads = Self {
            report,
            count: 0,
            settings: settings.map(str::to_owned),
        };
        reloads.write(None, None, output);
        reloads
    }

    pub(super) fn record(&mut self, result: &anyhow::Result<Applied>, output: &Output) {
        self.count += 1;
        match result {
            Ok(applied) => {
                self.settings.clone_from(&applied.settings);
                output.note(&format!("reloaded: {}", applied.what));
                self.write(Some(&applied.what), None, output);
            }
            Err(error) => {
                let error = format!("{error:#}");
                output.note(&format!("error: reload failed: {error}"));
                self.write(None, Some(error), output);
            }
        }
    }

    fn write(&self, applied: Option<&str>, error: Option<String>, output: &Output) {
        let report = Report {
            wrapper: std::process::id(),
            count: self.count,
            applied,
            error,
            settings: self.settings.as_deref(),
        };
        let written = serde_json::to_vec(&report)
            .map_err(anyhow::Error::from)
            .and_then(|json| write_for_this_run(&self.report, &json, PRIVATE_FILE_MODE));
        if let Err(error) = written {
            output.note(&format!("error: {error:#}"));
        }
    }
}
