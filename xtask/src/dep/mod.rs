//! The binaries in `.dep/`: built by cargo or fetched as pinned in `dep.lock`.
//!
//! Owns everything between a manifest's `binaries` and an executable file whose digest is known.
//! Must not start a service. Nothing is done on the way of an `up` whose binaries are in place but
//! reading records and sources: no process, no thread, no connection.

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
pub use update::{Update, Updated, update};

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

/// The command that pins a program.
fn update_hint(name: &str) -> String {
    format!("cargo xtask dep update {name}")
}
