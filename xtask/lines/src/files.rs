//! The names of log files: the current one of a process, and those that were rotated.
//!
//! The supervisor renames a full `NAME.log` to `NAME-2026-11-24T13-59-22.000.log`, with the time of
//! the rotation (lumberjack 2.2.1, `backupName`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The extension of a log file's name.
const EXTENSION: &str = ".log";

/// The format of a rotation's time: `d` is a digit, everything else itself.
const STAMP: &[u8] = b"-dddd-dd-ddTdd-dd-dd.ddd";

/// Returns the processes that have a log file in `directory`, current or rotated.
pub fn processes(directory: &Path) -> BTreeSet<String> {
    let names = names(directory);
    names
        .iter()
        .map(|name| process_of(name).to_owned())
        .collect()
}

/// Returns the log files of a process in `directory`: the rotated ones, oldest first, then the
/// current one, which may be missing.
pub fn chain(directory: &Path, process: &str) -> Vec<PathBuf> {
    let mut rotated: Vec<String> = names(directory);
    rotated.retain(|stem| stem != process && process_of(stem) == process);
    rotated.sort_unstable();
    rotated.push(process.to_owned());
    let path = |stem: &String| directory.join(format!("{stem}{EXTENSION}"));
    rotated.iter().map(path).collect()
}

/// Returns the names of log files without their extension.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| {
        let name = entry.file_name();
        Some(name.to_str()?.strip_suffix(EXTENSION)?.to_owned())
    };
    entries.filter_map(name).collect()
}

/// Returns the process of a file: its name without the time of a rotation.
fn process_of(stem: &str) -> &str {
    let bytes = stem.as_bytes();
    let Some(at) = bytes.len().checked_sub(STAMP.len()) else {
        return stem;
    };
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'd' => byte.is_ascii_digit(),
        _ => byte == form,
    };
    if bytes[at..].iter().zip(STAMP).all(fits) {
        &stem[..at]
    } else {
        stem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_belong_to_their_process_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "nats.log",
            "nats-2026-11-24T13-59-22.000.log",
            "nats-2026-11-23T13-59-22.000.log",
            "nats-hub-2.log",
            "old-2026-11-23T13-59-22.000.log",
            "process-compose.out",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(
            processes(dir.path()),
            ["nats", "nats-hub-2", "old"].map(str::to_owned).into()
        );
        let shown = |process| -> Vec<String> {
            let names = chain(dir.path(), process).into_iter();
            names
                .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        let expected = [
            "nats-2026-11-23T13-59-22.000.log",
            "nats-2026-11-24T13-59-22.000.log",
            "nats.log",
        ];
        assert_eq!(shown("nats"), expected);
        assert_eq!(shown("none"), ["none.log"]);
    }
}
