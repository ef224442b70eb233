//! A change of the topology of a running stack, by other means than its manifests.
//!
//! It is made from the inputs that the stack was made from, by the very functions of `up`. Must
//! not know who asks for it: the controller does, for the record in the database.

use std::collections::BTreeMap;
use std::time::Duration;

use service_nats::topology::{Origin, Spec};

use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;
use crate::checkout::manifests;
use crate::checkout::recorded::Recorded;
use crate::operations::inputs::{Inputs, Selection};
use crate::operations::up::{self, Mode, Options, Prepared};
use crate::plan::stack::{self, CONTROLLER};
use crate::supervisor::operation::{Operation, Wait};

/// How long everything may take to become healthy, as with `up`.
const HEALTHY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long another operation is waited for: longer than any should take.
const LOCK_TIMEOUT: Duration = Duration::from_mins(10);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The topology.
    pub spec: Spec,
    /// Who asks.
    pub origin: Origin,
    /// Whether streams of nodes that go are moved to those that stay.
    pub move_streams: bool,
}

/// What the manifests that the running stack was made from ask for.
pub fn declared(ctx: &Ctx) -> anyhow::Result<Spec> {
    let recorded = Recorded::load(&ctx.paths)?;
    let spec = stack::topology(&recorded.services()?, &recorded.env());
    spec.map_err(|findings| manifests::invalid(&findings))
}

/// Makes the running stack become it, or leaves it as it was. Waits for other operations.
pub fn apply(ctx: &Ctx, change: &Change, interrupt: &Interrupt) -> anyhow::Result<()> {
    let wait = Wait::For(LOCK_TIMEOUT);
    let operation = Operation::begin(&ctx.paths, &ctx.ui, CONTROLLER, wait, interrupt)?;
    // Only now: the operation that we waited for may have changed them.
    let ctx = &Ctx {
        ui: ctx.ui.clone(),
        ..Ctx::recorded(ctx.paths.clone())?
    };
    let mut inputs = Inputs::recorded(ctx, change.spec.clone(), change.origin)?;
    inputs.topology.complete()?;
    let options = Options {
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
