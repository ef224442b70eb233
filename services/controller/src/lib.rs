//! The controller: makes the running stack what the record of the topology in the database says.
//!
//! Owns the watch and the decision; applying is xtask's. Events are only hints, the list of records
//! is the truth. Must not keep anything that a restart would lose: what it needs to know is in the
//! record and in the durable facts.

mod decide;
mod ready;
mod run;
mod settings;
mod stack;
mod sync;
mod watch;
mod work;

pub use run::run;
pub use settings::{Settings, check};

/// The manifest that this build of the service belongs to.
pub fn spec() -> &'static str {
    include_str!("../service.json")
}
