//! The instances on this machine, and the ports of each.
//!
//! Owns the register of instances, a file of the user's that all checkouts share. Must not start,
//! stop or query anything: locks show whether an instance is alive.

mod given;
pub mod known;
mod leases;
pub mod range;
pub mod register;

pub use given::Given;
pub use leases::{POLICY_VARIABLE, Policy};
