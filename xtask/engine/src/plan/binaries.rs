//! The binaries that a stack needs, and what is known about an installed one.
//!
//! Must not know where a binary comes from: `dep` does, which is above the engine.

use std::path::PathBuf;

use anyhow::Context as _;
use kit::manifest::{Binary, Source as Declared};
use serde::Deserialize;

/// The binary of the command line of NATS.
pub const NATS_CLI: &str = "nats-cli";

/// The binaries that xtask itself needs, declared in the form of a manifest.
pub const TOOLS: &str = include_str!("../../tools.json");

/// A binary that must be in `.dep/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name in `.dep/`.
    pub name: String,
    /// How it is obtained.
    pub kind: Kind,
}

/// How a binary is obtained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Built from a package of the workspace.
    CargoBuild {
        /// Directory of the package, relative to the root: `./cmd/nats`.
        path: PathBuf,
    },
    /// Fetched as pinned in `dep.lock`.
    Fetch {
        /// The version that the manifest requests.
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
    /// Returns the request of a manifest's entry; `None` for a placeholder. Entries that lack what
    /// the source needs are refused when a manifest is loaded; here, that path or version is empty.
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

/// The file of tools.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tools {
    /// Every stack needs them.
    binaries: Vec<Binary>,
    /// A command needs them at its first use, and no stack does.
    on_demand: Vec<Binary>,
}

/// Returns the binaries that xtask itself needs, from `xtask/engine/tools.json`.
pub fn tools() -> anyhow::Result<Vec<Request>> {
    Ok(requests(&read()?.binaries))
}

/// Returns the binaries that are obtained when a command first needs them.
pub fn on_demand() -> anyhow::Result<Vec<Request>> {
    Ok(requests(&read()?.on_demand))
}

fn read() -> anyhow::Result<Tools> {
    serde_json::from_str(TOOLS).context("cannot read `xtask/engine/tools.json`")
}

fn requests(binaries: &[Binary]) -> Vec<Request> {
    binaries.iter().filter_map(Request::of).collect()
}
