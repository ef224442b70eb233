//! The binaries in `.dep/`: built by cargo or fetched as pinned in `dep.lock`.
//!
//! Owns everything between a manifest's `binaries` and an executable file with a known digest. Must
//! not start a service. When the binaries are in place, `up` only reads records and sources here:
//! no process, no thread, no connection.

mod archive;
mod cargo;
mod context;
mod ensure;
mod fetch;
mod freshness;
mod gomod;
mod got;
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
mod shared;
mod store;
mod system;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod update;
mod upstreams;
mod wheel;

use engine::base::digest;
use engine::base::tool::{cancelled, is_cancelled};
use engine::plan::binaries::{Installed, Kind, Request};

pub use ensure::ensure;
pub use key::cache_key;
pub use platform::current as platform;
pub use reach::{Reached, reach};
pub use record::Source;
pub use report::{Listing, Row, Verification, Verified, list, repair, verify};
pub use shared::Shared;
pub use update::{Update, Updated, update};

/// Options of the user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Do not use the network.
    pub offline: bool,
    /// `Cargo.lock` must be up to date.
    pub locked: bool,
    /// Accept a program of the same version on PATH.
    pub system: bool,
}

/// Returns the command that pins a program.
fn update_hint(name: &str) -> String {
    format!("cargo xtask dep update {name}")
}
