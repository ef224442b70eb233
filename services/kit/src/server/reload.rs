//! Telling the outcome of a reload: on stderr for people, in a file for whoever asked for it.

use std::path::PathBuf;

use serde::Serialize;

use crate::files::{PRIVATE_FILE_MODE, write_for_this_run};
use crate::output::Output;

/// Counts the reloads of one wrapper and writes down how the last one went.
pub(super) struct Reloads {
    report: PathBuf,
    count: u64,
    /// What names the settings that are in effect.
    settings: Option<String>,
}

/// A reload that went well.
pub(super) struct Applied {
    /// What is in effect, as the service names it.
    pub(super) what: String,
    /// What names the settings that it was made from.
    pub(super) settings: Option<String>,
}

/// The content of the report. Whoever asks for a reload waits until `wrapper` and `count` say
/// that this one is over.
#[derive(Serialize)]
struct Report<'a> {
    /// Process id of the wrapper.
    wrapper: u32,
    /// How many reloads this wrapper has done.
    count: u64,
    /// What is in effect, as the service names it; absent after a failure and before the first.
    applied: Option<&'a str>,
    /// Why it failed.
    error: Option<String>,
    /// What names the settings that are in effect, from the beginning or from a reload; absent
    /// without a file of settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<&'a str>,
}

impl Reloads {
    /// None yet. An old report is overwritten: it speaks of another wrapper.
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
