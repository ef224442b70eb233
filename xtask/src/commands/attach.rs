//! `cargo xtask attach`.

use std::process::ExitCode;

use engine::Ctx;
use engine::operations::life;
use xtask::attach;

use crate::cli::Attach;

pub(crate) fn run(instance: Option<&str>, _: &Attach) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    attach::needs_terminal()?;
    life::must_run(&ctx)?;
    open(&ctx)
}

/// Replaces this process by the view. Returns only an error.
pub(super) fn open(ctx: &Ctx) -> anyhow::Result<ExitCode> {
    let down = ctx.paths.command("down");
    ctx.ui.line(format!(
        "F10 leaves the view; the stack keeps running until `{down}`"
    ));
    match attach::open(ctx)? {}
}
