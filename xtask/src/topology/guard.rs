//! What refuses a change of the topology before anything is touched.

use super::{leave, streams};
use crate::context::Ctx;
use crate::inputs::Inputs;
use crate::interrupt::Interrupt;

/// Refuses what would put streams out of reach, and what cannot be done. `running` says whether
/// the servers can be asked; otherwise their stores are looked at.
pub fn check(ctx: &Ctx, inputs: &Inputs, running: bool) -> anyhow::Result<()> {
    leave::check(&ctx.paths, &inputs.topology, running)?;
    streams::check(ctx, inputs, running)
}

/// The same for a stack that runs, about to change: with `move_streams`, streams that would be
/// out of reach are moved to where they are not. What a command that was killed left half moved
/// is put right first.
pub fn pass(
    ctx: &Ctx,
    inputs: &Inputs,
    move_streams: bool,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    leave::check(&ctx.paths, &inputs.topology, true)?;
    streams::settle(ctx, &inputs.topology.before)?;
    if move_streams {
        streams::move_all(ctx, inputs, interrupt)
    } else {
        streams::check(ctx, inputs, true)
    }
}
