//! The lines of the values of a manifest, and the problems of a manifest.

use std::collections::BTreeMap;
use std::fmt;

/// One problem of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The key path: `process.env.NATS_HOST`, `binaries[0].name`. Empty for the whole file.
    pub path: String,
    /// The problem, as a fragment that follows the path.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "line {}: {}", self.line, self.message)
        } else {
            write!(f, "line {}: `{}` {}", self.line, self.path, self.message)
        }
    }
}

/// The line of each key path of a manifest.
#[derive(Debug, Clone, Default)]
pub struct Lines(BTreeMap<String, usize>);

impl Lines {
    pub(super) fn insert(&mut self, path: &str, line: usize) {
        self.0.insert(path.to_owned(), line);
    }

    /// Returns the line of `path`, or of the nearest value around it.
    pub fn of(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return *line;
            }
            let Some(end) = path.rfind(['.', '[']) else {
                return 1;
            };
            path = &path[..end];
        }
    }

    /// Creates a problem of the value at `path`.
    pub fn problem(&self, path: impl Into<String>, message: impl Into<String>) -> Problem {
        let path = path.into();
        Problem {
            line: self.of(&path),
            path,
            message: message.into(),
        }
    }
}
