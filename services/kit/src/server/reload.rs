//! Telling the outcome of a reload: on stderr for people, in a file for whoever asked for it.

use std::path::PathBuf;

use serde::Serialize;

use crate::files::{PRIVATE_FILE_MODE, write_atomically};
use crate::output::Output;

/// Counts the reloads of one wrapper and writes down how the last one went.
pub(super) struct Reloads {
    report: PathBuf,
    count: u64,
}

/// The content of the report. Whoever asks for a reload waits until `wrapper` and `count` say
/// that this one is over.
#[derive(Serialize)]
struct Report<'a> {
    /// Process id of the wrapper.
    wrapper: u32,
    /// How many reloads this wrapper has done.
    count: u64,
    /// What is in effect, as the service names it; absent after a failure.
    applied: Option<&'a str>,
    /// Why it failed.
    error: Option<String>,
}

impl Reloads {
    /// None yet. An old report is overwritten: it speaks of another wrapper.
    pub(super) fn new(report: PathBuf) -> Self {
        let _ = std::fs::remove_file(&report);
        Self { report, count: 0 }
    }

    pub(super) fn record(&mut self, result: &anyhow::Result<String>, output: &Output) {
        self.count += 1;
        match result {
            Ok(applied) => output.note(&format!("reloaded: {applied}")),
            Err(error) => output.note(&format!("error: reload failed: {error:#}")),
        }
        let report = Report {
            wrapper: std::process::id(),
            count: self.count,
            applied: result.as_ref().ok().map(String::as_str),
            error: result.as_ref().err().map(|error| format!("{error:#}")),
        };
        let written = serde_json::to_vec(&report)
            .map_err(anyhow::Error::from)
            .and_then(|json| write_atomically(&self.report, &json, PRIVATE_FILE_MODE));
        if let Err(error) = written {
            output.note(&format!("error: {error:#}"));
        }
    }
}
