//! Which lines are shown, and in which format.

use std::collections::VecDeque;
use std::io::{self, Write};

use memchr::memmem::Finder;
use regex_lite::Regex;

use crate::level::Level;
use crate::line::{Line, Stream};
use crate::{literal, text};

/// Bytes of one write.
const BLOCK: usize = 128 * 1024;

/// Colours of names on a terminal, in turn.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines with the process as a prefix.
    Plain {
        /// Whether the names are coloured.
        colours: bool,
    },
    /// One JSON object per line.
    Json {
        /// The version in each object.
        schema_version: u32,
    },
}

/// The lines that are shown: those that match all criteria.
#[derive(Debug, Default)]
pub struct Filter {
    /// Only lines since this time, in milliseconds since the Unix epoch. A line without a time is
    /// as old as the line before it, and new when there is none.
    pub since: Option<i64>,
    /// Only lines of at least this level.
    pub level: Option<Level>,
    /// Only lines whose text matches.
    pub grep: Option<Regex>,
}

impl Filter {
    /// Whether every line is shown.
    pub fn is_empty(&self) -> bool {
        self.since.is_none() && self.level.is_none() && self.grep.is_none()
    }
}

/// Formats and writes lines.
#[derive(Debug)]
pub struct Show {
    sources: Vec<Shown>,
    format: Format,
    filter: Filter,
    /// What every text has that the expression matches, as far as that is known.
    literal: Option<Finder<'static>>,
    /// Whether the expression is nothing but that.
    is_literal: bool,
    /// The last lines, when only so many are shown.
    last: Option<(usize, VecDeque<Vec<u8>>)>,
    buffer: Vec<u8>,
}

/// The state of a source.
#[derive(Debug)]
struct Shown {
    /// The prefix of each line, up to the parts that change from line to line.
    prefix: Vec<u8>,
    time: Option<i64>,
    level: Level,
}

impl Show {
    /// Shows the lines of `processes`, in the order of their sources; only the `last` ones of all
    /// if requested.
    pub fn new(processes: &[String], format: Format, filter: Filter, last: Option<usize>) -> Self {
        let width = processes.iter().map(String::len).max().unwrap_or(0);
        let shown = |(index, name): (usize, &String)| Shown {
            prefix: prefix(format, index, name, width),
            time: None,
            level: Level::Info,
        };
        let pattern = filter.grep.as_ref().map(Regex::as_str);
        let literal = pattern.and_then(literal::required);
        Self {
            sources: processes.iter().enumerate().map(shown).collect(),
            format,
            is_literal: literal.as_deref() == pattern,
            literal: literal.map(|literal| Finder::new(&literal).into_owned()),
            filter,
            last: last.map(|lines| (lines, VecDeque::new())),
            buffer: Vec::with_capacity(2 * BLOCK),
        }
    }

    /// Adds a source.
    pub fn add(&mut self, process: &str) {
        let shown = Shown {
            prefix: prefix(self.format, self.sources.len(), process, process.len()),
            time: None,
            level: Level::Info,
        };
        self.sources.push(shown);
    }

    /// Processes a line of a source.
    pub(crate) fn line(
        &mut self,
        source: usize,
        bytes: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let line = Line::parse(bytes);
        if !self.is_wanted(source, &line) {
            return Ok(());
        }
        match &mut self.last {
            None => {
                append(
                    &mut self.buffer,
                    self.format,
                    &self.sources[source].prefix,
                    &line,
                );
                if self.buffer.len() >= BLOCK {
                    self.write(out)?;
                }
            }
            Some((lines, last)) => {
                let mut space = Vec::new();
                if last.len() >= *lines {
                    space = last.pop_front().unwrap_or_default();
                    space.clear();
                }
                if *lines > 0 {
                    append(&mut space, self.format, &self.sources[source].prefix, &line);
                    last.push_back(space);
                }
            }
        }
        Ok(())
    }

    /// Writes the lines that are held back. From now on every line is shown.
    pub(crate) fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if let Some((_, last)) = self.last.take() {
            for line in last {
                self.buffer.extend(line);
            }
        }
        self.write(out)?;
        out.flush()
    }

    fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let written = out.write_all(&self.buffer);
        self.buffer.clear();
        written
    }

    fn is_wanted(&mut self, source: usize, line: &Line<'_>) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let shown = &mut self.sources[source];
        shown.time = line.time.or(shown.time);
        if self.filter.level.is_some() {
            shown.level = Level::for_filter(line, shown.level);
        }
        let is_old = |since| shown.time.is_some_and(|time| time < since);
        if self.filter.since.is_some_and(is_old) {
            return false;
        }
        if self.filter.level.is_some_and(|least| shown.level < least) {
            return false;
        }
        self.filter.grep.as_ref().is_none_or(|regex| {
            let text = text::without_colours(line.text);
            let literal = self.literal.as_ref();
            let may_match = literal.is_none_or(|literal| literal.find(&text).is_some());
            may_match && (self.is_literal || regex.is_match(&String::from_utf8_lossy(&text)))
        })
    }
}

fn prefix(format: Format, index: usize, name: &str, width: usize) -> Vec<u8> {
    let text = match format {
        Format::Plain { colours: false } => format!("{name:width$} | "),
        Format::Plain { colours: true } => {
            let colour = COLOURS[index % COLOURS.len()];
            format!("\x1b[{colour}m{name:width$} |\x1b[0m ")
        }
        // A name needs no escapes.
        Format::Json { schema_version } => {
            format!(r#"{{"schema_version":{schema_version},"process":"{name}""#)
        }
    };
    text.into_bytes()
}

fn append(out: &mut Vec<u8>, format: Format, prefix: &[u8], line: &Line<'_>) {
    out.extend_from_slice(prefix);
    match format {
        Format::Plain { .. } => {
            if !line.stamp.is_empty() {
                out.extend_from_slice(line.stamp);
                out.push(b' ');
            }
            text::append(out, line.text);
        }
        Format::Json { .. } => append_json(out, line),
    }
    out.push(b'\n');
}

/// Appends the rest of an object: time, stream and level if known, and the text.
fn append_json(out: &mut Vec<u8>, line: &Line<'_>) {
    if !line.stamp.is_empty() {
        out.extend_from_slice(b",\"time\":\"");
        out.extend_from_slice(line.stamp);
        out.push(b'"');
    }
    let words = [
        ("stream", line.stream.map(Stream::word)),
        ("level", Level::of(line.text).map(Level::word)),
    ];
    for (key, word) in words {
        if let Some(word) = word {
            for piece in [",\"", key, "\":\"", word, "\""] {
                out.extend_from_slice(piece.as_bytes());
            }
        }
    }
    out.extend_from_slice(b",\"text\":");
    text::append_json(out, line.text);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 5] = [
        "2026-11-24T00:00:01.000Z INF [7] 2026 [INF] started",
        "2026-11-24T00:00:02.000Z INF {\"level\":\"warn\",\"m\":\"\\\"\"}",
        "2026-11-24T00:00:03.000Z INF   at line 7",
        "2026-11-24T00:00:04.000Z ERR \x1b[31mcol\x1b[0mour",
        "<nil> INF later",
    ];

    fn shown(format: Format, filter: Filter, last: Option<usize>) -> String {
        let mut show = Show::new(&["a".to_owned(), "bcd".to_owned()], format, filter, last);
        let mut out = Vec::new();
        for line in LINES {
            show.line(0, line.as_bytes(), &mut out).unwrap();
        }
        show.flush(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn numbers(filter: Filter, last: Option<usize>) -> Vec<usize> {
        let text = shown(Format::Plain { colours: false }, filter, last);
        let words = ["started", "level", "line 7", "colour", "later"];
        text.lines()
            .map(|line| words.iter().position(|word| line.contains(word)).unwrap())
            .collect()
    }

    #[test]
    fn filters() {
        let all = || Filter::default();
        assert_eq!(numbers(all(), None), [0, 1, 2, 3, 4]);
        assert_eq!(numbers(all(), Some(2)), [3, 4]);
        assert_eq!(numbers(all(), Some(0)), [0; 0]);
        let (second, _) = crate::line::time(b"2026-11-24T00:00:03.000Z ").unwrap();
        let since = Filter {
            since: Some(second),
            ..all()
        };
        assert_eq!(numbers(since, None), [2, 3, 4]);
        let level = |level| Filter {
            level: Some(level),
            ..all()
        };
        assert_eq!(numbers(level(Level::Warn), None), [1, 2, 3]);
        assert_eq!(numbers(level(Level::Warn), Some(1)), [3]);
        assert_eq!(numbers(level(Level::Debug), None), [0, 1, 2, 3, 4]);
        let grep = |text| Filter {
            grep: Some(Regex::new(text).unwrap()),
            ..all()
        };
        assert_eq!(
            numbers(grep("colour"), None),
            [3],
            "over a change of colour"
        );
        assert_eq!(numbers(grep("^l.ter$|LINE"), None), [4], "the text alone");
        assert_eq!(numbers(grep("(?i)LINE"), None), [2]);
    }

    #[test]
    fn forms() {
        let plain = shown(Format::Plain { colours: false }, Filter::default(), Some(2));
        assert_eq!(
            plain,
            "a   | 2026-11-24T00:00:04.000Z colour\na   | later\n"
        );
        let coloured = shown(Format::Plain { colours: true }, Filter::default(), Some(1));
        assert_eq!(coloured, "\x1b[36ma   |\x1b[0m later\n");
        let json = shown(Format::Json { schema_version: 1 }, Filter::default(), None);
        let object = |second: u8, rest: &str| {
            let time = format!("2026-11-24T00:00:0{second}.000Z");
            format!(r#"{{"schema_version":1,"process":"a","time":"{time}",{rest}}}"#)
        };
        let expected = [
            object(
                1,
                r#""stream":"stdout","level":"info","text":"[7] 2026 [INF] started""#,
            ),
            object(
                2,
                r#""stream":"stdout","level":"warn","text":"{\"level\":\"warn\",\"m\":\"\\\"\"}""#,
            ),
            object(3, r#""stream":"stdout","text":"  at line 7""#),
            object(4, r#""stream":"stderr","text":"colour""#),
            r#"{"schema_version":1,"process":"a","stream":"stdout","text":"later"}"#.to_owned(),
        ];
        assert_eq!(json.lines().collect::<Vec<_>>(), expected);
    }
}
