//! EFFECT: process-compose. Its REST types and client, launch, waiting for health, stopping, and
//! the proof that nothing is left.
//!
//! Only this module starts, stops or reloads processes. It takes the rendered file as it is and
//! never looks at manifests.

pub mod alive;
pub mod answers;
mod api_error;
pub mod client;
pub(crate) mod control;
#[cfg(test)]
pub(crate) mod fake;
mod last_words;
pub mod launch;
pub mod listening;
pub(crate) mod lost;
pub mod operation;
pub mod ours;
pub mod own_log;
pub mod programs;
pub(crate) mod proof;
pub mod reload;
pub mod runs;
mod secrets;
mod settled;
pub mod socket;
pub(crate) mod starts;
pub mod state;
pub mod stop;
pub mod stops;
mod suspended;
pub mod view;
pub mod wait;

/// The name of process-compose in `.dep/`.
pub const BINARY: &str = "process-compose";
