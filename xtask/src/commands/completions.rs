//! `cargo xtask completions`, and the completion of names that its scripts call.

mod names;

use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use engine::Ctx;
use engine::base::ui::Ui;

use crate::cli::{Cli, Complete, Completions};
use names::World;

/// The name that is completed: docs/scripts.md shows the shell function of this name.
const NAME: &str = "xtask";

pub(crate) fn run(args: &Completions) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut visible(), NAME, &mut text);
    let mut text = String::from_utf8_lossy(&text).into_owned();
    text.push_str(match args.shell {
        Shell::Bash => include_str!("completions/names.bash"),
        Shell::Zsh => include_str!("completions/names.zsh"),
        Shell::Fish => include_str!("completions/names.fish"),
        // Only commands and options.
        _ => "",
    });
    Ui::new().data(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the command line without hidden parts, which the generators do not leave out.
fn visible() -> Command {
    let all = Cli::command();
    let mut visible = Command::new(NAME).version(env!("CARGO_PKG_VERSION"));
    visible = visible.args(all.get_arguments());
    visible.subcommands(
        all.get_subcommands()
            .filter(|command| !command.is_hide_set()),
    )
}

/// Prints names that can replace the last argument. A missing name is no error, nor is an
/// unreadable file.
pub(crate) fn complete(instance: Option<&str>, args: &Complete) -> anyhow::Result<ExitCode> {
    let Ok(ctx) = Ctx::quietly(instance.or_else(|| names::instance(&args.words))) else {
        return Ok(ExitCode::SUCCESS);
    };
    let names = names::candidates(&args.words, &World::new(&ctx.paths));
    if !names.is_empty() {
        ctx.ui.data(names.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hidden_command_is_completed() {
        let hidden = Cli::command();
        let hidden = hidden.get_subcommands().filter(|it| it.is_hide_set());
        let hidden: Vec<String> = hidden.map(|it| it.get_name().to_owned()).collect();
        assert!(hidden.len() > 1, "{hidden:?}");
        let mut text = Vec::new();
        clap_complete::generate(Shell::Bash, &mut visible(), NAME, &mut text);
        let text = String::from_utf8(text).unwrap();
        for name in hidden {
            assert!(!text.contains(&name), "{name}");
        }
        assert!(text.contains("ci-key") && text.contains("--instance"));
    }
}
