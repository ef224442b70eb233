//! The pocketbase service: a PocketBase server with its superuser, base settings and hooks.
//!
//! Owns the composition of hooks and migrations and the superuser's credentials. Must not touch
//! the database itself: what has to happen there is done by its hook and its migrations.

mod compose;
mod run;
mod settings;
mod superuser;

pub use run::run;
pub use settings::{Settings, check};

/// The manifest that this build of the service belongs to.
pub fn spec() -> &'static str {
    include_str!("../service.json")
}
