//! What every service shares.
//!
//! The manifest and its strict loading, running an upstream server (spawn, readiness, `READY` line,
//! graceful stop), watching the parent, HTTP for this machine. Knows no service by name and never
//! installs a signal handler: the binaries in `cmd/` do that.

pub mod claim;
pub mod disk;
pub mod env;
pub mod failure;
pub mod files;
pub mod http;
pub mod kept;
pub mod lifecycle;
pub mod manifest;
pub mod names;
pub mod output;
pub mod parent;
pub mod process;
pub mod runner;
pub mod runtime;
pub mod secret;
pub mod server;
pub mod settings;
pub mod spawn;

pub use failure::{Exit, Failure};
pub use lifecycle::Lifecycle;
