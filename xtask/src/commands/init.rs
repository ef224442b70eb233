//! `cargo xtask init`.

use std::process::ExitCode;

use clap::CommandFactory as _;
use engine::Ctx;
use xtask::init::{self, Wish};

use crate::cli::{Cli, Init};

pub(crate) fn run(args: &Init) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load(None)?;
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let wish = Wish {
        name: &args.name,
        wrapper: args.wrapper,
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
