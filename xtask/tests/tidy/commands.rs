//! A command line that a user is asked to run names the instance.
//!
//! Hints and fixes get it where they are printed (`xtask/engine/src/checkout/hints.rs`). Every
//! other one must come from `Paths::command`, and not be written out.

use crate::{Findings, text_files};

/// The start of such a line. Split, so that this file does not contain it.
const LINE: &str = concat!("cargo ", "xtask ");

/// Commands of one instance.
const OF_AN_INSTANCE: [&str; 21] = [
    "up", "down", "reload", "plan", "status", "observe", "doctor", "logs", "restart", "stop",
    "start", "signal", "attach", "topology", "backup", "restore", "env", "ports", "explain",
    "open", "clean",
];

/// Words near a hint or a fix.
const HINTS: [&str; 4] = ["hint", "fix(", "FIX", "START"];
/// Number of lines above that are searched for them: chains of calls have several lines.
const ABOVE: usize = 4;

/// Places that name a command and no line to run, or know no instance.
const EXCEPTIONS: [&str; 10] = [
    // The manual.
    "xtask/src/cli",
    "xtask/src/commands/docs.rs",
    // Titles.
    "xtask/src/commands/ci.rs",
    "xtask/src/bench/",
    // The source of lines.
    "xtask/engine/src/checkout/hints.rs",
    "xtask/engine/src/checkout/paths.rs",
    // The holder of a lock.
    "xtask/engine/src/supervisor/operation.rs",
    "xtask/engine/src/supervisor/fake/",
    // A new service belongs to every instance.
    "xtask/src/init/",
    "xtask/src/load/",
];

#[test]
fn what_is_no_hint_names_the_instance_by_itself() {
    let mut findings = Findings::default();
    for file in text_files() {
        let is_product = file.is_product();
        let is_test = file.path.contains("/tests");
        let is_exception = EXCEPTIONS.iter().any(|place| file.path.starts_with(place));
        if !is_product || is_test || is_exception {
            continue;
        }
        let lines: Vec<&str> = file.text.lines().collect();
        let product = lines.iter().take_while(|line| !line.contains("cfg(test)"));
        for (index, line) in product.enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            let near = &lines[index.saturating_sub(ABOVE)..=index];
            let is_hint = near
                .iter()
                .any(|line| HINTS.iter().any(|word| line.contains(word)));
            if is_comment || is_hint || !is_written_out(line) {
                continue;
            }
            let at = format!("{}:{}", file.path, index + 1);
            findings.add(at, "names no instance: use `Paths::command`");
        }
    }
    findings.finish();
}

/// Whether a line of source contains a command of an instance.
fn is_written_out(line: &str) -> bool {
    line.split(LINE).skip(1).any(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase());
        !rest.contains("--instance") && OF_AN_INSTANCE.contains(&&rest[..end.unwrap_or(rest.len())])
    })
}

#[test]
fn a_command_that_is_written_out_is_found() {
    for (text, expected) in [
        ("say `{}up`", true),
        ("{}status", true),
        ("{}ps --all", false),
        ("{}up --instance b", false),
        ("{}upgrade", false),
        ("up", false),
    ] {
        assert_eq!(
            is_written_out(&text.replace("{}", LINE)),
            expected,
            "{text}"
        );
    }
}
