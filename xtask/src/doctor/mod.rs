//! `doctor`: what is wrong with this checkout and this machine, and how to fix it.
//!
//! Each check reads, then a separate pure function judges. A check that fails does not prevent
//! others. Without `--fix` nothing is changed except what reading needs: the directory for sockets
//! and a temporary file. Must never signal a process that is not ours.

mod binaries;
mod check;
mod fix;
mod inputs;
mod locks;
mod machine;
mod places;
mod ports;
mod remains;
mod scene;
mod sources;
#[cfg(test)]
mod tests;
mod toolchain;

use kit::Exit;
use serde::Serialize;

use engine::SCHEMA_VERSION;
use engine::base::threads::{Task, side_by_side};
use engine::checkout::context::Ctx;

pub use check::{Check, Id, Severity};
use scene::Scene;

/// Options of the user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Repair what is ours and safe to repair.
    pub fix: bool,
    /// Do not use the network.
    pub offline: bool,
}

/// A problem that was repaired, or could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// The check that had found it.
    pub id: Id,
    /// Whether it is fixed now.
    pub done: bool,
    /// What was done, or why it was not.
    pub what: String,
}

/// The report of `doctor`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this document's format.
    pub schema_version: u32,
    /// Whether no check found an error.
    pub healthy: bool,
    /// All findings after the fixes, each id at least once, in the order of [`Id::ALL`].
    pub checks: Vec<Check>,
    /// The fixes that were applied.
    pub fixes: Vec<Fix>,
}

impl Report {
    /// Returns the exit code: that of the first error.
    pub fn exit(&self) -> Option<Exit> {
        let is_error = |check: &&Check| check.severity == Severity::Error;
        self.checks
            .iter()
            .find(is_error)
            .map(|check| check.id.exit())
    }

    /// Returns the number of findings of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let of = |check: &&Check| check.severity == severity;
        self.checks.iter().filter(of).count()
    }
}

/// Makes every check and, if requested, repairs what it found. `ctx` needs no `.env`.
pub fn examine(ctx: &Ctx, options: Options) -> Report {
    let mut checks = check_all(&Scene::look(ctx, options));
    let mut fixes = Vec::new();
    if options.fix {
        fixes = fix::apply(&Scene::look(ctx, options), &checks);
        if !fixes.is_empty() {
            checks = check_all(&Scene::look(ctx, options));
        }
    }
    let is_error = |check: &Check| check.severity == Severity::Error;
    Report {
        schema_version: SCHEMA_VERSION,
        healthy: !checks.iter().any(is_error),
        checks,
        fixes,
    }
}

/// A group of checks that run one after the other.
type Group = fn(&Scene<'_>) -> Vec<Check>;

/// Groups run in parallel: some wait for the network or a tool.
const GROUPS: [Group; 8] = [
    toolchain::check,
    sources::check,
    binaries::check,
    inputs::check,
    ports::check,
    |scene| [remains::check(scene), locks::check(scene)].concat(),
    machine::check,
    places::check,
];

fn check_all(scene: &Scene<'_>) -> Vec<Check> {
    let groups = GROUPS.map(|group| Box::new(move || group(scene)) as Task<'_, Vec<Check>>);
    let mut checks = side_by_side(groups.into()).concat();
    checks.sort_by_key(|check| check.id);
    checks
}
