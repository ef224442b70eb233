//! Parses one line of a log file: its time, its stream, and its text.
//!
//! The supervisor (zerolog's console format at 1.120.0) writes `TIME WORD TEXT`: the time with
//! milliseconds and an offset, or `<nil>` when a manifest turns timestamps off; the word `INF` for
//! stdout and `ERR` for stderr, whatever the text says.

/// Written by the supervisor where it has no time.
const NO_TIME: &[u8] = b"<nil> ";

/// Milliseconds of a minute.
const MINUTE: i64 = 60_000;

/// The stream of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Milliseconds since the Unix epoch.
    pub(crate) time: Option<i64>,
    /// The time as written; empty when there is none.
    pub(crate) stamp: &'a [u8],
    pub(crate) stream: Option<Stream>,
    /// The text of the process.
    pub(crate) text: &'a [u8],
}

impl<'a> Line<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Self {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let (time, stamp, rest) = if let Some((time, length)) = time(bytes) {
            (Some(time), &bytes[..length], &bytes[length + 1..])
        } else {
            let rest = bytes.strip_prefix(NO_TIME).unwrap_or(bytes);
            (None, &bytes[..0], rest)
        };
        let (stream, text) = match rest {
            // An empty text has no blank after the word.
            b"INF" => (Some(Stream::Stdout), &rest[3..]),
            b"ERR" => (Some(Stream::Stderr), &rest[3..]),
            [b'I', b'N', b'F', b' ', text @ ..] => (Some(Stream::Stdout), text),
            [b'E', b'R', b'R', b' ', text @ ..] => (Some(Stream::Stderr), text),
            text => (None, text),
        };
        Self {
            time,
            stamp,
            stream,
            text,
        }
    }
}

/// Returns the time at the start of a line, and its length in bytes; a blank follows it.
pub(crate) fn time(line: &[u8]) -> Option<(i64, usize)> {
    let at: &[u8; 19] = line.first_chunk()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(index, mark)| at[*index] != *mark) {
        return None;
    }
    let (year, month, day) = (digits(&at[..4])?, digits(&at[5..7])?, digits(&at[8..10])?);
    let (hour, minute, second) = (
        digits(&at[11..13])?,
        digits(&at[14..16])?,
        digits(&at[17..])?,
    );
    let mut length = at.len();
    let mut millis = 0;
    if line.get(length) == Some(&b'.') {
        millis = digits(line.get(length + 1..length + 4)?)?;
        length += 4;
    }
    let offset = match line.get(length)? {
        b'Z' => {
            length += 1;
            0
        }
        sign @ (b'+' | b'-') => {
            let offset = line.get(length + 1..length + 6)?;
            let minutes = digits(&offset[..2])? * 60 + digits(&offset[3..])?;
            length += 6;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    if line.get(length) != Some(&b' ') {
        return None;
    }
    let minutes = days(year, month, day) * 1440 + hour * 60 + minute - offset;
    Some((minutes * MINUTE + second * 1000 + millis, length))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + i64::from(digit))
    })
}

/// Returns the days since the Unix epoch of a Gregorian date. The year begins in March here, so
/// that a leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = if month <= 2 { month + 9 } else { month - 3 };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719 468 days lie between the 1st of March of the year 0 and the epoch.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_any_offset() {
        let at = |text: &str| time(format!("{text} x").as_bytes());
        assert_eq!(at("1970-01-01T00:00:01.250Z"), Some((1250, 24)));
        assert_eq!(at("1970-01-01T01:00:00.123+01:00"), Some((123, 29)));
        assert_eq!(at("1969-12-31T22:30:00-01:30"), Some((0, 25)));
        assert_eq!(at("2000-02-29T00:00:00Z"), Some((951_782_400_000, 20)));
        assert_eq!(
            at("2026-11-24T13:59:22.375Z"),
            Some((1_795_528_762_375, 24))
        );
        for none in [
            "soon",
            "2026-11-24",
            "2026-11-24T13:59:22.375",
            "2026x11-24T13:59:22Z",
        ] {
            assert_eq!(at(none), None, "{none}");
        }
    }

    #[test]
    fn a_line_is_taken_apart() {
        let line = Line::parse(b"1970-01-01T00:00:01.250Z ERR oh no\r");
        assert_eq!(line.time, Some(1250));
        assert_eq!(line.stamp, b"1970-01-01T00:00:01.250Z");
        assert_eq!(line.stream, Some(Stream::Stderr));
        assert_eq!(line.text, b"oh no");
        let line = Line::parse(b"<nil> INF text");
        assert_eq!(
            (line.time, line.stream, line.text),
            (None, Some(Stream::Stdout), &b"text"[..])
        );
        let empty = Line::parse(b"1970-01-01T00:00:01.250Z INF");
        assert_eq!((empty.stream, empty.text), (Some(Stream::Stdout), &b""[..]));
        let other = Line::parse(b"INFORMATION");
        assert_eq!(
            (other.time, other.stream, other.text),
            (None, None, &b"INFORMATION"[..])
        );
    }
}
