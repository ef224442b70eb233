//! Selects the lines of a log that say why a process failed: the last ones, and the first that
//! reports a failure. A runtime prints its stack after the reason, so the last lines alone hide it.
//!
//! Pure. Only adds lines: a line that merely looks like a failure removes nothing from the output.

use std::collections::VecDeque;

/// Lines that are shown from the decisive one on: many runtimes name the failure in one line and
/// its place or its reason in the next ones.
const DECISIVE_LINES: usize = 3;

/// The mark between the decisive lines and the last ones if lines were left out.
const GAP: &str = "\n  | ...";

/// What a runtime prints when it aborts: Go, Rust, Python, Java, Node.js, C++.
const CRASHES: [&str; 8] = [
    "panic:",
    "panicked at",
    "fatal",
    "traceback (most recent call last)",
    "exception",
    "uncaught",
    "terminate called",
    "segmentation fault",
];

/// Receives lines one by one and keeps the important ones.
#[derive(Debug)]
pub(super) struct LastWords {
    limit: usize,
    seen: usize,
    last: VecDeque<String>,
    crash: Decisive,
    error: Decisive,
}

/// The first line of a kind, and the lines after it.
#[derive(Debug, Default)]
struct Decisive {
    /// The number of the first line.
    at: usize,
    lines: Vec<String>,
}

impl Decisive {
    fn see(&mut self, number: usize, line: &str, is_decisive: impl Fn(&str) -> bool) {
        if self.lines.is_empty() {
            if !is_decisive(line) {
                return;
            }
            self.at = number;
        }
        if self.lines.len() < DECISIVE_LINES {
            self.lines.push(line.to_owned());
        }
    }
}

impl LastWords {
    /// Creates a collector that keeps the last `limit` lines.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            seen: 0,
            last: VecDeque::with_capacity(limit),
            crash: Decisive::default(),
            error: Decisive::default(),
        }
    }

    /// Adds the next line.
    pub(super) fn push(&mut self, line: String) {
        self.crash.see(self.seen, &line, is_crash);
        self.error.see(self.seen, &line, is_error);
        self.seen += 1;
        if self.last.len() == self.limit {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Returns the lines to print, each after a line break.
    pub(super) fn told(&self) -> String {
        let hidden = self.seen - self.last.len();
        // A crash is final; an error before it may have been harmless.
        let decisive = if self.crash.lines.is_empty() {
            &self.error
        } else {
            &self.crash
        };
        let shown = hidden.saturating_sub(decisive.at).min(decisive.lines.len());
        let mut told = String::new();
        for line in &decisive.lines[..shown] {
            told.push_str("\n  | ");
            told.push_str(line);
        }
        if shown > 0 && decisive.at + shown < hidden {
            told.push_str(GAP);
        }
        for line in &self.last {
            told.push_str("\n  | ");
            told.push_str(line);
        }
        told
    }
}

fn is_crash(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    CRASHES.iter().any(|word| line.contains(word)) || has_named_error(&line)
}

/// Whether the line has an error name and a colon: `SyntaxError: ...`, `ModuleNotFoundError: ...`.
fn has_named_error(line: &str) -> bool {
    line.match_indices("error:").any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_some_and(char::is_alphanumeric)
    })
}

/// Whether the line has the word `error`, but not `errors`, since it may report 0 of them.
fn is_error(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.match_indices("error").any(|(at, word)| {
        let after = line[at + word.len()..].chars().next();
        after.is_none_or(|char| !char.is_alphanumeric() && char != '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str], limit: usize) -> String {
        let mut words = LastWords::new(limit);
        for line in lines {
            words.push((*line).to_owned());
        }
        words.told()
    }

    #[test]
    fn the_reason_stands_before_the_stack_that_hides_it() {
        let go = [
            "starting",
            "panic: failed to run hook.js",
            " - Line 3:12",
            "",
            "goroutine 1",
        ];
        assert_eq!(
            told(&[&go[..], &["a()", "b()", "c()"]].concat(), 2),
            "\n  | panic: failed to run hook.js\n  |  - Line 3:12\n  | \n  | ...\n  | b()\n  | c()"
        );
        for reason in [
            "thread 'main' panicked at src/main.rs:1:2:",
            "Traceback (most recent call last):",
            "Exception in thread \"main\" java.lang.Error",
            "SyntaxError: Unexpected token",
            "fatal error: runtime: out of memory",
            "error: no such table",
            "[ERROR] no such table",
        ] {
            let told = told(&["begin", reason, "1", "2", "3", "4", "5", "6"], 2);
            assert!(told.starts_with(&format!("\n  | {reason}\n")), "{told}");
            assert!(told.ends_with("\n  | ...\n  | 5\n  | 6"), "{told}");
        }
    }

    #[test]
    fn nothing_is_told_twice_and_nothing_is_left_out_between() {
        let crash = "panic: x";
        assert_eq!(told(&[crash, "1"], 2), "\n  | panic: x\n  | 1");
        assert_eq!(told(&[crash, "1", "2"], 2), "\n  | panic: x\n  | 1\n  | 2");
        let four = told(&[crash, "1", "2", "3", "4"], 2);
        assert_eq!(four, "\n  | panic: x\n  | 1\n  | 2\n  | 3\n  | 4");
        assert_eq!(told(&["a", "b", "c"], 2), "\n  | b\n  | c");
        assert_eq!(told(&[], 2), "");
    }

    #[test]
    fn a_crash_counts_more_than_an_error_before_it() {
        let told = told(
            &[
                "error: retrying",
                "x",
                "x",
                "x",
                "panic: y",
                "1",
                "2",
                "3",
                "4",
            ],
            1,
        );
        assert!(told.starts_with("\n  | panic: y\n"), "{told}");
        assert!(!told.contains("retrying"), "{told}");
    }

    #[test]
    fn what_only_counts_errors_is_none() {
        for line in ["0 errors", "error_log is x", "mirrored"] {
            assert!(!is_error(line) && !is_crash(line), "{line}");
        }
    }
}
