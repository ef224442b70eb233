//! Secrets that Core generates once and keeps in a file that only the owner can read.
//!
//! Must never print one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::PRIVATE_FILE_MODE;
use crate::{Exit, Failure, kept};

/// 32 characters, so that five random bits choose one without bias.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Length of a generated secret: a leading letter and 26 characters of 5 bits.
const SECRET_RANDOM_CHARS: usize = 26;

/// Generates a secret of 130 random bits. It begins with a letter: nats-server takes an all-digit
/// value for a number.
pub fn generate() -> anyhow::Result<String> {
    let mut random = [0; SECRET_RANDOM_CHARS];
    let fill = || -> io::Result<[u8; SECRET_RANDOM_CHARS]> {
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        Ok(random)
    };
    let bytes = { fill }().context("cannot read random bytes from `/dev/urandom`")?;
    let mut secret = String::from("c");
    secret.extend(
        bytes
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte & 31)])),
    );
    Ok(secret)
}

/// Reads the JSON file `path`, which is kept twice, or generates its content and writes it there
/// with mode 0600.
///
/// No other process may do this at the same time: the caller holds the lock of the directory.
pub fn load_or_create<T: Serialize + DeserializeOwned>(
    path: &Path,
    create: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let found = kept::read(path).map_err(|error| {
        let path = path.display();
        let hint = format!("restore it, or remove it and have another one made: rm {path}");
        Failure::new(Exit::Invalid, format!("`{path}` cannot be used"))
            .source(error)
            .hint(hint)
    })?;
    if let Some(value) = found {
        kept::mend::<T>(path, PRIVATE_FILE_MODE)?;
        return Ok(value);
    }
    let value = create()?;
    let mut text = serde_json::to_vec_pretty(&value)?;
    text.push(b'\n');
    kept::write(path, &text, PRIVATE_FILE_MODE)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn secrets_differ_and_begin_with_a_letter() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 1 + SECRET_RANDOM_CHARS);
        assert!(one.starts_with(|c: char| c.is_ascii_alphabetic()));
    }

    #[test]
    fn made_up_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        let first: String = load_or_create(&path, generate).unwrap();
        let again: String = load_or_create(&path, || anyhow::bail!("made twice")).unwrap();
        assert_eq!(first, again);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_refused_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        fs::write(&path, "{\"hunter2").unwrap();
        let error = load_or_create::<String>(&path, generate).unwrap_err();
        assert!(!format!("{error:#}").contains("hunter2"), "{error:#}");
    }
}
