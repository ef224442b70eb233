//! What refuses a change of the topology before anything is touched.

use kit::{Exit, Failure};
use service_nats::topology::Spec;

use super::streams;
use crate::context::Ctx;
use crate::inputs::Inputs;
use crate::interrupt::Interrupt;

/// Refuses what would put streams out of reach, and what cannot be done. `running` says whether
/// the servers can be asked; otherwise their stores are looked at.
pub fn check(ctx: &Ctx, inputs: &Inputs, running: bool) -> anyhow::Result<()> {
    check_size(inputs)?;
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
    check_size(inputs)?;
    streams::settle(ctx, &inputs.stack, &inputs.topology.before)?;
    if move_streams {
        streams::move_all(ctx, inputs, interrupt)
    } else {
        streams::check(ctx, inputs, true)
    }
}

fn check_size(inputs: &Inputs) -> anyhow::Result<()> {
    let topology = &inputs.topology;
    if let (Spec::HubSpoke(before), Spec::HubSpoke(now)) =
        (&topology.before.spec, &topology.now.spec)
        && now.hub_nodes < before.hub_nodes
    {
        let message = format!(
            "the hub cannot shrink from {} to {} nodes while it runs",
            before.hub_nodes, now.hub_nodes
        );
        let hint = "keep the number, or apply `single-node` first and the smaller hub then";
        return Err(Failure::new(Exit::Invalid, message).hint(hint).into());
    }
    Ok(())
}
