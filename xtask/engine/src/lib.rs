//! The engine of a Core stack, as a library. `cargo xtask` and the controller are built on it.
//!
//! Its directories are floors, from the lowest up: `base`, `plan`, `checkout`, `supervisor`,
//! `instances`, `topology`, `operations`. A floor may use those below it and none above it; a test
//! checks this. Must not know the command line or where binaries come from.

pub mod base;
pub mod checkout;
pub mod instances;
pub mod operations;
pub mod plan;
pub mod supervisor;
pub mod topology;

pub use checkout::context::Ctx;

/// The version of every JSON document that a command prints; within a version, keys are only added.
pub const SCHEMA_VERSION: u32 = 1;
