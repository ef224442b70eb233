//! `cargo xtask ci-key`.

use std::process::ExitCode;

use engine::Ctx;
use xtask::dep;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load(None)?;
    ctx.ui.data(dep::cache_key(&ctx.paths, &ctx.env)?)?;
    Ok(ExitCode::SUCCESS)
}
