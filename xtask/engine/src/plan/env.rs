//! The variables a stack is resolved with, and where each came from.
//!
//! PURE: who reads the process environment and `.env` is `checkout::env`. Must never show a value:
//! an error names the file and the line.

pub(crate) mod dotenv;
pub(crate) mod value;

use std::collections::BTreeMap;

use value::Change;

/// Python keeps what it prints to a pipe until there are 8 KiB of it, so that a log would be empty
/// while its service runs. Set to 1 unless the user has set it.
const UNBUFFERED: &str = "PYTHONUNBUFFERED";

/// Variables by name, with where each came from.
#[derive(Debug, Clone, Default)]
pub struct Env {
    pub(crate) vars: BTreeMap<String, (String, Origin)>,
    /// What `.env` says, in its order.
    pub(crate) dotenv: Vec<Entry>,
}

/// A line of `.env`, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Its first line.
    pub(crate) line: usize,
    /// What became of the value, if that is not what the line says.
    pub(crate) change: Option<Change>,
    /// The line that gives another value to the name, further down.
    pub(crate) replaced_by: Option<usize>,
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
    /// Adds what `.env` says, in its order: the last line of a name counts.
    pub(crate) fn add_dotenv(&mut self, lines: Vec<(Entry, String)>) {
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
