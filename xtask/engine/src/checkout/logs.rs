//! Reads the log files of processes. Must not write them.

mod decisive;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use decisive::LastWords;

/// Number of log lines that an error shows.
pub const TAIL_LINES: usize = 10;

/// Maximum length of a line in output, in characters.
const LINE_LENGTH_MAX: usize = 2000;

/// Bytes of a line that are kept: all that is printed, with colours and the widest characters.
const LINE_BYTES_MAX: usize = 4 * LINE_LENGTH_MAX + 1024;

/// Returns the size of a log file, to print only later lines afterwards; 0 if it is missing.
pub fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Returns the last lines of a log file after the byte `from`, each on its own line and indented,
/// so that they can follow a message. If the first line that reports a failure is not among them,
/// it precedes them. Empty if there are no lines.
pub fn tail(path: &Path, from: u64, lines: usize) -> String {
    tail_of(path, from, lines, |_| true)
}

/// Returns the last lines in the form of [`tail`], only of those that `wanted` accepts.
pub(crate) fn tail_of(
    path: &Path,
    from: u64,
    lines: usize,
    wanted: impl Fn(&str) -> bool,
) -> String {
    let mut words = LastWords::new(lines);
    for_each(path, from, |line| {
        if wanted(&line) {
            words.push(line);
        }
    });
    words.told()
}

/// Returns the last lines of a whole log file, in the form of [`tail`].
pub fn last(path: &Path, lines: usize) -> String {
    let mut last: VecDeque<String> = VecDeque::with_capacity(lines);
    for_each(path, 0, |line| {
        if last.len() == lines {
            last.pop_front();
        }
        last.push_back(line);
    });
    last.iter().map(|line| format!("\n  | {line}")).collect()
}

/// Returns the lines of a whole log file that `wanted` accepts.
pub(crate) fn matching(path: &Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for_each(path, 0, |line| {
        if wanted(&line) {
            lines.push(line);
        }
    });
    lines
}

/// Calls `seen` with every line after the byte `from`, in the form for output.
fn for_each(path: &Path, from: u64, mut seen: impl FnMut(String)) {
    let Ok(mut file) = File::open(path) else {
        return;
    };
    // A file that is shorter now was rotated: all of it is new.
    let from = if size(path) < from { 0 } else { from };
    if file.seek(SeekFrom::Start(from)).is_err() {
        return;
    }
    let mut reader = BufReader::new(file);
    while let Some(line) = next_line(&mut reader) {
        seen(shown(&line));
    }
}

/// Returns the next line without its newline, at most [`LINE_BYTES_MAX`]; `None` at the end.
fn next_line(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut is_any = false;
    loop {
        let chunk = reader.fill_buf().unwrap_or_default();
        if chunk.is_empty() {
            return is_any.then_some(line);
        }
        is_any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let text = &chunk[..end.unwrap_or(chunk.len())];
        let kept = text.len().min(LINE_BYTES_MAX - line.len());
        line.extend_from_slice(&text[..kept]);
        let read = end.map_or(chunk.len(), |end| end + 1);
        reader.consume(read);
        if end.is_some() {
            return Some(line);
        }
    }
}

/// Returns a line without control sequences that move our cursor.
fn shown(line: &[u8]) -> String {
    let mut text = Vec::new();
    log_lines::append_text(&mut text, line.trim_ascii_end());
    let text = String::from_utf8_lossy(&text);
    text.chars().take(LINE_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_new_lines_without_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "old\n").unwrap();
        let from = size(&path);
        std::fs::write(&path, "old\na\nb\x1b[31m!\x1b[2J\r\nc\n").unwrap();
        assert_eq!(tail(&path, from, 2), "\n  | b!^[[2J\n  | c");
        assert_eq!(
            tail(&path, 1000, 10),
            "\n  | old\n  | a\n  | b!^[[2J\n  | c"
        );
        assert_eq!(last(&path, 1), "\n  | c");
        assert_eq!(tail(&dir.path().join("none"), 0, 2), "");
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let long = "x".repeat(5 << 20);
        std::fs::write(&path, format!("{long}\n\nEND")).unwrap();
        let told = tail(&path, 0, 3);
        let lines: Vec<&str> = told.lines().skip(1).collect();
        assert_eq!(lines[0].len(), "  | ".len() + LINE_LENGTH_MAX);
        assert_eq!(lines[1..], ["  | ", "  | END"]);
    }
}
