//! A command line that cannot be parsed: the parser's message, and where to read on.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;
use engine::base::ui::Ui;
use kit::Exit;

use super::Cli;

/// Prints the output of the parser: help or a version, or an error followed by a hint. `service` is
/// the service whose command was given.
pub(crate) fn refuse(error: &clap::Error, service: Option<&str>) -> ExitCode {
    // If the reader has closed the pipe, nothing can be reported.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let command = service.map_or_else(|| named(&words), |name| format!(" {name}"));
    Ui::new().line(format!("hint: cargo xtask{command} --help"));
    Exit::Usage.into()
}

/// The command that the arguments name, as far as it exists: ` dep fetch`.
fn named(words: &[OsString]) -> String {
    let mut command = Cli::command();
    let mut named = String::new();
    for word in words.iter().filter_map(|word| word.to_str()) {
        if let Some(next) = command.find_subcommand(word).cloned() {
            named.push(' ');
            named.push_str(word);
            command = next;
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_named() {
        for (line, expected) in [
            ("", ""),
            ("up --jsno", " up"),
            ("--instance b down --timeout 0", " down"),
            ("dep fetch --frobnicate", " dep fetch"),
            ("--frobnicate", ""),
        ] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(named(&words), expected, "{line}");
        }
    }
}
