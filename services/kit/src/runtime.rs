//! The kind of runtime that every program here uses.

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

/// Creates a runtime that does all its work on the thread that calls `block_on`. A spawned process
/// is then a child of that thread, to which a parent-death signal is bound.
pub fn current_thread() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
