//! `cargo xtask schema`.

use std::process::ExitCode;

use engine::Ctx;

use super::generate;
use crate::cli::Generate;

pub(crate) fn run(args: &Generate) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load(None)?;
    let path = ctx.paths.root().join("docs/service.schema.json");
    let text = format!(
        "{}\n",
        serde_json::to_string_pretty(kit::manifest::schema())?
    );
    generate(&ctx, &path, &text, args.check, "schema")?;
    Ok(ExitCode::SUCCESS)
}
