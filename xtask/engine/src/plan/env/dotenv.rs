//! PURE: parses the lines of `.env` and records how the parser changed each value.
//!
//! Must not show a value or read a file.

use std::cell::Cell;
use std::io::{self, Read};

use kit::{Exit, Failure};

use super::Entry;
use super::value::{self, Names};

/// Parses the text of `.env` as [`lines`] does.
pub(crate) fn parse(
    text: &str,
    is_set: &dyn Fn(&str) -> bool,
) -> anyhow::Result<Vec<(Entry, String)>> {
    lines(text, is_set).map_err(|line| {
        let message = format!("cannot parse `.env`: line {line} is not `NAME=value`");
        let failure = Failure::new(Exit::Invalid, message);
        failure
            .hint("put values with spaces, `#` or `$` into single quotes: NAME='a value'")
            .into()
    })
}

/// Parses lines `NAME=value`; `is_set` says which variables the environment has. The error is the
/// number of an invalid line: dotenvy's own error shows the whole line and so the secret.
pub(crate) fn lines(
    text: &str,
    is_set: &dyn Fn(&str) -> bool,
) -> Result<Vec<(Entry, String)>, usize> {
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
        let (name, value) = pair.map_err(|_| number.get())?;
        // The parser skipped empty lines and comments.
        let passed = lines[before..]
            .iter()
            .take_while(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#'));
        let first = before + passed.count();
        let last = number.get().clamp(first, lines.len());
        let raw = lines[first..last].join("\n");
        let raw = raw.split_once('=').map_or("", |(_, raw)| raw);
        let names = Names {
            above: &|name| entries.iter().any(|(entry, _)| entry.name == name),
            environment: is_set,
        };
        let entry = Entry {
            change: value::change(raw, &value, &names),
            name,
            line: first + 1,
            replaced_by: None,
        };
        replace(&mut entries, &entry, &value);
        entries.push((entry, value));
    }
}

/// Notes that earlier lines have no effect if a later one gives another value to their name.
fn replace(entries: &mut [(Entry, String)], by: &Entry, value: &str) {
    let before = entries
        .iter_mut()
        .filter(|(entry, _)| entry.name == by.name);
    let mut before: Vec<_> = before.collect();
    if before.last().is_some_and(|(_, last)| last != value) {
        for (entry, _) in &mut before {
            entry.replaced_by.get_or_insert(by.line);
        }
    }
}

/// Returns one line per read, so that `number` is the line that the parser has reached.
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

    fn parse_dotenv(text: &str) -> anyhow::Result<Vec<(Entry, String)>> {
        parse(text, &|name| std::env::var_os(name).is_some())
    }

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
}
