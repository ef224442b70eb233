//! `cargo xtask init`.

use std::process::ExitCode;

use clap::CommandFactory as _;
use engine::Ctx;
use xtask::init::{self, Kind, Wish};

use crate::cli::{Cli, Init, Template};

pub(crate) fn run(args: &Init) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load(None)?;
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let wish = Wish {
        name: &args.name,
        kind: kind(args),
        port: args.port,
        commands: &commands,
    };
    let written = init::init(&ctx, &wish)?;
    for file in &written.files {
        ctx.ui.data(file)?;
    }
    for step in &written.next {
        ctx.ui.line(step);
    }
    Ok(ExitCode::SUCCESS)
}

fn kind(args: &Init) -> Kind {
    match args.template {
        Some(Template::Vite) => Kind::Vite,
        Some(Template::Axum) => Kind::Axum,
        Some(Template::Python) => Kind::Python,
        None if args.wrapper => Kind::Wrapper,
        None => Kind::Manifest,
    }
}
