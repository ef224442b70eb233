//! The variables a stack is resolved with: the process environment, then `.env`.
//!
//! Owns reading `.env`. Must never change our own environment, and never show a value: an error
//! names the file and the line.

pub mod doubts;
pub(crate) mod exposed;
pub mod input;
mod value;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use kit::{Exit, Failure};

use value::{Change, Names};

/// How long what stands in for a file may take to be written: a password manager asks its user.
const WRITER_WAIT: Duration = Duration::from_secs(30);

/// The same where a command works without it.
const SHORT_WRITER_WAIT: Duration = Duration::from_secs(2);

/// Python keeps what it prints to a pipe until there are 8 KiB of it, so that a log would be empty
/// while its service runs. Set to 1 unless the user has set it.
const UNBUFFERED: &str = "PYTHONUNBUFFERED";

/// Variables by name, with where each came from.
#[derive(Debug, Clone, Default)]
pub struct Env {
    vars: BTreeMap<String, (String, Origin)>,
    /// What `.env` says, in its order.
    dotenv: Vec<Entry>,
}

/// A line of `.env`, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    /// Its first line.
    line: usize,
    /// What became of the value, if that is not what the line says.
    change: Option<Change>,
    /// The line that gives another value to the name, further down.
    replaced_by: Option<usize>,
}

/// Where a variable came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The environment of the command.
    Process,
    /// The `.env` file.
    DotEnv,
    /// The machine's register of instances: a port that is leased.
    Lease,
}

impl Env {
    /// The process environment over the `.env` file at `path`, which may be absent.
    /// Variables of the process that are not UTF-8 are left out: no placeholder can name them.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let mut env = Self::default();
        env.add_dotenv(read_dotenv(path)?);
        env.add_process();
        Ok(env)
    }

    fn add_dotenv(&mut self, lines: Vec<(Entry, String)>) {
        for (entry, value) in lines {
            let before = self.vars.get(&entry.name);
            if before.is_some_and(|(before, _)| *before != value) {
                let others = self.dotenv.iter_mut();
                for other in others.filter(|other| other.name == entry.name) {
                    other.replaced_by.get_or_insert(entry.line);
                }
            }
            self.vars
                .insert(entry.name.clone(), (value, Origin::DotEnv));
            self.dotenv.push(entry);
        }
    }

    /// The process environment alone.
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

    /// Variables given directly, as if they came from the process.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entry =
            |(name, value): (&str, &str)| (name.to_owned(), (value.to_owned(), Origin::Process));
        Self {
            vars: pairs.into_iter().map(entry).collect(),
            dotenv: Vec::new(),
        }
    }

    /// Gives a variable a value, as if it came from the process.
    pub fn set(&mut self, name: &str, value: &str) {
        self.set_by(Origin::Process, name, value);
    }

    /// Gives a variable a value that comes from `origin`.
    pub fn set_by(&mut self, origin: Origin, name: &str, value: &str) {
        self.vars
            .insert(name.to_owned(), (value.to_owned(), origin));
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(|(value, _)| value.as_str())
    }

    /// The value of a variable unless it is empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Where a variable came from.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.vars.get(name).map(|(_, origin)| *origin)
    }

    /// What every process of a stack gets besides its own variables.
    pub fn passed_on(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = kit::spawn::PASSED_VARIABLES.into_iter();
        let passed = names.filter_map(|name| Some((name, self.get(name)?)));
        let unbuffered = self.get(UNBUFFERED).unwrap_or("1");
        passed.chain([(UNBUFFERED, unbuffered)])
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vars
            .iter()
            .map(|(name, (value, _))| (name.as_str(), value.as_str()))
    }
}

/// The value of one variable in the `.env` file at `path`, as far as that can be read: for what
/// must work whatever else it holds. An error only when nothing is known of it.
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
        Ok(text) => parse_dotenv(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::new(Exit::Invalid, "cannot read `.env`")
            .hint("make `.env` a readable UTF-8 file, or remove it")
            .source(error)
            .into()),
    }
}

/// Parses the text of a `.env` file. dotenvy's own error shows the whole line and so the secret:
/// only the number of the line is kept.
fn parse_dotenv(text: &str) -> anyhow::Result<Vec<(Entry, String)>> {
    // Text written on Windows may begin with a byte order mark, which dotenvy refuses.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let number = Cell::new(0);
    let mut pairs = dotenvy::from_read_iter(Lines {
        rest: text.as_bytes(),
        number: &number,
    });
    let lines: Vec<&str> = text.lines().collect();
    let mut entries: Vec<(Entry, String)> = Vec::new();
    loop {
        let before = number.get();
        let Some(pair) = pairs.next() else {
            return Ok(entries);
        };
        let (name, value) = pair.map_err(|_| {
            let line = number.get();
            let message = format!("cannot parse `.env`: line {line} is not `NAME=value`");
            Failure::new(Exit::Invalid, message)
                .hint("put values with spaces, `#` or `$` into single quotes: NAME='a value'")
        })?;
        // Empty lines and comments were passed over.
        let passed = lines[before..]
            .iter()
            .take_while(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#'));
        let first = before + passed.count();
        let last = number.get().clamp(first, lines.len());
        let raw = lines[first..last].join("\n");
        let raw = raw.split_once('=').map_or("", |(_, raw)| raw);
        let names = Names {
            above: &|name| entries.iter().any(|(entry, _)| entry.name == name),
            environment: &|name| std::env::var_os(name).is_some(),
        };
        let entry = Entry {
            change: value::change(raw, &value, &names),
            name,
            line: first + 1,
            replaced_by: None,
        };
        entries.push((entry, value));
    }
}

/// Hands out one line a read, so that `number` is the line the parser has come to.
struct Lines<'a> {
    rest: &'a [u8],
    number: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self
            .rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(self.rest.len(), |n| n + 1);
        let length = line.min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest = &self.rest[length..];
        if length > 0 && length == line {
            self.number.set(self.number.get() + 1);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_in_order() {
        let text = "\u{feff}# c\nA=1\r\n\nexport B='x $y'\nC='two\nlines'\nD=$A";
        let pairs = parse_dotenv(text).unwrap();
        let pairs: Vec<(&str, usize, &str)> = pairs
            .iter()
            .map(|(entry, value)| (&*entry.name, entry.line, &**value))
            .collect();
        let expected = [
            ("A", 2, "1"),
            ("B", 4, "x $y"),
            ("C", 5, "two\nlines"),
            ("D", 7, "1"),
        ];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn a_bad_line_is_named_and_its_value_is_not_shown() {
        for (text, line) in [
            ("A=1\nSECRET word\n", 2),
            ("A=1\n\nB-C=secret\nX=1", 3),
            ("A='two\nlines'\nPASS=secret word", 3),
        ] {
            let error = parse_dotenv(text).unwrap_err();
            let told = kit::failure::describe(&error);
            assert!(told.contains(&format!("line {line} ")), "{text:?}: {told}");
            assert!(
                !told.contains("secret") && !told.contains("SECRET"),
                "{told}"
            );
            assert_eq!(kit::failure::exit_of(&error), Exit::Invalid);
        }
    }

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
