//! The pocketbase service: a PocketBase server with its superuser, base settings and hooks.
//!
//! Owns the composition of hooks and migrations and the superuser's credentials. Must not access
//! the database itself: its hook and its migrations do.

mod compose;
mod run;
mod settings;
mod superuser;

pub use run::run;
pub use settings::{Settings, check};

/// Returns the manifest that this build of the service belongs to.
pub fn spec() -> &'static str {
    include_str!("../service.json")
}
