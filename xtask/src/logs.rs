//! Reading the log files of processes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

/// Lines of a log that an error shows.
pub const TAIL_LINES: usize = 10;

/// Longest line that is shown, in characters.
const LINE_LENGTH_MAX: usize = 2000;

/// Size of a log file, to show later only what came after: 0 when there is none.
pub fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// The last lines of a log file after the byte `from`, each on a line of its own and indented,
/// so that they can follow a message. Empty when there are none.
pub fn tail(path: &Path, from: u64, lines: usize) -> String {
    let mut last: VecDeque<String> = VecDeque::with_capacity(lines);
    let Ok(mut file) = File::open(path) else {
        return String::new();
    };
    // A file that is shorter was rotated: all of it is new.
    let from = if size(path) < from { 0 } else { from };
    if file.seek(SeekFrom::Start(from)).is_err() {
        return String::new();
    }
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        if last.len() == lines {
            last.pop_front();
        }
        last.push_back(shown(&line));
    }
    last.iter().map(|line| format!("\n  | {line}")).collect()
}

/// A line without anything that moves our cursor, whatever a server logs.
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
        assert_eq!(tail(&dir.path().join("none"), 0, 2), "");
    }
}
