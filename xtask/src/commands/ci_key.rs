//! `cargo xtask ci-key`.

use std::process::ExitCode;

use xtask::{Ctx, dep};

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load()?;
    ctx.ui.data(dep::cache_key(&ctx.paths, &ctx.env)?)?;
    Ok(ExitCode::SUCCESS)
}
