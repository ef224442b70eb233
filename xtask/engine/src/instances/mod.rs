//! The instances on this machine: which there are, and which ports each has.
//!
//! Owns the register of instances, a file of the user's that all checkouts share. Must not start,
//! stop or ask anything: whether an instance lives is seen by its locks.

mod given;
pub mod known;
mod leases;
pub mod range;
pub mod register;

pub use given::Given;
pub use leases::{POLICY_VARIABLE, Policy};
