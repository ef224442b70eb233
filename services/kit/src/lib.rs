//! What every service shares.
//!
//! The manifest and its strict loading, running an upstream server (spawn, readiness, `READY`
//! line, graceful stop), watching the parent, waiting for HTTP. Knows no service by name and
//! never installs a signal handler: the binaries in `cmd/` do that.

pub mod failure;
pub mod files;
pub mod lifecycle;
pub mod manifest;
pub mod names;

pub use failure::{Exit, Failure};
pub use lifecycle::Lifecycle;
