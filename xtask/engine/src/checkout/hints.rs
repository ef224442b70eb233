//! Hints: a command line that a user is advised to run names the instance of the failed command,
//! wherever in the code the hint was written, also in the services' shared code.
//!
//! Owns where the option goes in a text. Texts that are not hints use `Paths::command`.

use std::sync::OnceLock;

use crate::checkout::paths::Paths;

/// The prefix of every command line.
const COMMAND: &str = "cargo xtask ";
/// The option that names the instance.
const OPTION: &str = "--instance";
/// Commands that concern no instance, or all of them.
const OF_NO_INSTANCE: [&str; 9] = [
    "bench",
    "ci",
    "ci-key",
    "completions",
    "dep",
    "docs",
    "init",
    "ps",
    "schema",
];

/// The instance that this command concerns, once it is known.
static SUBJECT: OnceLock<Option<String>> = OnceLock::new();

/// Records the instance of this command. Only the first call counts: a command has one instance.
pub(crate) fn note(paths: &Paths) {
    let name = (!paths.is_default()).then(|| paths.instance().to_owned());
    // Usually it is known already.
    let _ = SUBJECT.set(name);
}

/// Returns the text for stderr of an error of this command.
pub fn describe(error: &anyhow::Error) -> String {
    let text = kit::failure::describe(error);
    let Some(hint) = kit::failure::hint_of(error) else {
        return text;
    };
    match text.strip_suffix(hint) {
        Some(message) => format!("{message}{}", complete(hint)),
        None => text,
    }
}

/// Returns a hint or a fix in which every command line names the instance of this command.
pub fn complete(text: &str) -> String {
    match SUBJECT.get() {
        Some(Some(name)) => naming(text, name),
        _ => text.to_owned(),
    }
}

/// Adds the option to the end of every command line in the text that lacks it.
fn naming(text: &str, instance: &str) -> String {
    let mut pieces = text.split(COMMAND);
    let mut all = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (line, rest) = piece.split_at(end_of_line(piece));
        let word = line.split(' ').next().unwrap_or_default();
        all.push_str(COMMAND);
        all.push_str(line);
        if !line.contains(OPTION) && !OF_NO_INSTANCE.contains(&word) {
            all.extend([" ", OPTION, " ", instance]);
        }
        all.push_str(rest);
    }
    all
}

/// Returns where a command line within a sentence ends.
fn end_of_line(text: &str) -> usize {
    let ends = ["`", "\n", ", ", ": ", "; ", " (", ". "];
    let ends = ends.iter().filter_map(|end| text.find(end));
    ends.min().unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::naming;

    #[test]
    fn every_line_of_a_command_names_the_instance() {
        for (hint, expected) in [
            ("cargo xtask up", "cargo xtask up --instance b"),
            (
                "cargo xtask down, then cargo xtask up: it puts that right",
                "cargo xtask down --instance b, then cargo xtask up --instance b: it puts that \
                 right",
            ),
            (
                "start it with `cargo xtask topology set nats --leaf nrt,lhr`, or not",
                "start it with `cargo xtask topology set nats --leaf nrt,lhr --instance b`, or not",
            ),
            ("cargo xtask up --instance b", "cargo xtask up --instance b"),
            (
                "see `cargo xtask ps --all` (all of them)",
                "see `cargo xtask ps --all` (all of them)",
            ),
            ("cargo xtask dep fetch", "cargo xtask dep fetch"),
            ("no command", "no command"),
        ] {
            assert_eq!(naming(hint, "b"), expected);
        }
    }
}
