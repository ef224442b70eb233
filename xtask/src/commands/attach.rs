//! `cargo xtask attach`.

use std::process::ExitCode;

use xtask::supervisor::view;
use xtask::{Ctx, life};

use crate::cli::Attach;

pub(crate) fn run(_: &Attach) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv()?;
    view::needs_terminal()?;
    life::must_run(&ctx)?;
    open(&ctx)
}

/// Becomes the view. Returns only an error.
pub(super) fn open(ctx: &Ctx) -> anyhow::Result<ExitCode> {
    ctx.ui
        .line("F10 leaves the view; the stack keeps running until `cargo xtask down`");
    match view::open(ctx)? {}
}
