//! What lies in a checkout: where everything is, manifests, `.env`, and what is remembered of a
//! stack that was started.
//!
//! Reads and writes files. Must not start anything, nor ask a supervisor.

pub mod addresses;
pub mod applied;
pub mod blame;
pub mod context;
pub mod env;
pub mod hints;
pub mod kept;
pub mod levels;
pub mod links;
pub mod logs;
pub mod manifests;
pub mod paths;
pub mod recorded;
pub mod scripts;
pub mod sizes;
