//! The result of one source: a binary that matches its pins, or the reason for a failure.
//!
//! Must not know which sources there are.

use std::fs;
use std::path::{Path, PathBuf};

use kit::{Exit, Failure};

use super::archive;
use super::context::Context;
use super::lock::{Artefact, Program};
use super::store::Guard;
use engine::base::digest;

/// Why a source failed.
#[derive(Debug)]
pub(super) enum Miss {
    /// The next source is tried; this line is shown if none succeeds.
    Skip(String),
    /// Like `Skip`, but reported at once, because it is unexpected.
    Told(String),
    /// Stops everything.
    Fatal(anyhow::Error),
}

impl From<anyhow::Error> for Miss {
    fn from(error: anyhow::Error) -> Self {
        Self::Fatal(error)
    }
}

/// A binary in the work directory, checked against its pins.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) file: PathBuf,
    pub(super) sha256: String,
    /// SHA-256 of its origin.
    pub(super) origin: Option<String>,
}

/// A program to obtain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) program: &'a Program,
}

/// Verifies a download, extracts the binary and verifies it too.
pub(super) fn unpack(
    context: &Context<'_>,
    guard: &Guard,
    download: &Path,
    name: &str,
    pin: &Artefact,
    sha256: String,
) -> Result<Got, Miss> {
    if let Some(expected) = &pin.download {
        check(&context.net.mirrored(&pin.location), expected, &sha256)?;
    }
    let file = guard.work().join(format!("binary-of-{name}"));
    let limit = context.limits.unpacked_bytes;
    let binary = archive::extract(download, name, &pin.file, &file, limit).map_err(|error| {
        // A download without a pin of its own may be damaged; that is no attack.
        match pin.download {
            Some(_) => Miss::Fatal(binary_failure(&error)),
            None => Miss::Told(format!("{error:#}")),
        }
    })?;
    if let Some(expected) = &pin.binary {
        let what = format!("`{}` in {}", pin.file, pin.location);
        check(&what, expected, &binary)?;
    }
    // If it fails, the guard removes the file.
    let _ = fs::remove_file(download);
    Ok(Got {
        file,
        sha256: binary,
        origin: Some(sha256),
    })
}

fn binary_failure(error: &anyhow::Error) -> anyhow::Error {
    Failure::new(Exit::Binary, format!("{error:#}")).into()
}

/// A wrong digest stops everything: the download was tampered with, or the pin is wrong.
pub(super) fn check(what: &str, expected: &str, found: &str) -> Result<(), Miss> {
    if expected == found {
        return Ok(());
    }
    let message = format!("wrong digest of {what}: expected sha256 {expected}, found {found}");
    Err(Miss::Fatal(
        Failure::new(Exit::Binary, message)
            .hint("nothing was installed; find out who changed it before trusting it")
            .into(),
    ))
}

/// Computes the digest of a file that a tool left in the work directory.
pub(super) fn of_file(file: PathBuf, origin: Option<String>) -> Result<Got, Miss> {
    let sha256 = digest::of_file(&file)?;
    Ok(Got {
        file,
        sha256,
        origin,
    })
}
