//! The stages of `cargo xtask ci` that a change must pass, one after the other.
//!
//! Owns the table of stages and their order. Must not print, and must not know what a stage does:
//! it is a command line that exits with code 0 or fails.

mod failures;
mod run;
mod summary;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::ci::System;
use engine::base::interrupt::Interrupt;
use run::End;
use summary::{Summary, seconds};

/// The variable with the file where tests write what they could not test, one per line.
const MISSING_VARIABLE: &str = "CORE_TESTS_MISSING";

/// A command that must exit with code 0.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// Its subject, in one word.
    pub name: &'static str,
    /// Words in shell quoting. The command runs at the root of the checkout.
    pub command: &'static str,
    /// Whether it runs tests, whose failures are repeated at the end.
    pub has_tests: bool,
    /// Whether it runs on Linux only.
    pub linux_only: bool,
}

/// The list of stages. Measurements of races come last: many stops and reloads.
pub const STAGES: [Stage; 5] = [
    stage("formatting", "cargo fmt --all --check"),
    stage(
        "lints",
        "cargo clippy --workspace --all-targets -- -D warnings",
    ),
    Stage {
        has_tests: true,
        ..stage("tests", "cargo test --workspace")
    },
    Stage {
        linux_only: true,
        ..stage("stops", "cargo xtask bench stop --runs 3 --counts")
    },
    Stage {
        linux_only: true,
        ..stage("reloads", "cargo xtask bench reload --runs 100 --counts")
    },
];

const fn stage(name: &'static str, command: &'static str) -> Stage {
    Stage {
        name,
        command,
        has_tests: false,
        linux_only: false,
    }
}

/// The environment of the stages and of their output.
pub struct Surroundings<'a> {
    /// The checkout.
    pub root: PathBuf,
    /// The system that reads the output.
    pub system: System,
    /// Whether the user asked to stop.
    pub interrupt: &'a Interrupt,
    /// Whether all our descendants belong to stages, so that they may be stopped with them.
    pub owns_children: bool,
}

/// The result.
#[derive(Debug)]
pub struct Report {
    /// Durations, omissions and failures. Always present.
    pub summary: String,
    /// The exit code: 0, or that of the failed stage.
    pub code: anyhow::Result<u8>,
}

/// Runs the stages until one fails or the user interrupts. Headings, and the output of tests, go to
/// `out`; other stages write to our stdout themselves.
pub fn pass(stages: &[Stage], surroundings: &Surroundings<'_>, out: &mut dyn Write) -> Report {
    let mut summary = Summary::default();
    let code = pass_all(stages, surroundings, out, &mut summary);
    Report {
        summary: summary.to_string(),
        code,
    }
}

fn pass_all(
    stages: &[Stage],
    surroundings: &Surroundings<'_>,
    out: &mut dyn Write,
    summary: &mut Summary,
) -> anyhow::Result<u8> {
    // Removed when it is dropped.
    let missing = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let variables = [(MISSING_VARIABLE, missing.path())];
    for (index, stage) in stages.iter().enumerate() {
        if stage.linux_only && !cfg!(target_os = "linux") {
            let name = stage.name;
            summary.leave_out(&format!(
                "missing: `{name}` needs Linux, so it was not measured"
            ));
            continue;
        }
        let begun = Instant::now();
        let end = in_section(stage, index, surroundings.system, out, |out| {
            run::run(stage, surroundings, &variables, summary, out)
        });
        // Tests append to it while they run, also in a stage that fails.
        let text = fs::read_to_string(missing.path()).unwrap_or_default();
        summary.set_missing(&text);
        let took = begun.elapsed();
        summary.took(stage.name, took);
        tell(out, &format!("== {}: {}", stage.name, seconds(took)));
        match end {
            Ok(End::Code(0)) => {}
            Ok(End::Code(code)) => {
                summary.end(format!(
                    "failed: {} (exit {code}): {}",
                    stage.name, stage.command
                ));
                return Ok(code);
            }
            Ok(End::Interrupted(signal)) => {
                summary.end(format!("interrupted: {}", stage.name));
                return Err(signal.into());
            }
            Err(error) => {
                summary.end(format!("failed: {}: {}", stage.name, stage.command));
                return Err(error);
            }
        }
    }
    Ok(0)
}

/// Puts the output of a stage into a section where the CI system has sections; it cannot be a
/// command there.
fn in_section<T>(
    stage: &Stage,
    index: usize,
    system: System,
    out: &mut dyn Write,
    work: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    };
    let token = kit::secret::generate()?;
    let begun = now();
    let id = format!("{begun}_{index}");
    let section = |at| system.section(stage.name, &id, at, &token);
    tell(out, &format!("\n{}", section(begun).begin));
    let result = work(out);
    let end = section(now()).end;
    if !end.is_empty() {
        tell(out, &end);
    }
    result
}

/// Prints a line of ours. Without a reader, stages go on.
fn tell(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
