//! What we know about an installed binary: `.dep/.records/NAME.json`, written last.
//!
//! Owns the format and the cheap check that a file is still the one that was digested. A record
//! that cannot be read is no record: the binary is then had again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::place::Place;

/// Mode of a record.
const RECORD_FILE_MODE: u32 = 0o644;

/// Where a binary came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Built from this workspace.
    CargoBuild,
    /// The upstream's release archive.
    Archive,
    /// A wheel.
    Wheel,
    /// Built from its Go module.
    Go,
    /// Copied from PATH, because `--system` was given.
    System,
}

impl Source {
    /// Its name in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CargoBuild => "cargo-build",
            Self::Archive => "archive",
            Self::Wheel => "wheel",
            Self::Go => "go",
            Self::System => "system",
        }
    }
}

/// The record of one binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Version of a fetched program.
    pub(super) version: Option<String>,
    pub(super) source: Source,
    /// SHA-256 of the file.
    pub(super) sha256: String,
    /// The file as it was when it was digested.
    pub(super) stamp: Stamp,
    /// SHA-256 of what it was taken from: the download, or `go.mod` and `go.sum`.
    pub(super) origin: Option<String>,
    /// What a built binary was built from.
    pub(super) build: Option<Build>,
}

/// What a binary was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    /// Folder of the package, relative to the root.
    pub(super) path: String,
    /// Files that went in, relative to the root, sorted.
    pub(super) inputs: Vec<String>,
    /// Digest over those files, the toolchain and the flags; `None` when a file changed while it
    /// was being built.
    pub(super) digest: Option<String>,
    /// The place it was built in, below the root where it lies there; records of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Place>,
}

/// A file as the file system sees it: it is not digested again while this stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    size_bytes: u64,
    /// Nanoseconds since 1970.
    mtime_ns: i64,
    inode: u64,
}

impl Stamp {
    /// The stamp of a regular file; links and everything else count as absent.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        if !meta.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            size_bytes: meta.size(),
            mtime_ns: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
            inode: meta.ino(),
        })
    }

    /// Size of the file in bytes.
    pub(super) fn size_bytes(self) -> u64 {
        self.size_bytes
    }
}

impl Record {
    /// Reads a record, if there is one that can be read.
    pub(super) fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Writes it atomically.
    pub(super) fn store(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        kit::files::write_atomically(path, text.as_bytes(), RECORD_FILE_MODE)
    }
}
