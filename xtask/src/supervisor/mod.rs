//! EFFECT: process-compose. Its REST types and client, launch, waiting for health, stopping, and
//! the proof that nothing is left.
//!
//! Only this module starts, stops or reloads processes. It takes the rendered file as it is and
//! never looks at manifests.

pub mod alive;
pub mod answers;
pub mod client;
mod holders;
pub mod launch;
pub mod listening;
pub mod operation;
pub mod programs;
pub mod reload;
mod secrets;
pub mod socket;
pub mod state;
pub mod stop;
pub mod stops;
pub mod view;
pub mod wait;

/// The name of process-compose in `.dep/`.
pub const BINARY: &str = "process-compose";
