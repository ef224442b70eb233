//! The files of a checkout: its paths, manifests, `.env`, and the records of a stack that was
//! started.
//!
//! Reads and writes files. Must not start anything or query a supervisor.

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
