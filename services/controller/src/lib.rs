//! The controller: applies the topology of the record in the database to the running stack.
//!
//! Owns the watch and the decision; xtask applies. Independently of that, it publishes events of
//! the stack (`observe`). Events of PocketBase are only hints, the list of records is the truth.
//! Must not keep state that a restart would lose: its state is in the record and the durable facts.

mod decide;
mod observe;
mod ready;
mod run;
mod settings;
mod stack;
mod sync;
mod watch;
mod work;

pub use run::run;
pub use settings::{Settings, check};

/// Returns the manifest that this build of the service belongs to.
pub fn spec() -> &'static str {
    include_str!("../service.json")
}
