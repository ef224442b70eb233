//! Reads the variables a stack is resolved with: the process environment, then `.env`.
//!
//! Must never change our own environment or show a value: an error names the file and the line.

pub mod exposed;
pub(crate) mod files;
pub mod input;

use std::io;
use std::path::Path;
use std::time::Duration;

use kit::{Exit, Failure};

use crate::plan::env::{Entry, Env, Origin, dotenv};

/// How long the writer of a pipe may take: a password manager asks its user.
const WRITER_WAIT: Duration = Duration::from_secs(30);

/// How long the writer may take where a command also works without `.env`.
const SHORT_WRITER_WAIT: Duration = Duration::from_secs(2);

impl Env {
    /// Reads the process environment, and below it the `.env` file at `path`, which may be missing.
    /// Variables of the process that are not UTF-8 are left out: no placeholder can name them.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let mut env = Self::default();
        env.add_dotenv(read_dotenv(path)?);
        env.add_process();
        Ok(env)
    }

    /// Returns the process environment alone.
    pub fn of_process() -> Self {
        let mut env = Self::default();
        env.add_process();
        env
    }

    fn add_process(&mut self) {
        for (name, value) in std::env::vars_os() {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                self.vars.insert(name, (value, Origin::Process));
            }
        }
    }
}

/// Returns one variable of the `.env` file at `path`, even if other lines are invalid. Fails only
/// if the file cannot be read.
pub fn in_dotenv(path: &Path, name: &str) -> io::Result<Option<String>> {
    let text = match input::read_text(path, SHORT_WRITER_WAIT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let pairs = dotenvy::from_read_iter(text.trim_start_matches('\u{feff}').as_bytes());
    let values = pairs.flatten().filter(|(found, _)| found == name);
    Ok(values.last().map(|(_, value)| value))
}

fn read_dotenv(path: &Path) -> anyhow::Result<Vec<(Entry, String)>> {
    match input::read_text(path, WRITER_WAIT) {
        Ok(text) => dotenv::parse(&text, &|name| std::env::var_os(name).is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::new(Exit::Invalid, "cannot read `.env`")
            .hint("make `.env` a readable UTF-8 file, or remove it")
            .source(error)
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_variable_is_found_whatever_stands_around_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        assert_eq!(in_dotenv(&path, "A").unwrap(), None);
        std::fs::write(&path, "not a line\nA=1\nB C=2\nA=2\nbad again\n").unwrap();
        assert_eq!(in_dotenv(&path, "A").unwrap().as_deref(), Some("2"));
        assert_eq!(in_dotenv(&path, "C").unwrap(), None);
    }

    #[test]
    fn an_absent_file_is_silent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_dotenv(&dir.path().join(".env")).unwrap().is_empty());
    }
}
