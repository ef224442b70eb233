//! `cargo xtask` without arguments: every command, grouped by task.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use engine::base::ui::Ui;

use super::columns::width;
use crate::cli::Cli;

/// Commands by task, in the order of the output.
const TASKS: [(&str, &[&str]); 9] = [
    ("start and stop", &["up", "down", "reload"]),
    (
        "operate",
        &[
            "exec", "logs", "observe", "restart", "stop", "start", "signal", "attach",
        ],
    ),
    ("change", &["plan", "topology"]),
    (
        "inspect",
        &[
            "status", "ps", "doctor", "env", "ports", "explain", "graph", "open",
        ],
    ),
    ("back up", &["backup", "restore"]),
    ("clean up", &["clean"]),
    ("new services", &["init"]),
    ("binaries, CI and shells", &["dep", "ci-key", "completions"]),
    (
        "for contributors",
        &["ci", "render", "schema", "docs", "bench"],
    ),
];

/// The heading of commands without a task.
const OTHERS: &str = "more";

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    Ui::new().data(page().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn page() -> String {
    let cli = Cli::command();
    let about = cli.get_about().map(ToString::to_string);
    let mut text = format!("{}\n", about.unwrap_or_default());
    let listed = |name: &str| TASKS.iter().any(|(_, names)| names.contains(&name));
    let visible = || {
        cli.get_subcommands()
            .filter(|command| !command.is_hide_set())
    };
    let width = width(visible().map(clap::Command::get_name));
    let others: Vec<&str> = visible()
        .map(clap::Command::get_name)
        .filter(|name| !listed(name))
        .collect();
    let tasks = TASKS.iter().map(|(task, names)| (*task, *names));
    for (task, names) in tasks.chain([(OTHERS, others.as_slice())]) {
        let commands: Vec<&clap::Command> = names
            .iter()
            .filter_map(|name| cli.find_subcommand(name))
            .collect();
        if commands.is_empty() {
            continue;
        }
        add(&mut text, format_args!("\n{task}\n"));
        for command in commands {
            let about = command.get_about().map(ToString::to_string);
            let (name, about) = (command.get_name(), about.unwrap_or_default());
            add(&mut text, format_args!("  {name:width$}  {about}\n"));
        }
    }
    add(
        &mut text,
        format_args!(
            "\na single service\n  SERVICE spec|command|run\n\n\
             `cargo xtask COMMAND --help` has the options; docs/ has the rest\n"
        ),
    );
    text
}

fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more)
        .expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_shown_once_under_a_task() {
        let page = page();
        assert!(!page.contains(&format!("\n{OTHERS}\n")), "{page}");
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            let line = format!("\n  {} ", command.get_name());
            let expected = usize::from(!command.is_hide_set());
            assert_eq!(page.matches(&line).count(), expected, "{line}{page}");
        }
        for (_, names) in TASKS {
            for name in names {
                assert!(cli.find_subcommand(name).is_some(), "{name}");
            }
        }
    }
}
