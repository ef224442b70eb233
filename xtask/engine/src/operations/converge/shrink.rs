//! The hub gets smaller: its nodes leave one by one, the one with the highest number first.
//!
//! Emptying the first one belongs to what can be taken back. From its removal on nothing is: what
//! is left to do is found out anew each time, so that the next command finishes what was killed.

use anyhow::Context as _;
use kit::{Exit, Failure};
use service_nats::topology::{Role, routes_in};

use super::hand_over::{HandOver, RELOAD_MARGIN};
use super::{Converge, Description};
use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;
use crate::operations::inputs::Inputs;
use crate::supervisor::client::Client;
use crate::supervisor::state::{Change, Changes};
use crate::topology::leave::Leaving;
use crate::topology::link::Link;
use crate::topology::wrapper;

impl Converge<'_> {
    /// Has the first node that leaves the hub, if one does, give away what it holds.
    pub(super) fn empty_first_leaving(&self) -> anyhow::Result<()> {
        let (paths, inputs) = (&self.ctx.paths, self.inputs);
        let facts = &inputs.topology.now;
        match Leaving::first(paths, &inputs.stack, facts, self.interrupt)? {
            Some(leaving) => leaving.empty(),
            None => Ok(()),
        }
    }
}

/// Lets every node that is to leave the hub leave it. Returns what was done to which process;
/// `inputs` are what is left then.
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
    let forgotten = forget_routes(ctx, inputs, client);
    for process in forgotten.map_err(|error| unfinished("nats-hub-1", error))? {
        done.insert(process, Change::Reloaded);
    }
    if !done.is_empty() {
        let link = Link::new(&ctx.paths, &inputs.stack, &inputs.topology.now);
        link.wait_until_joined(interrupt)?;
    }
    Ok(done)
}

/// Lets the next one leave.
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
    // Only now: until it is removed, a hub that starts anew needs the node.
    inputs.topology.note_left(&ctx.paths)?;
    let limit = wrapper::RETIRE_TIMEOUT;
    let retired = wrapper::reload(client, &ctx.paths, &inputs.stack, &process, limit);
    if let Err(error) = retired {
        ctx.ui
            .line(format!("`{process}` is stopped at once: {error:#}"));
    }
    ctx.ui.line(format!("`{process}` has left the hub"));
    inputs.forget(&process);
    let next = Description::of(inputs)?;
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

/// Lets the nodes that stay forget the addresses of those that left: they would look for them for
/// ever. Returns who had to.
fn forget_routes(ctx: &Ctx, inputs: &Inputs, client: &Client) -> anyhow::Result<Vec<String>> {
    let (facts, stack) = (&inputs.topology.now, &inputs.stack);
    let routes = facts.route_urls();
    let mut forgot = Vec::new();
    let hub = facts.nodes().into_iter();
    for node in hub.filter(|node| node.role == Role::Hub) {
        let config = wrapper::config(&ctx.paths, stack, &node.process).unwrap_or_default();
        if routes_in(&config)
            .iter()
            .any(|route| !routes.contains(route))
        {
            let limit = wrapper::RELOAD_TIMEOUT;
            wrapper::reload(client, &ctx.paths, stack, &node.process, limit)?;
            forgot.push(node.process);
        }
    }
    Ok(forgot)
}

/// What was done stays, and the way goes on from there.
fn unfinished(process: &str, error: anyhow::Error) -> anyhow::Error {
    let message = format!("the hub is not smaller yet, and `{process}` is where it stopped");
    let hint = "nothing is taken back from here on: `cargo xtask reload` goes on with it";
    Failure::new(Exit::ReloadFailed, message)
        .source(error)
        .hint(hint)
        .into()
}
