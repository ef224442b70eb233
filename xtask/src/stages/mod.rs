//! What a change has to pass: the stages of `cargo xtask ci`, one after the other.
//!
//! Owns the table of stages and their course. Must not print, and must not know what a stage does:
//! it is a command line that ends with 0 or not.

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

/// The variable by which tests learn where to write what they could not test, a line each.
const MISSING_VARIABLE: &str = "CORE_TESTS_MISSING";

/// A command that has to end with 0.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// What it looks at, in a word.
    pub name: &'static str,
    /// Words as a shell splits them. They are run at the root of the checkout.
    pub command: &'static str,
    /// Whether it runs tests, whose failures are repeated at the end.
    pub has_tests: bool,
    /// Whether it can be run on Linux only.
    pub linux_only: bool,
}

/// The one list of them. Measures of what races are the last: ends and reloads, again and again.
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

/// What stages are run in and shown by.
pub struct Surroundings<'a> {
    /// The checkout.
    pub root: PathBuf,
    /// Who reads the output.
    pub system: System,
    /// That the user asked to end.
    pub interrupt: &'a Interrupt,
    /// Whether all that runs below this process is of stages, so that it may be ended with them.
    pub owns_children: bool,
}

/// How it went.
#[derive(Debug)]
pub struct Report {
    /// What took how long, what was left out, what failed. It is there however it ended.
    pub summary: String,
    /// The exit code: 0, or that of the stage that failed.
    pub code: anyhow::Result<u8>,
}

/// Runs the stages until one fails or the user gives up. Headings, and the output of tests, go to
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
        // Tests add to it while they run, also those of a stage that fails.
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

/// Output of a stage becomes a section where the output is shown in sections; nothing in it is a
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

/// A line of ours. That nobody reads any more ends no stage.
fn tell(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
