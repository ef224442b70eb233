//! Shrinks the hub: its nodes leave one by one, the one with the highest number first.
//!
//! Emptying the first one is the last step that can be rolled back, and comes before this. From its
//! removal on there is no rollback: the remaining steps are determined each time, so that the next
//! command finishes an interrupted change.

use anyhow::Context as _;
use kit::{Exit, Failure};

use super::Description;
use super::hand_over::{HandOver, RELOAD_MARGIN};
use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;
use crate::operations::inputs::Inputs;
use crate::supervisor::client::Client;
use crate::supervisor::state::{Change, Changes};
use crate::topology::leave::{self, Leaving};
use crate::topology::link::Link;

/// Removes every leaving node from the hub. Returns the change of each process; `inputs` describe
/// the rest afterwards.
pub(crate) fn finish(
    ctx: &Ctx,
    inputs: &mut Inputs,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Changes> {
    let mut done = Changes::new();
    while let Some(node) = inputs.topology.now.leaving().into_iter().next() {
        if let Err(error) = leave(ctx, inputs, client, interrupt) {
            return Err(unfinished(&node.process, error));
        }
        done.insert(node.process, Change::Removed);
    }
    let forgotten = leave::forget_routes(&ctx.paths, &inputs.stack, &inputs.topology.now, client);
    for process in forgotten.map_err(|error| unfinished("nats-hub-1", error))? {
        done.insert(process, Change::Reloaded);
    }
    if !done.is_empty() {
        let link = Link::new(&ctx.paths, &inputs.stack, &inputs.topology.now);
        link.wait_until_joined(interrupt)?;
    }
    Ok(done)
}

/// Removes the next node.
fn leave(
    ctx: &Ctx,
    inputs: &mut Inputs,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let facts = &inputs.topology.now;
    let leaving = Leaving::first(&ctx.paths, &inputs.stack, facts, interrupt)?;
    let leaving = leaving.context("no node leaves the hub")?;
    leaving.empty()?;
    leaving.remove()?;
    let process = leaving.node().process.clone();
    // Only now: until it is removed, a hub that restarts needs the node.
    inputs.topology.note_left(&ctx.paths)?;
    if let Err(error) = leave::retire(&ctx.paths, &inputs.stack, client, &process) {
        ctx.ui
            .line(format!("`{process}` is stopped at once: {error:#}"));
    }
    ctx.ui.line(format!("`{process}` has left the hub"));
    inputs.forget(&process);
    let next = Description::of(&ctx.paths, inputs)?;
    next.write_settings(ctx)?;
    let hand_over = HandOver {
        ctx,
        client,
        interrupt,
        stack: &inputs.stack,
        margin: RELOAD_MARGIN,
    };
    hand_over.run(&next).map(drop)
}

/// Returns the error: finished steps stay, and the next command continues.
fn unfinished(process: &str, error: anyhow::Error) -> anyhow::Error {
    let message = format!("the hub is not smaller yet, and `{process}` is where it stopped");
    let hint = "nothing is rolled back from here on: `cargo xtask reload` continues";
    Failure::new(Exit::ReloadFailed, message)
        .source(error)
        .hint(hint)
        .into()
}
