//! Hints: a line of a command that a user is told to run names the instance that the failed one was
//! about, wherever in the code the hint was written, in the services' shared code too.
//!
//! Owns where the option goes into a text. What is no hint is written with `Paths::command`.

use std::sync::OnceLock;

use crate::checkout::paths::Paths;

/// What begins every line of a command.
const COMMAND: &str = "cargo xtask ";
/// The option.
const OPTION: &str = "--instance";
/// Commands that are about no instance, or about all of them.
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

/// The instance that this command is about, once that is known.
static SUBJECT: OnceLock<Option<String>> = OnceLock::new();

/// Notes what this command is about. The first one counts: a command is about one instance.
pub(crate) fn note(paths: &Paths) {
    let name = (!paths.is_default()).then(|| paths.instance().to_owned());
    // That it is known already is the usual case.
    let _ = SUBJECT.set(name);
}

/// The text for stderr of an error of this command.
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

/// A hint or a fix in which every line of a command names the instance of this command.
pub fn complete(text: &str) -> String {
    match SUBJECT.get() {
        Some(Some(name)) => naming(text, name),
        _ => text.to_owned(),
    }
}

/// The text with the option at the end of every line of a command that lacks it.
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

/// Where a line of a command ends that stands in a sentence.
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
