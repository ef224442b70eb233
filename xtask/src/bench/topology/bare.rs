//! The lower bound of a topology: its servers with the files that the wrappers wrote, started
//! directly and in parallel.

use std::time::Instant;

use serde_json::Value;

use super::inputs_of;
use crate::bench::bare::{Running, healthy, spawn};
use crate::bench::servers::Server;
use crate::bench::timing::millis;
use engine::base::interrupt::Interrupt;
use engine::checkout::context::Ctx;
use engine::checkout::paths::Paths;
use engine::operations::inputs::Inputs;
use engine::topology::link::Link;

/// Whether the servers of a topology have found each other.
pub(super) struct Joined {
    inputs: Inputs,
    paths: Paths,
}

impl Joined {
    /// Creates the check for the further nodes of `spec`, without the first server.
    pub(super) fn of(ctx: &Ctx, spec: &Value) -> anyhow::Result<Self> {
        let mut inputs = inputs_of(ctx, spec)?;
        let first = service_nats::topology::SERVICE;
        inputs.stack.processes.remove(first);
        Ok(Self {
            inputs,
            paths: ctx.paths.clone(),
        })
    }

    fn wait(&self) -> anyhow::Result<()> {
        let facts = &self.inputs.topology.now;
        let link = Link::new(&self.paths, &self.inputs.stack, facts);
        link.wait_until_joined(&Interrupt::default())
    }
}

/// Starts the servers and returns the milliseconds until all were healthy and joined.
pub(super) fn at_once(servers: &[Server], joined: &Joined) -> anyhow::Result<f64> {
    let runtime = kit::runtime::current_thread()?;
    let mut running = Running(Vec::new());
    let begun = Instant::now();
    for server in servers {
        running.0.push(spawn(server)?);
    }
    for server in servers {
        runtime.block_on(healthy(server))?;
    }
    joined.wait()?;
    Ok(millis(begun))
}
