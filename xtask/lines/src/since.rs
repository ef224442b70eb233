//! Where the lines since a time begin in a log file, by bisection: the lines of one process are in
//! the order of their times. If the clock was set back, that is one of several places.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use crate::line::{self, Line};

/// Bytes of one read.
const BLOCK: usize = 16 * 1024;

/// Bytes of a line that are looked at: time, stream and the begin of the text fit.
const HEAD: u64 = 64;

/// Returns the offset of a line before `millis`, at most about `window` bytes ahead of the first
/// later one; nothing if none was found. Whether the lines after it are shown does not depend on
/// those ahead of it: it has a time, and is not a part of the line before.
pub(crate) fn position(file: &mut File, millis: i64, window: u64) -> io::Result<Option<u64>> {
    let (mut begin, mut end) = (None, file.metadata()?.len());
    loop {
        let from = begin.unwrap_or(0);
        if end - from <= window {
            return Ok(begin);
        }
        let middle = from + (end - from) / 2;
        match line_after(file, middle, end)? {
            Some((at, time)) if time < millis => begin = Some(at),
            _ => end = middle,
        }
    }
}

/// Whether the first line has a time, unless the file is empty.
pub(crate) fn begins_with_time(file: &mut File) -> io::Result<Option<bool>> {
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    Ok((!head.is_empty()).then(|| line::time(&head).is_some()))
}

/// Returns the offset and the time of the first independent line that begins after `from` and
/// before `to`.
fn line_after(file: &mut File, from: u64, to: u64) -> io::Result<Option<(u64, i64)>> {
    file.seek(SeekFrom::Start(from))?;
    let mut file = BufReader::with_capacity(BLOCK, file);
    let mut at = from + file.skip_until(b'\n')? as u64;
    let mut head = Vec::new();
    while at < to {
        head.clear();
        at += match (&mut file).take(HEAD).read_until(b'\n', &mut head)? {
            0 => break,
            _ if time(&head).is_some() => return Ok(time(&head).map(|time| (at, time))),
            read => read as u64,
        };
        if head.last() != Some(&b'\n') {
            at += file.skip_until(b'\n')? as u64;
        }
    }
    Ok(None)
}

/// Returns the time of a line that does not depend on the line before it: one that is not indented.
fn time(head: &[u8]) -> Option<i64> {
    let line = Line::parse(head.strip_suffix(b"\n").unwrap_or(head));
    let is_own = |first: &u8| !matches!(first, b' ' | b'\t');
    line.time.filter(|_| line.text.first().is_some_and(is_own))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use crate::show::{Filter, Format, Show};
    use crate::source::Source;
    use crate::{Level, merge};

    /// The lines that are shown since a time; by bisection down to `window` bytes, if given.
    fn shown(dir: &Path, since: i64, level: Option<Level>, window: Option<u64>) -> String {
        let names = ["a".to_owned(), "b".to_owned()];
        let source = |name: &String| {
            let mut source = Source::whole(dir, name);
            if let Some(window) = window {
                source.skip_lines_before(since, window).unwrap();
            }
            source
        };
        let mut sources: Vec<Source> = names.iter().map(source).collect();
        let filter = Filter {
            since: Some(since),
            level,
            grep: None,
        };
        let mut show = Show::new(&names, Format::Plain { colours: false }, filter, None);
        let mut out = Vec::new();
        merge(&mut sources, false, &mut show, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// A line: the milliseconds since the one before it, and what follows the time; without
    /// milliseconds, a line without a time.
    fn lines() -> impl Strategy<Value = Vec<(Option<u32>, &'static str)>> {
        let text = prop::sample::select(vec![
            "INF text",
            "ERR ",
            "ERR",
            "ERR   at line 7",
            "INF \tat line 8",
            "INF [WRN] careful",
            "INF  level=error indented",
            "INF \r",
            "no stream",
            "",
            "INF a text that is longer than the head of a line which is looked at in a bisection",
        ]);
        let step = prop::option::weighted(0.8, 0..2500_u32);
        prop::collection::vec((step, text), 0..60)
    }

    /// Returns the text of lines that follow each other from `time` on.
    fn text(lines: &[(Option<u32>, &str)], time: &mut u32) -> String {
        let line = |(step, text): &(Option<u32>, &str)| {
            let Some(step) = step else {
                return format!("{text}\n");
            };
            *time += step;
            let (second, millis) = (*time / 1000, *time % 1000);
            let (minute, second) = (second / 60, second % 60);
            format!("1970-01-01T00:{minute:02}:{second:02}.{millis:03}Z {text}\n")
        };
        lines.iter().map(line).collect()
    }

    proptest! {
        #[test]
        fn bisection_shows_what_reading_everything_shows(
            old in lines(), new in lines(), other in lines(), is_cut: bool,
            since in 0..200_000_i64, window in 0..400_u64, warn: bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut time = 0;
            let write = |name: &str, text: &str| {
                fs::write(dir.path().join(name), text).unwrap();
            };
            write("a-1970-01-01T00-00-00.000.log", &text(&old, &mut time));
            let new = text(&new, &mut time);
            write("a.log", if is_cut { new.trim_end() } else { &new });
            write("b.log", &text(&other, &mut 0));
            let level = warn.then_some(Level::Warn);
            let expected = shown(dir.path(), since, level, None);
            prop_assert_eq!(shown(dir.path(), since, level, Some(window)), expected);
        }

        #[test]
        fn lines_after_the_clock_was_set_back_are_shown(
            before in lines(), after in lines(), since in 0..100_000_i64, window in 0..400_u64,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let has_time = |line: &(Option<u32>, _)| line.0.is_some();
            let after: Vec<_> = after.into_iter().filter(has_time).collect();
            let [before, after] = [before, after].map(|lines| text(&lines, &mut 0));
            let log = dir.path().join("a.log");
            fs::write(&log, &after).unwrap();
            let least = shown(dir.path(), since, None, None);
            fs::write(&log, before + &after).unwrap();
            let most = shown(dir.path(), since, None, None);
            let bisected = shown(dir.path(), since, None, Some(window));
            prop_assert!(bisected.ends_with(&least) && most.ends_with(&bisected));
        }
    }
}
