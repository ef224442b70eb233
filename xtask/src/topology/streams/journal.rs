//! The note that streams are being moved, in a file beside the data.
//!
//! It is there from before the first stream is touched until nothing is left to do or to take
//! back. It only says where to look; how far each stream has come, the stream itself says.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use kit::files::{PRIVATE_FILE_MODE, write_atomically};
use serde::{Deserialize, Serialize};

use super::places::Place;
use super::plan::Move;
use crate::paths::Paths;

/// The file, below the data directory of the instance.
const FILE: &str = "nats/moving.json";

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    stream: String,
    from: String,
    to: String,
}

/// The moves that somebody began and did not end; empty without the file.
pub(crate) fn read(paths: &Paths) -> anyhow::Result<Vec<Move>> {
    let path = path(paths);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
        }
    };
    let entries: Vec<Entry> = serde_json::from_slice(&text)
        .with_context(|| format!("`{}` does not hold moves of streams", path.display()))?;
    let entries = entries.into_iter().map(|entry| Move {
        name: entry.stream,
        from: Place::named(&entry.from),
        to: Place::named(&entry.to),
    });
    Ok(entries.collect())
}

/// Notes what is about to begin.
pub(crate) fn write(paths: &Paths, moves: &[Move]) -> anyhow::Result<()> {
    let entry = |step: &Move| Entry {
        stream: step.name.clone(),
        from: step.from.name().to_owned(),
        to: step.to.name().to_owned(),
    };
    let entries: Vec<Entry> = moves.iter().map(entry).collect();
    let mut text = serde_json::to_vec_pretty(&entries)?;
    text.push(b'\n');
    write_atomically(&path(paths), &text, PRIVATE_FILE_MODE)
}

/// Notes that nothing is left to do.
pub(crate) fn clear(paths: &Paths) -> anyhow::Result<()> {
    let path = path(paths);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

fn path(paths: &Paths) -> PathBuf {
    paths.data().join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        clear(&paths).unwrap();
        clear(&paths).unwrap();
        assert_eq!(read(&paths).unwrap(), []);
    }
}
