//! The record of an installed binary: `.dep/.records/NAME.json`, written last.
//!
//! Owns the format and the cheap check that a file still is the digested one. A record that cannot
//! be read counts as missing: the binary is then obtained again.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kit::names::word;
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

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word(self))
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
    /// The file's metadata when the digest was computed.
    pub(super) stamp: Stamp,
    /// SHA-256 of its origin: the download, or `go.mod` and `go.sum`.
    pub(super) origin: Option<String>,
    /// The inputs of a built binary.
    pub(super) build: Option<Build>,
}

/// The inputs of a binary that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    /// Directory of the package, relative to the root.
    pub(super) path: String,
    /// Input files, relative to the root, sorted.
    pub(super) inputs: Vec<String>,
    /// Digest over those files, the toolchain and the flags; `None` when a file changed during the
    /// build.
    pub(super) digest: Option<String>,
    /// The place of the build, relative to the root if below it; older records have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Place>,
}

/// Metadata of a file: while it is unchanged, the digest is not computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    size_bytes: u64,
    /// Nanoseconds since 1970.
    mtime_ns: i64,
    inode: u64,
}

impl Stamp {
    /// Returns the stamp of a regular file; links and everything else count as absent.
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

    /// Returns the size of the file in bytes.
    pub(super) fn size_bytes(self) -> u64 {
        self.size_bytes
    }
}

impl Record {
    /// Reads a record, if it exists and is readable.
    pub(super) fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Writes it atomically.
    pub(super) fn store(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        kit::files::write_atomically(path, text.as_bytes(), RECORD_FILE_MODE)
    }
}
