//! A change of the topology of a running stack that does not come from its manifests.
//!
//! It starts from the recorded inputs of the stack, and uses the functions of `up`. Must not know
//! who requests it: the controller does, for the record in the database.

use std::collections::BTreeMap;
use std::time::Duration;

use service_nats::topology::{Origin, Spec};

use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;
use crate::checkout::manifests;
use crate::checkout::recorded::Recorded;
use crate::operations::inputs::{Inputs, Selection};
use crate::operations::up::{self, Mode, Prepared, UpOptions};
use crate::plan::stack::{self, CONTROLLER};
use crate::supervisor::operation::{Operation, Wait};

/// How long everything may take to become healthy, as with `up`.
const HEALTHY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long to wait for another operation: longer than any should take.
const LOCK_TIMEOUT: Duration = Duration::from_mins(10);

/// The requested change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The topology.
    pub spec: Spec,
    /// Who requests it.
    pub origin: Origin,
    /// Whether streams of nodes that leave are moved to those that stay.
    pub move_streams: bool,
}

/// Returns the topology in the manifests from which the running stack was made.
pub fn declared(ctx: &Ctx) -> anyhow::Result<Spec> {
    let recorded = Recorded::load(&ctx.paths)?;
    let spec = stack::topology(&recorded.services()?, &recorded.env());
    spec.map_err(manifests::invalid)
}

/// Applies the change to the running stack, or rolls it back. Waits for other operations.
pub fn apply(ctx: &Ctx, change: &Change, interrupt: &Interrupt) -> anyhow::Result<()> {
    let wait = Wait::For(LOCK_TIMEOUT);
    let operation = Operation::begin(&ctx.paths, &ctx.ui, CONTROLLER, wait, interrupt)?;
    // Read only now: the operation that we waited for may have changed them.
    let ctx = &Ctx {
        ui: ctx.ui.clone(),
        ..Ctx::recorded(ctx.paths.clone())?
    };
    let mut inputs = Inputs::recorded(ctx, change.spec.clone(), change.origin)?;
    inputs.topology.complete()?;
    let options = UpOptions {
        mode: Mode::Reload,
        selection: Selection::Running,
        timeout: HEALTHY_TIMEOUT,
        lock: wait,
        move_streams: change.move_streams,
    };
    let prepared = Prepared {
        inputs,
        installed: BTreeMap::new(),
        operation,
    };
    up::up(ctx, &options, prepared, interrupt, |_, _| {}).map(drop)
}
