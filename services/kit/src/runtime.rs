//! The one kind of runtime that every program here uses.

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

/// A runtime that does all its work on the thread that calls `block_on`. A child that it spawns is
/// thereby a child of that thread, which a parent-death signal is tied to.
pub fn current_thread() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
