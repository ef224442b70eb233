//! Builds the wrappers by one call of cargo.
//!
//! One call, with xtask itself among the packages: cargo then unifies features as it did for xtask,
//! and compiles no shared crate twice. Cargo's messages report where the programs are. Must not
//! decide whether a build is needed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Context as _;
use kit::{Exit, Failure};
use serde::Deserialize;

use super::context::Context;
use super::freshness::{Built, Freshness, package_names};
use super::place::{Layout, Place};
use super::progress::Task;
use super::record::{Record, Source};
use super::store::{Facts, Guard};
use crate::cargo;
use engine::base::digest;
use engine::base::limits;
use engine::base::tool;

/// Our own package, when the workspace has it.
const OWN_PACKAGE: &str = "xtask";

/// A wrapper to build: name in `.dep/` and directory of its package.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrapper<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a str,
}

/// Builds and installs the wrappers, except those that another process has built while we waited
/// for their locks. The locks are taken in the order of their names, so that two runs cannot
/// deadlock.
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
    // Only now: a state read while another process built may be outdated.
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
    task.stage("building", Source::CargoBuild);
    let started = SystemTime::now();
    let layout = layout(context, &task)?;
    let programs = run_cargo(context, &layout, &stale, &task)?;
    let place = recorded_place(context, &layout);
    // The toolchain is known reliably only after cargo ran.
    let freshness = context.freshness();
    for ((wrapper, guard), program) in stale.iter().zip(&programs) {
        let built = Built {
            path: wrapper.path,
            program,
            place: &place,
            started,
        };
        let record = install(&freshness, guard, built)?;
        records.insert(wrapper.name.to_owned(), record);
    }
    task.done(Source::CargoBuild);
    Ok(records)
}

/// Returns where cargo builds: its configuration files, the user's among them, and variables can
/// move target and build directories.
fn layout(context: &Context<'_>, task: &Task<'_>) -> anyhow::Result<Layout> {
    let mut command = cargo::command(program(context, task.label())?);
    command.args(["metadata", "--no-deps", "--format-version=1"]);
    let answer = RefCell::new(None);
    let read = |line: &str| {
        *answer.borrow_mut() = serde_json::from_str(line).ok();
    };
    call(context, &mut command, task, &read)?;
    answer.into_inner().ok_or_else(|| {
        let message = format!("cannot build {}: cargo does not say where", task.label());
        Failure::new(Exit::Binary, message)
            .hint("cargo metadata --no-deps --format-version=1")
            .into()
    })
}

/// Returns the place to record: as derived from our own program, so that it is found again without
/// cargo, with the build directory that cargo reports.
fn recorded_place(context: &Context<'_>, layout: &Layout) -> Place {
    let own = context.place.as_ref();
    own.map_or_else(
        || Place::usual(layout),
        |own| Place {
            build: destination(context, layout).build,
            ..own.clone()
        },
    )
}

/// Returns where to build the programs: the place of our own program.
fn destination(context: &Context<'_>, layout: &Layout) -> Place {
    let own = context.place.as_ref();
    own.map_or_else(
        || Place::usual(layout),
        |own| own.corrected(&context.program, layout),
    )
}

/// Runs cargo and returns the programs, in the order of the wrappers.
fn run_cargo(
    context: &Context<'_>,
    layout: &Layout,
    wrappers: &[(Wrapper<'_>, Guard)],
    task: &Task<'_>,
) -> anyhow::Result<Vec<PathBuf>> {
    let root = context.paths.root();
    let mut command = cargo::command(program(context, task.label())?);
    let place = destination(context, layout);
    command
        .args(["build", "--color", "never", "--profile", &place.profile])
        .arg("--message-format=json-render-diagnostics");
    if !place.is_usual(layout) {
        command.arg("--target-dir").arg(&place.target);
    }
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
    let programs = RefCell::new(BTreeMap::new());
    let read = |line: &str| programs.borrow_mut().extend(built_program(line));
    call(context, &mut command, task, &read)?;
    let programs = programs.into_inner();
    let program = |binary: String| {
        programs.get(&binary).cloned().ok_or_else(|| {
            let message = format!("cargo built no program `{binary}`");
            Failure::new(Exit::Binary, message)
                .hint("`path` of a cargo-build binary is a package with one program")
                .into()
        })
    };
    binaries.into_iter().map(program).collect()
}

/// Runs cargo in the checkout and fails if it fails.
fn call(
    context: &Context<'_>,
    command: &mut Command,
    task: &Task<'_>,
    read: &dyn Fn(&str),
) -> anyhow::Result<()> {
    command
        .current_dir(context.paths.root())
        .env("PATH", context.path());
    let (limit, cancel) = (context.limits.tool, &context.cancel);
    let detail = |line: &str| task.detail(line);
    let finished = tool::run_reading(command, limit, cancel, &detail, Some(read))?;
    if finished.success() {
        return Ok(());
    }
    let message = format!("cannot build {}: {}", task.label(), finished.report());
    let hint = limits::refused(&message)
        .unwrap_or_else(|| "correct what cargo says above, then run the command again".to_owned());
    Err(Failure::new(Exit::Binary, message).hint(hint).into())
}

/// Returns the name and path of a program, if the message of cargo reports one:
/// <https://doc.rust-lang.org/cargo/reference/external-tools.html#json-messages>.
fn built_program(line: &str) -> Option<(String, PathBuf)> {
    #[derive(Deserialize)]
    struct Message {
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let Message { target, executable } = serde_json::from_str(line).ok()?;
    let is_program = target.kind.iter().any(|kind| kind == "bin");
    Some((target.name, executable.filter(|_| is_program)?))
}

/// Returns the cargo that runs us, else the one on PATH.
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

fn install(freshness: &Freshness<'_>, guard: &Guard, built: Built<'_>) -> anyhow::Result<Record> {
    let file = guard.work().join("binary");
    copy(built.program, &file)?;
    let facts = Facts {
        version: None,
        source: Source::CargoBuild,
        origin: None,
        build: Some(freshness.describe(built)?),
    };
    let sha256 = digest::of_file(&file)?;
    guard.install(&file, sha256, facts)
}

/// A copy, not a hard link: later changes by cargo to its own file must not affect ours.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = fs::copy(from, to);
    copied.with_context(|| format!("cannot copy `{}`", from.display()))?;
    Ok(())
}
