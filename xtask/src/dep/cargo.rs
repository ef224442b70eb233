//! The wrappers, built by one call of cargo.
//!
//! One call, with xtask itself among the packages: cargo then unifies features as it did for
//! xtask, and no shared crate is compiled twice. Must not decide whether a build is needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use kit::{Exit, Failure};

use super::context::Context;
use super::digest;
use super::freshness::{Freshness, package_names};
use super::progress::Task;
use super::record::{Record, Source};
use super::store::{Facts, Guard};
use crate::cargo;
use crate::tool;

/// Our own package, when the workspace has it.
const OWN_PACKAGE: &str = "xtask";

/// A wrapper to build: name in `.dep/` and folder of its package.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrapper<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a str,
}

/// Builds and installs the wrappers that another process has not built while we waited for their
/// locks. The locks are taken in the order of their names, so that two runs cannot block each
/// other.
pub(super) fn build(
    context: &Context<'_>,
    wrappers: &[Wrapper<'_>],
) -> anyhow::Result<BTreeMap<String, Record>> {
    let mut wrappers = wrappers.to_vec();
    wrappers.sort_unstable_by_key(|wrapper| wrapper.name);
    let names: Vec<&str> = wrappers.iter().map(|wrapper| wrapper.name).collect();
    let mut task = Task::new(context.ui, names.join(", "));
    let mut records = BTreeMap::new();
    let mut guards = Vec::new();
    for wrapper in wrappers {
        let wait =
            |holder: &str| task.note(format!("waiting for {holder} to build `{}`", wrapper.name));
        let wait_limit = context.limits.lock_wait;
        let guard = context
            .store
            .lock(wrapper.name, wait_limit, &context.cancel, &wait)?;
        guards.push((wrapper, guard));
    }
    // Only now: what was read while another process built may be old.
    let freshness = context.freshness();
    let mut stale = Vec::new();
    for (wrapper, guard) in guards {
        match context.built(&freshness, wrapper, true)? {
            Some(record) => {
                records.insert(wrapper.name.to_owned(), record);
            }
            None => stale.push((wrapper, guard)),
        }
    }
    if stale.is_empty() {
        return Ok(records);
    }
    task.stage("building", Source::CargoBuild.as_str());
    let started = SystemTime::now();
    let binaries = run_cargo(context, &stale, &task)?;
    // The toolchain is known for sure only after cargo ran.
    let freshness = context.freshness();
    for ((wrapper, guard), binary) in stale.iter().zip(&binaries) {
        let record = install(context, &freshness, *wrapper, guard, binary, started)?;
        records.insert(wrapper.name.to_owned(), record);
    }
    task.done(Source::CargoBuild.as_str());
    Ok(records)
}

/// Runs cargo and returns the names of the binaries, in the order of the wrappers.
fn run_cargo(
    context: &Context<'_>,
    wrappers: &[(Wrapper<'_>, Guard)],
    task: &Task<'_>,
) -> anyhow::Result<Vec<String>> {
    let root = context.paths.root();
    let mut command = cargo::command(program(context, task.label())?);
    let place = &context.place;
    command
        .args(["build", "--color", "never", "--profile", &place.profile])
        .arg("--target-dir")
        .arg(&place.target);
    if let Some(triple) = &place.triple {
        command.args(["--target", triple]);
    }
    let flags = [
        (context.options.offline, "--offline"),
        (context.options.locked, "--locked"),
    ];
    command.args(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| flag));
    if root.join(OWN_PACKAGE).join("Cargo.toml").is_file() {
        command.args(["-p", OWN_PACKAGE]);
    }
    let mut binaries = Vec::new();
    for (wrapper, _) in wrappers {
        let names = package_names(root, wrapper.path);
        let (package, binary) = names.map_err(|error| {
            let message = format!("cannot build `{}`", wrapper.name);
            Failure::new(Exit::Binary, message)
                .hint("`path` of a cargo-build binary is the folder of a workspace package")
                .source(error)
        })?;
        command.args(["-p", &package]);
        binaries.push(binary);
    }
    command.current_dir(root).env("PATH", context.path());
    let detail = |line: &str| task.detail(line);
    let finished = tool::run(&mut command, context.limits.tool, &context.cancel, &detail)?;
    if finished.success() {
        return Ok(binaries);
    }
    let message = format!("cannot build {}: {}", task.label(), finished.report());
    Err(Failure::new(Exit::Binary, message)
        .hint("correct what cargo says above, then run the command again")
        .into())
}

/// The cargo that runs us, else the one on PATH.
fn program(context: &Context<'_>, what: &str) -> anyhow::Result<PathBuf> {
    let own = context.env.non_empty("CARGO").map(PathBuf::from);
    let own = own.filter(|path| path.is_file());
    own.or_else(|| context.find("cargo")).ok_or_else(|| {
        Failure::new(
            Exit::Binary,
            format!("cannot build {what}: no `cargo` on PATH"),
        )
        .hint("install Rust 1.95 or later with cargo, then run the command again")
        .into()
    })
}

fn install(
    context: &Context<'_>,
    freshness: &Freshness<'_>,
    wrapper: Wrapper<'_>,
    guard: &Guard,
    binary: &str,
    started: SystemTime,
) -> anyhow::Result<Record> {
    let built = context.place.binaries.join(binary);
    let file = guard.work().join("binary");
    copy(&built, &file)?;
    let facts = Facts {
        version: None,
        source: Source::CargoBuild,
        origin: None,
        build: Some(freshness.describe(wrapper.path, &context.place, binary, started)?),
    };
    let sha256 = digest::of_file(&file)?;
    guard.install(&file, sha256, facts)
}

/// A copy, not a hard link: what cargo does to its own file later must not reach ours.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = fs::copy(from, to);
    copied.with_context(|| format!("cannot copy `{}`", from.display()))?;
    Ok(())
}
