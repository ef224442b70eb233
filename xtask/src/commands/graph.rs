//! `cargo xtask graph`.

use std::process::ExitCode;

use xtask::Ctx;
use xtask::inputs::Inputs;
use xtask::render::graph;

use super::print_json;
use crate::cli::{Graph, GraphFormat};

pub(crate) fn run(args: &Graph) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load()?;
    let stack = Inputs::load(&ctx)?.stack;
    let text = match args.format {
        _ if args.json => return document(&ctx, &stack),
        GraphFormat::Json => return document(&ctx, &stack),
        GraphFormat::Text => graph::text(&stack),
        GraphFormat::Mermaid => graph::mermaid(&stack),
        GraphFormat::Dot => graph::dot(&stack),
    };
    ctx.ui.data(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn document(ctx: &Ctx, stack: &xtask::stack::Stack) -> anyhow::Result<ExitCode> {
    print_json(ctx, &graph::document(stack))?;
    Ok(ExitCode::SUCCESS)
}
