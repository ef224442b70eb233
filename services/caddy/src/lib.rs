//! The caddy service: the HTTP front of the stack.
//!
//! Owns the listening socket (it outlives a crash of Caddy) and Caddy's configuration. Must not
//! know which servers are behind the addresses it forwards to.

mod admin;
mod config;
mod pages;
mod routes;
mod run;
mod settings;

pub use run::run;
pub use settings::{Settings, check};

/// Returns the manifest that this build of the service belongs to.
pub fn spec() -> &'static str {
    include_str!("../service.json")
}
