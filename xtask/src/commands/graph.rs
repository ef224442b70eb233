//! `cargo xtask graph`.

use std::process::ExitCode;

use engine::Ctx;
use engine::operations::inputs::Inputs;
use engine::plan::render::graph;

use super::print_json;
use crate::cli::{Graph, GraphFormat};

pub(crate) fn run(instance: Option<&str>, args: &Graph) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load(instance)?;
    let stack = Inputs::load(&ctx)?.stack;
    let text = match args.format {
        _ if args.json => return print_json(&ctx, &graph::document(&stack)),
        GraphFormat::Json => return print_json(&ctx, &graph::document(&stack)),
        GraphFormat::Text => graph::text(&stack),
        GraphFormat::Mermaid => graph::mermaid(&stack),
        GraphFormat::Dot => graph::dot(&stack),
    };
    ctx.ui.data(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
