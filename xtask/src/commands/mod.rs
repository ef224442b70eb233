//! One file per command: the tree is the help text.

pub(crate) mod attach;
pub(crate) mod backup;
pub(crate) mod bench;
mod ci;
pub(crate) mod ci_key;
pub(crate) mod clean;
mod columns;
pub(crate) mod completions;
pub(crate) mod dep;
pub(crate) mod docs;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod env;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod graph;
pub(crate) mod init;
pub(crate) mod life;
pub(crate) mod logs;
mod nats;
pub(crate) mod observe;
pub(crate) mod open;
pub(crate) mod overview;
pub(crate) mod plan;
pub(crate) mod ports;
pub(crate) mod probe;
pub(crate) mod ps;
pub(crate) mod render;
pub(crate) mod schema;
pub(crate) mod service;
pub(crate) mod stages;
pub(crate) mod status;
pub(crate) mod topology;
pub(crate) mod up;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use engine::Ctx;
use engine::base::interrupt::Interrupt;
use engine::supervisor::operation::{Operation, Wait};
use kit::{Exit, Failure};
use serde::Serialize;

use crate::cli::FetchOptions;

/// How long a command waits for another one on the same stack. Longer than any of them should take,
/// so that only a hanging command times out.
const LOCK_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(10);

impl From<&FetchOptions> for xtask::dep::Options {
    fn from(options: &FetchOptions) -> Self {
        Self {
            offline: options.offline,
            locked: options.locked,
            system: options.system,
        }
    }
}

fn lock_wait(no_wait: bool) -> Wait {
    if no_wait {
        Wait::No
    } else {
        Wait::For(LOCK_TIMEOUT)
    }
}

/// Takes the operation lock for a command that a signal may end at any point.
fn begin(ctx: &Ctx, command: &str, wait: Wait) -> anyhow::Result<Operation> {
    Operation::begin(&ctx.paths, &ctx.ui, command, wait, &Interrupt::default())
}

/// Prints a document, which ends most commands that do.
fn print_json(ctx: &Ctx, value: &impl Serialize) -> anyhow::Result<ExitCode> {
    ctx.ui.data(serde_json::to_string_pretty(value)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints rows in columns; the last one is not padded.
fn print_rows(ctx: &Ctx, rows: &[Vec<String>]) -> anyhow::Result<()> {
    let mut lines = columns::aligned(rows).into_iter();
    lines.try_for_each(|line| ctx.ui.data(line))
}

/// Writes a generated file, or with `check` reports how to when it is out of date.
fn generate(ctx: &Ctx, path: &Path, text: &str, check: bool, command: &str) -> anyhow::Result<()> {
    let shown = path
        .strip_prefix(ctx.paths.root())
        .unwrap_or(path)
        .display();
    if !check {
        if kit::files::write_if_changed(path, text.as_bytes(), 0o644)? {
            ctx.ui.line(format!("wrote {shown}"));
        }
        return Ok(());
    }
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let failure = Failure::new(Exit::Unexpected, format!("`{shown}` is out of date"));
    Err(failure.hint(format!("cargo xtask {command}")).into())
}
