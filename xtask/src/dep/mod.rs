//! The binaries in `.dep/`: built by cargo or fetched as pinned in `dep.lock`.
//!
//! Owns everything between a manifest's `binaries` and an executable file whose digest is known.
//! Must not start a service. Nothing is done on the way of an `up` whose binaries are in place but
//! reading records and sources: no process, no thread, no connection.

mod archive;
mod cargo;
mod context;
pub(crate) mod digest;
mod ensure;
mod fetch;
mod freshness;
mod gomod;
mod key;
mod limits;
pub mod lock;
mod manifests;
mod net;
mod place;
mod platform;
mod progress;
mod reach;
mod record;
mod report;
mod resolve;
mod store;
mod system;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod update;
mod upstreams;
mod wheel;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::manifest::{Binary, Source as Declared};
use serde::Deserialize;

use crate::tool::{cancelled, is_cancelled};

pub use ensure::ensure;
pub use key::cache_key;
pub use platform::current as platform;
pub use reach::{Reached, reach};
pub use record::Source;
pub use report::{Listing, Row, Verification, Verified, list, repair, verify};
pub use update::{Update, Updated, update};

/// The binaries that xtask itself needs, declared as a manifest declares its own.
const TOOLS: &str = include_str!("../../tools.json");

/// A binary that must be in `.dep/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name in `.dep/`.
    pub name: String,
    /// How it is had.
    pub kind: Kind,
}

/// How a binary is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Built from a package of the workspace.
    CargoBuild {
        /// Folder of the package, relative to the root: `./cmd/nats`.
        path: PathBuf,
    },
    /// Fetched as pinned in `dep.lock`.
    Fetch {
        /// The version that the manifest asks for.
        version: String,
    },
}

/// What the user allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// No network.
    pub offline: bool,
    /// `Cargo.lock` must be up to date.
    pub locked: bool,
    /// A program of the same version on PATH will do.
    pub system: bool,
}

/// A binary that is in `.dep/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// `.dep/NAME`, absolute.
    pub path: PathBuf,
    /// The version of a fetched program.
    pub version: Option<String>,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Where it came from: `cargo-build`, `archive`, `wheel`, `go`, `system`.
    pub source: String,
}

impl Request {
    /// What a manifest's entry asks for; `None` for a placeholder. Entries that lack what their
    /// source needs are refused when the manifest is loaded, and ask for an empty path or version.
    pub fn of(binary: &Binary) -> Option<Self> {
        let kind = match binary.source {
            Declared::Placeholder => return None,
            Declared::CargoBuild => Kind::CargoBuild {
                path: binary.path.clone().unwrap_or_default().into(),
            },
            Declared::Fetch => Kind::Fetch {
                version: binary.version.clone().unwrap_or_default(),
            },
        };
        Some(Self {
            name: binary.name.clone(),
            kind,
        })
    }
}

/// The binaries that xtask itself needs: `xtask/tools.json`.
pub fn tools() -> anyhow::Result<Vec<Request>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tools {
        binaries: Vec<Binary>,
    }
    let tools: Tools = serde_json::from_str(TOOLS).context("cannot read `xtask/tools.json`")?;
    Ok(tools.binaries.iter().filter_map(Request::of).collect())
}

/// SHA-256 of a file, as in [`Installed::sha256`].
pub fn digest_of(path: &Path) -> anyhow::Result<String> {
    digest::of_file(path)
}

/// The SHA-256 of some bytes, as lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest::of_bytes(bytes)
}

/// The command that pins a program.
fn update_hint(name: &str) -> String {
    format!("cargo xtask dep update {name}")
}
