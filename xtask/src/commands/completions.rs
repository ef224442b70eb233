//! `cargo xtask completions`.

use std::process::ExitCode;

use clap::CommandFactory as _;
use xtask::ui::Ui;

use crate::cli::{Cli, Completions};

/// The name that is completed: docs/scripts.md shows the shell function of this name.
const NAME: &str = "xtask";

pub(crate) fn run(args: &Completions) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, NAME, &mut text);
    Ui::new().data(String::from_utf8_lossy(&text).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
