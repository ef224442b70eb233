//! Small files without which nothing could start. Each is stored twice, so that one that is
//! damaged, by a disk or by hand, keeps nothing from starting.
//!
//! Owns the copy, a hidden file beside the file. The file counts as long as it can be parsed; if it
//! is missing, the copy does not count. Must not know the content of a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::de::DeserializeOwned;

use crate::files::{free_name, write_atomically};
use crate::{Exit, Failure};

/// Reads a file, or its copy when it cannot be parsed; returns `None` when it is missing.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match look(path)? {
        Found::Nothing => Ok(None),
        Found::File(value, _) | Found::Copy(value, _) => Ok(Some(value)),
        Found::Damaged { line } => {
            // The parser's own message could contain a secret.
            let path = path.display();
            let message = format!("`{path}` does not hold what is kept there (line {line})");
            Err(Failure::new(Exit::Invalid, message).into())
        }
    }
}

/// Replaces a file and its copy.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    // The copy first: it counts only once the file exists.
    write_atomically(&copy_of(path), bytes, mode)?;
    write_atomically(path, bytes, mode)
}

/// Makes the file and its copy equal: from the file, or from the copy when only that can be parsed.
/// For callers that may write them.
pub fn mend<T: DeserializeOwned>(path: &Path, mode: u32) -> anyhow::Result<()> {
    let copy = copy_of(path);
    match look::<T>(path)? {
        Found::Nothing => remove_if_there(&copy),
        Found::File(_, bytes) => match fs::read(&copy) {
            Ok(same) if same == bytes => Ok(()),
            _ => write_atomically(&copy, &bytes, mode),
        },
        Found::Copy(_, bytes) => {
            set_aside(path)?;
            write_atomically(path, &bytes, mode)
        }
        Found::Damaged { .. } => Ok(()),
    }
}

/// Removes a file and its copy.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    remove_if_there(path)?;
    remove_if_there(&copy_of(path))
}

/// Renames a file that cannot be parsed to a free name beside it. Returns the new path.
pub fn set_aside(path: &Path) -> anyhow::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".damaged");
    let aside = free_name(&path.with_file_name(name));
    fs::rename(path, &aside).with_context(|| format!("cannot rename `{}`", path.display()))?;
    Ok(aside)
}

/// Returns the path of the copy of a file.
fn copy_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.copy"))
}

/// What was found, and its bytes.
enum Found<T> {
    Nothing,
    File(T, Vec<u8>),
    Copy(T, Vec<u8>),
    Damaged { line: usize },
}

fn look<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Found<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
        }
    };
    let line = match serde_json::from_slice(&bytes) {
        Ok(value) => return Ok(Found::File(value, bytes)),
        Err(error) => error.line(),
    };
    let copy = fs::read(copy_of(path)).ok();
    let value = copy.and_then(|copy| Some((serde_json::from_slice(&copy).ok()?, copy)));
    Ok(match value {
        Some((value, copy)) => Found::Copy(value, copy),
        None => Found::Damaged { line },
    })
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::PRIVATE_FILE_MODE;

    const DAMAGE: [&[u8]; 4] = [b"", b"[1,", b"\xff\xfe", b"{\"other\": 1}"];

    fn write(path: &Path, text: &str) {
        super::write(path, text.as_bytes(), PRIVATE_FILE_MODE).unwrap();
    }

    #[test]
    fn a_damaged_file_is_read_from_its_copy_and_mended() {
        for damage in DAMAGE {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.json");
            write(&path, "[1]");
            write(&path, "[2]");
            fs::write(&path, damage).unwrap();
            let found: Option<Vec<u8>> = read(&path).unwrap();
            assert_eq!(found, Some(vec![2]));
            assert_eq!(fs::read(&path).unwrap(), damage, "reading changes nothing");
            mend::<Vec<u8>>(&path, PRIVATE_FILE_MODE).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"[2]");
            assert_eq!(fs::read(dir.path().join("a.json.damaged")).unwrap(), damage);
        }
    }

    #[test]
    fn the_file_counts_and_makes_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), None);
        // A file without a copy: from an older version, or edited by hand.
        fs::write(&path, "[3]").unwrap();
        mend::<Vec<u8>>(&path, PRIVATE_FILE_MODE).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), Some(vec![3]));
        fs::remove_file(&path).unwrap();
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), None, "removed is removed");
        mend::<Vec<u8>>(&path, PRIVATE_FILE_MODE).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_damaged_ones_are_an_error_without_their_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, "[1]");
        fs::write(&path, "\"secret").unwrap();
        fs::write(copy_of(&path), "\"secret").unwrap();
        let error = read::<Vec<u8>>(&path).unwrap_err();
        assert_eq!(crate::failure::exit_of(&error), Exit::Invalid);
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        for expected in ["a.json.damaged", "a.json.damaged-2"] {
            fs::write(&path, "x").unwrap();
            assert_eq!(set_aside(&path).unwrap(), dir.path().join(expected));
        }
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}
