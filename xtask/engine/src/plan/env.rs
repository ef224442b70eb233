//! The variables from which a stack is resolved, and where each comes from.
//!
//! PURE: `checkout::env` reads the process environment and `.env`. Must never show a value: an
//! error names the file and the line.

pub(crate) mod dotenv;
pub(crate) mod file;
pub(crate) mod value;

use std::collections::BTreeMap;

use value::Change;

/// Python buffers its output to a pipe up to 8 KiB, so the log of a running service would be empty.
/// Set to 1 unless the user has set it.
const UNBUFFERED: &str = "PYTHONUNBUFFERED";

/// Variables by name, each with its origin.
#[derive(Debug, Clone, Default)]
pub struct Env {
    pub(crate) vars: BTreeMap<String, (String, Origin)>,
    /// The entries of `.env`, in their order.
    pub(crate) dotenv: Vec<Entry>,
}

/// A line of `.env`, or of a file like it, without its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Its first line.
    pub(crate) line: usize,
    /// How the value was changed, if it is not what the line says.
    pub(crate) change: Option<Change>,
    /// The later line that gives another value to the name.
    pub(crate) replaced_by: Option<usize>,
}

/// Where a variable comes from.
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
    /// Adds the entries of `.env`, in their order: the last line of a name is used.
    pub(crate) fn add_dotenv(&mut self, lines: Vec<(Entry, String)>) {
        for (entry, value) in lines {
            self.vars
                .insert(entry.name.clone(), (value, Origin::DotEnv));
            self.dotenv.push(entry);
        }
    }

    /// Creates variables as if they came from the process.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entry =
            |(name, value): (&str, &str)| (name.to_owned(), (value.to_owned(), Origin::Process));
        Self {
            vars: pairs.into_iter().map(entry).collect(),
            dotenv: Vec::new(),
        }
    }

    /// Sets a variable as if it came from the process.
    pub fn set(&mut self, name: &str, value: &str) {
        self.set_by(Origin::Process, name, value);
    }

    /// Sets a variable that comes from `origin`.
    pub fn set_by(&mut self, origin: Origin, name: &str, value: &str) {
        self.vars
            .insert(name.to_owned(), (value.to_owned(), origin));
    }

    /// Returns the value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(|(value, _)| value.as_str())
    }

    /// Returns the value of a variable unless it is empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns where a variable comes from.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.vars.get(name).map(|(_, origin)| *origin)
    }

    /// Returns what every process of a stack receives besides its own variables.
    pub fn passed_on(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = kit::spawn::PASSED_VARIABLES.into_iter();
        let passed = names.filter_map(|name| Some((name, self.get(name)?)));
        let unbuffered = self.get(UNBUFFERED).unwrap_or("1");
        passed.chain([(UNBUFFERED, unbuffered)])
    }

    /// Returns all names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vars
            .iter()
            .map(|(name, (value, _))| (name.as_str(), value.as_str()))
    }
}
