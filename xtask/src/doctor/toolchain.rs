//! Tools of this machine: Rust, which builds the wrappers, and the sources of binaries besides
//! release archives.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::check::{Check, Id};
use super::scene::Scene;
use crate::cargo;
use engine::base::tool;

/// How long a tool may take to print its version; a cold `python3 -m pip` takes a second.
const VERSION_TIMEOUT: Duration = Duration::from_secs(15);

/// The Rust version that the workspace requires.
const WANTED: &str = env!("CARGO_PKG_RUST_VERSION");

/// The version output of each tool, `None` when it cannot be run.
#[derive(Debug, Clone, Default)]
pub(super) struct Tools {
    pub(super) cargo: Option<String>,
    pub(super) rustc: Option<String>,
    pub(super) pip: Option<String>,
    pub(super) go: Option<String>,
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    let tools = look(scene.paths().root());
    let mut checks = judge_rust(&tools, WANTED);
    checks.push(judge_sources(&tools));
    checks
}

fn look(root: &Path) -> Tools {
    let plain = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments);
        first_line(command, root)
    };
    let mut own_cargo = cargo::command(cargo::program());
    own_cargo.arg("--version");
    Tools {
        cargo: first_line(own_cargo, root),
        rustc: plain("rustc", &["--version"]),
        pip: plain("python3", &["-m", "pip", "--version"]),
        go: plain("go", &["version"]),
    }
}

fn first_line(mut command: Command, root: &Path) -> Option<String> {
    command.current_dir(root);
    let finished = tool::run(
        &mut command,
        VERSION_TIMEOUT,
        &AtomicBool::new(false),
        &|_| {},
    );
    let finished = finished.ok().filter(tool::Finished::success)?;
    finished.tail.into_iter().next()
}

pub(super) fn judge_rust(tools: &Tools, wanted: &str) -> Vec<Check> {
    let id = Id::RustToolchain;
    let mut findings = Vec::new();
    for (name, line) in [("cargo", &tools.cargo), ("rustc", &tools.rustc)] {
        let version = line.as_deref().and_then(version);
        let problem = match version {
            None => format!("`{name}` cannot be run: wrappers cannot be built"),
            Some(found) if Some(found) < self::version(wanted) => {
                let (major, minor, patch) = found;
                format!("`{name}` is {major}.{minor}.{patch}, the workspace needs {wanted}")
            }
            Some(_) => continue,
        };
        findings.push(Check::error(id, problem).fix("rustup update stable"));
    }
    let line = tools.cargo.as_deref().unwrap_or_default();
    super::check::or_ok(findings, id, format!("{line}, {wanted} is needed"))
}

/// Returns the first word that is a version: of `cargo 1.95.0 (abc 2026-03-01)`.
fn version(line: &str) -> Option<(u32, u32, u32)> {
    line.split_whitespace().find_map(|word| {
        let word = word.split('-').next().unwrap_or_default();
        let mut numbers = word.split('.').map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let patch = numbers.next().unwrap_or(Ok(0)).ok()?;
        Some((major, minor, patch))
    })
}

pub(super) fn judge_sources(tools: &Tools) -> Check {
    let id = Id::BinarySources;
    let told = |name: &str, gives: &str, line: &Option<String>| match line {
        Some(_) => format!("{name} is there"),
        None => format!("no {name}, which gives {gives}"),
    };
    let found = [
        told("Python with pip", "wheels", &tools.pip),
        told("Go", "Go modules", &tools.go),
    ]
    .join("; ");
    if tools.pip.is_some() && tools.go.is_some() {
        return Check::ok(id, found);
    }
    // Neither is needed while release archives are reachable.
    Check::info(id, found)
}
