//! Errors for users: one sentence, a hint, an exit code.
//!
//! Owns the list of exit codes (they are API: scripts branch on them) and the error type that
//! carries one. Must not print or exit: `main` does both, once.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// The longest line of a message, in characters: enough for a sentence with a few paths.
const LINE_CHARS_MAX: usize = 2000;
/// The most lines of a message: enough for all errors of some manifests.
const LINES_MAX: usize = 200;

/// The documented exit codes of every Core command. `docs/troubleshooting.md` explains each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// An error without a class of its own: a bug or a broken machine.
    Unexpected = 1,
    /// The command line cannot be understood (clap's own code).
    Usage = 2,
    /// The command needs a running stack and no stack is running.
    NotRunning = 3,
    /// The stack runs, but not every process is healthy.
    Unhealthy = 4,
    /// A manifest, the `.env` file or an environment variable is invalid.
    Invalid = 10,
    /// A declared port is held by another program.
    PortTaken = 11,
    /// A binary could not be obtained, built or verified.
    Binary = 12,
    /// A service exited or failed while it was being started.
    ServiceFailed = 13,
    /// A deadline passed.
    Timeout = 14,
    /// Another operation holds the lock of this instance, and waiting was not requested.
    Locked = 15,
    /// A reload failed and the previous state was restored.
    ReloadFailed = 16,
    /// A process of the instance still runs after `down`.
    Survivors = 17,
}

impl Exit {
    /// Returns every code, for documentation and tests.
    pub const ALL: [Self; 12] = [
        Self::Unexpected,
        Self::Usage,
        Self::NotRunning,
        Self::Unhealthy,
        Self::Invalid,
        Self::PortTaken,
        Self::Binary,
        Self::ServiceFailed,
        Self::Timeout,
        Self::Locked,
        Self::ReloadFailed,
        Self::Survivors,
    ];

    /// The number that the process exits with.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error meant for the user: what was tried, why it failed, what to do next.
///
/// The message is a lowercase fragment without a full stop; the hint is one command or one action.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
    subject: Option<String>,
    source: Option<anyhow::Error>,
}

impl Failure {
    /// Creates a failure of the class `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            subject: None,
            source: None,
        }
    }

    /// Adds a hint: what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the process that the failure is about.
    #[must_use]
    pub fn about(mut self, process: impl Into<String>) -> Self {
        self.subject = Some(process.into());
        self
    }

    /// Adds the error that caused the failure.
    #[must_use]
    pub fn source(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns its exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}

/// Returns the exit code of an error chain: of its first [`Failure`], else [`Exit::Unexpected`].
pub fn exit_of(error: &anyhow::Error) -> Exit {
    failure_of(error).map_or(Exit::Unexpected, Failure::exit)
}

/// Returns the hint of an error chain: that of its first [`Failure`].
pub fn hint_of(error: &anyhow::Error) -> Option<&str> {
    failure_of(error)?.hint.as_deref()
}

/// Returns the process that an error is about, if one of its failures names it.
pub fn subject_of(error: &anyhow::Error) -> Option<&str> {
    let mut failures = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Failure>());
    failures.find_map(|failure| failure.subject.as_deref())
}

/// Returns the text for stderr: `error: what: cause`, then `hint: what to do`, without a final
/// newline.
///
/// A message of several lines (all errors of a manifest) keeps them. Long texts are cut.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = bounded(&format!("error: {error:#}"));
    if let Some(hint) = hint_of(error) {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

/// Returns the text with long lines and surplus lines cut.
pub fn bounded(text: &str) -> String {
    let cut = |line: &str| match line.char_indices().nth(LINE_CHARS_MAX) {
        None => line.to_owned(),
        Some((end, _)) => {
            let more = line[end..].chars().count();
            format!("{} … ({more} more characters)", &line[..end])
        }
    };
    let count = text.lines().count();
    let mut lines: Vec<String> = text.lines().take(LINES_MAX).map(cut).collect();
    if count > LINES_MAX {
        lines.push(format!("… ({} more lines)", count - LINES_MAX));
    }
    lines.join("\n")
}

fn failure_of(error: &anyhow::Error) -> Option<&Failure> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn chain_is_printed_on_one_line_with_its_hint() {
        let error = anyhow::Error::new(
            Failure::new(Exit::PortTaken, "cannot start `nats`")
                .hint("cargo xtask down")
                .source(anyhow!("port 4222 is taken")),
        )
        .context("outer");
        assert_eq!(
            describe(&error),
            "error: outer: cannot start `nats`: port 4222 is taken\nhint: cargo xtask down"
        );
        assert_eq!(exit_of(&error), Exit::PortTaken);
    }

    #[test]
    fn what_a_user_wrote_is_repeated_within_bounds() {
        let long = anyhow!("`{}` is unknown", "ä".repeat(100_000)).context("outer");
        let text = describe(&long);
        assert!(text.starts_with("error: outer: `ä"), "{text:.40}");
        assert!(text.chars().count() < 2100, "{}", text.chars().count());
        assert!(text.ends_with(" more characters)"), "{text}");
        let many = anyhow!("{}", vec!["line"; 5000].join("\n"));
        let text = describe(&many);
        assert_eq!(text.lines().count(), LINES_MAX + 1);
        assert!(text.ends_with("… (4800 more lines)"), "{text}");
        let hint = Failure::new(Exit::Invalid, "x".repeat(9000)).hint("cargo xtask up");
        assert!(describe(&hint.into()).ends_with("\nhint: cargo xtask up"));
    }

    #[test]
    fn the_subject_is_found_behind_other_failures() {
        let inner = Failure::new(Exit::ServiceFailed, "`a` ended").about("a");
        let error: anyhow::Error = Failure::new(Exit::ReloadFailed, "no").source(inner).into();
        assert_eq!(subject_of(&error), Some("a"));
        assert_eq!(subject_of(&anyhow!("plain")), None);
    }

    #[test]
    fn failure_inside_a_context_keeps_its_code() {
        let result: anyhow::Result<()> = Err(Failure::new(Exit::Timeout, "late").into());
        let error = result.context("while waiting").unwrap_err();
        assert_eq!(exit_of(&error), Exit::Timeout);
        assert_eq!(exit_of(&anyhow!("plain")), Exit::Unexpected);
    }
}
