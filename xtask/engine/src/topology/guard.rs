//! Refuses invalid changes of the topology before anything is changed.

use super::{Topology, leave, streams};
use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;

/// Refuses changes that would make streams inaccessible, and impossible ones. `running` says
/// whether the servers can be asked; otherwise their stores are read.
pub fn check(ctx: &Ctx, topology: &Topology, running: bool) -> anyhow::Result<()> {
    leave::check(&ctx.paths, topology, running)?;
    streams::check(ctx, topology, running)
}

/// Checks a change of a running stack: with `move_streams`, streams that would become inaccessible
/// are moved to places that stay. First finishes or rolls back the moves of a command that was
/// killed.
pub fn pass(
    ctx: &Ctx,
    topology: &Topology,
    move_streams: bool,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    leave::check(&ctx.paths, topology, true)?;
    streams::recover(ctx, &topology.before)?;
    if move_streams {
        streams::move_all(ctx, topology, interrupt)
    } else {
        streams::check(ctx, topology, true)
    }
}
