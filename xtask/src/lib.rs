//! `cargo xtask` besides the engine: binaries, checks of a checkout, new services, benchmarks, and
//! servers in the foreground.
//!
//! Depends on the engine, which the controller shares. The command line belongs to the binary.

pub mod attach;
pub mod bars;
pub mod bench;
pub mod cargo;
pub mod ci;
pub mod dep;
pub mod doctor;
pub mod ephemeral;
pub mod init;
pub mod load;
pub mod nats_cli;
pub mod nats_run;
pub mod open;
pub mod service;
pub mod stages;
