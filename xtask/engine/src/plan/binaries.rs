//! Binaries: which a stack needs, and what is known of one that is installed.
//!
//! Must not know where a binary comes from: that is `dep`'s, which stands above.

use std::path::PathBuf;

use anyhow::Context as _;
use kit::manifest::{Binary, Source as Declared};
use serde::Deserialize;

/// The binaries that xtask itself needs, declared as a manifest declares its own.
pub const TOOLS: &str = include_str!("../../tools.json");

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

/// The binaries that xtask itself needs: `xtask/engine/tools.json`.
pub fn tools() -> anyhow::Result<Vec<Request>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tools {
        binaries: Vec<Binary>,
    }
    let tools: Tools =
        serde_json::from_str(TOOLS).context("cannot read `xtask/engine/tools.json`")?;
    Ok(tools.binaries.iter().filter_map(Request::of).collect())
}
