//! The record of streams that are being moved, in a file beside the data.
//!
//! It exists from before the first stream is changed until everything is finished or rolled back.
//! It only names the streams; each stream itself records its progress.

use std::path::PathBuf;

use kit::failure::exit_of;
use kit::files::PRIVATE_FILE_MODE;
use kit::{Exit, kept};
use serde::{Deserialize, Serialize};

use super::places::Place;
use super::plan::Move;
use crate::checkout::paths::Paths;

/// The file, below the data directory of the instance.
const FILE: &str = "nats/moving.json";

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    stream: String,
    from: String,
    to: String,
}

/// Returns the moves that were begun and not finished; empty without the file. If the file and its
/// copy are invalid, it is moved aside: the streams themselves say that they are being moved, and
/// `told` receives the message about it.
pub(crate) fn read(paths: &Paths, told: impl FnOnce(String)) -> anyhow::Result<Vec<Move>> {
    let path = path(paths);
    let entries: Vec<Entry> = match kept::read(&path) {
        Ok(entries) => entries.unwrap_or_default(),
        Err(error) if exit_of(&error) == Exit::Invalid => {
            let aside = kept::set_aside(&path)?;
            told(format!(
                "{error:#}; it is in `{}` now. A stream that was being moved when a command was \
                 cut off has `core.moving` in its metadata",
                aside.display()
            ));
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let entries = entries.into_iter().map(|entry| Move {
        name: entry.stream,
        from: Place::named(&entry.from),
        to: Place::named(&entry.to),
    });
    Ok(entries.collect())
}

/// Records what is about to begin.
pub(crate) fn write(paths: &Paths, moves: &[Move]) -> anyhow::Result<()> {
    let entry = |step: &Move| Entry {
        stream: step.name.clone(),
        from: step.from.name().to_owned(),
        to: step.to.name().to_owned(),
    };
    let entries: Vec<Entry> = moves.iter().map(entry).collect();
    let mut text = serde_json::to_vec_pretty(&entries)?;
    text.push(b'\n');
    kept::write(&path(paths), &text, PRIVATE_FILE_MODE)
}

/// Records that everything is finished.
pub(crate) fn clear(paths: &Paths) -> anyhow::Result<()> {
    kept::remove(&path(paths))
}

fn path(paths: &Paths) -> PathBuf {
    paths.data().join(FILE)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(paths: &Paths) -> anyhow::Result<Vec<Move>> {
        super::read(paths, |_| {})
    }

    #[test]
    fn moves_read_back_until_they_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_path_buf());
        fs::create_dir_all(paths.data().join("nats")).unwrap();
        assert_eq!(read(&paths).unwrap(), []);
        let moves = [Move {
            name: "A".to_owned(),
            from: Place::Leaf("nats-leaf-lhr".to_owned()),
            to: Place::Hub,
        }];
        write(&paths, &moves).unwrap();
        assert_eq!(read(&paths).unwrap(), moves);
        // The copy has the same content.
        fs::write(super::path(&paths), "[{").unwrap();
        assert_eq!(read(&paths).unwrap(), moves);
        clear(&paths).unwrap();
        clear(&paths).unwrap();
        assert_eq!(read(&paths).unwrap(), []);
        // If both are invalid, no move is pending.
        fs::write(super::path(&paths), "[{").unwrap();
        let mut told = String::new();
        assert_eq!(super::read(&paths, |text| told = text).unwrap(), []);
        assert!(told.contains("moving.json.damaged"), "{told}");
        assert!(!super::path(&paths).exists());
    }
}
