//! `doctor`: what is wrong with this checkout and this machine, and what to do about it.
//!
//! Each check looks, then judges what it saw by a function of its own that touches nothing. One
//! that fails keeps no other from being made. Without `--fix` nothing is changed but what looking
//! needs: the directory for sockets and a temporary file. A process of somebody else is never
//! signalled.

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

/// What is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Put right what is safe to and ours.
    pub fix: bool,
    /// No network.
    pub offline: bool,
}

/// Something that was put right, or could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// The check that had found it.
    pub id: Id,
    /// Whether it is right now.
    pub done: bool,
    /// What was done, or why it was not.
    pub what: String,
}

/// The answer of `doctor`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this document.
    pub schema_version: u32,
    /// Whether no check found an error.
    pub healthy: bool,
    /// What was found, each id at least once, in the order of [`Id::ALL`]. After the fixes.
    pub checks: Vec<Check>,
    /// What was put right.
    pub fixes: Vec<Fix>,
}

impl Report {
    /// The exit code: that of the first error.
    pub fn exit(&self) -> Option<Exit> {
        let is_error = |check: &&Check| check.severity == Severity::Error;
        self.checks
            .iter()
            .find(is_error)
            .map(|check| check.id.exit())
    }

    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let of = |check: &&Check| check.severity == severity;
        self.checks.iter().filter(of).count()
    }
}

/// Makes every check and, if wanted, puts right what it found. `ctx` needs no `.env`.
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

/// A group of checks that are made one after the other.
type Group = fn(&Scene<'_>) -> Vec<Check>;

/// Groups side by side: some wait for the network or a tool.
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
