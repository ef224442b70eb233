//! The level of a line, from its text: JSON of Caddy and others, NATS, logfmt, plain words.

use std::fmt;

use memchr::memmem;

use crate::line::{Line, Stream};

/// Number of words that are searched for a level: it precedes the message.
const WORDS_LOOKED_AT: usize = 8;

/// Keys of a level in JSON.
const KEYS: [&[u8]; 3] = [b"\"level\"", b"\"severity\"", b"\"lvl\""];

/// The level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For debugging.
    Debug,
    /// Normal operation.
    Info,
    /// A possible problem.
    Warn,
    /// An error.
    Error,
    /// An error that ends the program.
    Fatal,
}

impl Level {
    /// All levels, the least serious first.
    pub const ALL: [Self; 6] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
        Self::Fatal,
    ];

    /// Returns its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// Returns the level that a word means, in any case.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        let mut lower = [0; 9];
        let lower = lower.get_mut(..word.len())?;
        lower.copy_from_slice(word);
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"trace" | b"trc" => Self::Trace,
            b"debug" | b"dbg" => Self::Debug,
            b"info" | b"inf" | b"notice" => Self::Info,
            b"warn" | b"warning" | b"wrn" => Self::Warn,
            b"error" | b"err" => Self::Error,
            b"fatal" | b"ftl" | b"panic" | b"critical" | b"crit" | b"emergency" | b"alert" => {
                Self::Fatal
            }
            _ => return None,
        })
    }

    /// Returns the level in a text.
    pub(crate) fn of(text: &[u8]) -> Option<Self> {
        if text.first() == Some(&b'{') {
            return json(text);
        }
        let words = text.split(u8::is_ascii_whitespace);
        words
            .filter(|word| !word.is_empty())
            .take(WORDS_LOOKED_AT)
            .find_map(marked)
    }

    /// Returns the level by which a line is filtered: that in its text; else that of the line
    /// before when it is indented, as a stack trace is; else one that follows from its stream.
    pub(crate) fn for_filter(line: &Line<'_>, before: Self) -> Self {
        if let Some(level) = Self::of(line.text) {
            return level;
        }
        match (line.text.first(), line.stream) {
            (Some(b' ' | b'\t'), _) => before,
            (_, Some(Stream::Stderr)) => Self::Error,
            _ => Self::Info,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Returns the level of a word that is marked as one: `[WRN]`, `WARN`, `warning:`, `level=warn`.
/// Other words are part of a sentence.
fn marked(word: &[u8]) -> Option<Level> {
    if let [b'[', inner @ .., b']'] = word {
        return Level::from_word(inner);
    }
    if let Some(at) = memchr::memchr(b'=', word) {
        let (key, value) = (&word[..at], &word[at + 1..]);
        let is_key = matches!(key, b"level" | b"lvl" | b"severity");
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let value = value.strip_suffix(b"\"").unwrap_or(value);
        return Level::from_word(value).filter(|_| is_key);
    }
    if let [name @ .., b':'] = word {
        return Level::from_word(name);
    }
    let is_upper = word.iter().all(u8::is_ascii_uppercase);
    Level::from_word(word).filter(|_| is_upper)
}

/// Returns the level of a JSON object, by its first key for one: a word, or a number as pino and
/// bunyan write it.
fn json(text: &[u8]) -> Option<Level> {
    let value = KEYS.iter().find_map(|key| {
        let at = memmem::find(text, key)?;
        let rest = text[at + key.len()..].trim_ascii_start();
        Some(rest.strip_prefix(b":")?.trim_ascii_start())
    })?;
    if let Some(word) = value.strip_prefix(b"\"") {
        return Level::from_word(&word[..memchr::memchr(b'"', word)?]);
    }
    match value {
        [b'1', b'0', ..] => Some(Level::Trace),
        [b'2', b'0', ..] => Some(Level::Debug),
        [b'3', b'0', ..] => Some(Level::Info),
        [b'4', b'0', ..] => Some(Level::Warn),
        [b'5', b'0', ..] => Some(Level::Error),
        [b'6', b'0', ..] => Some(Level::Fatal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_what_servers_write() {
        for (text, level) in [
            (
                "[7] 2026/11/24 13:59:22.110509 [WRN] Plaintext",
                Some(Level::Warn),
            ),
            (
                "[7] 2026/11/24 13:59:22.110509 [INF]   Version: 2",
                Some(Level::Info),
            ),
            (
                r#"{"level":"warn","ts":1.2,"msg":"error"}"#,
                Some(Level::Warn),
            ),
            (r#"{"ts":1, "severity" : "ERROR"}"#, Some(Level::Error)),
            (r#"{"level":50,"msg":"x"}"#, Some(Level::Error)),
            (r#"{"msg":"no level"}"#, None),
            ("2026/11/24 13:59:22 Error: listen tcp", Some(Level::Error)),
            ("error: cannot listen", Some(Level::Error)),
            ("panic: runtime error", Some(Level::Fatal)),
            ("time=x level=debug msg=hi", Some(Level::Debug)),
            ("2026-11-24T13:59:22Z  WARN app: slow", Some(Level::Warn)),
            ("no error was found", None),
            ("READY: nats tcp://127.0.0.1:4222", None),
            ("", None),
        ] {
            assert_eq!(Level::of(text.as_bytes()), level, "{text}");
        }
    }

    #[test]
    fn what_says_nothing_is_judged_by_its_place() {
        let level = |line: &str| Level::for_filter(&Line::parse(line.as_bytes()), Level::Error);
        assert_eq!(level("<nil> INF ready"), Level::Info);
        assert_eq!(level("<nil> ERR ready"), Level::Error);
        assert_eq!(level("<nil> ERR WARN ready"), Level::Warn);
        assert_eq!(level("<nil> INF   at main.rs:3"), Level::Error);
    }
}
