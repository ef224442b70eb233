//! The engine of a Core stack, as a library: `cargo xtask` and the controller stand on it.
//!
//! Its folders are floors, from the ground up: `base`, `plan`, `checkout`, `supervisor`,
//! `instances`, `topology`, `operations`. Each may use those below it and none above it, which a
//! test checks. Knows no command line, and not where binaries come from.

pub mod base;
pub mod checkout;
pub mod instances;
pub mod operations;
pub mod plan;
pub mod supervisor;
pub mod topology;

pub use checkout::context::Ctx;

/// The version of every document that a command prints as JSON: only additions within one.
pub const SCHEMA_VERSION: u32 = 1;
