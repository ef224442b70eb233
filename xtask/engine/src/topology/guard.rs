//! What refuses a change of the topology before anything is touched.

use super::{Topology, leave, streams};
use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;

/// Refuses what would put streams out of reach, and what cannot be done. `running` says whether
/// the servers can be asked; otherwise their stores are looked at.
pub fn check(ctx: &Ctx, topology: &Topology, running: bool) -> anyhow::Result<()> {
    leave::check(&ctx.paths, topology, running)?;
    streams::check(ctx, topology, running)
}

/// The same for a stack that runs, about to change: with `move_streams`, streams that would be
/// out of reach are moved to where they are not. What a command that was killed left half moved
/// is put right first.
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
