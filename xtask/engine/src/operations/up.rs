//! `up`: leads from any state to a healthy stack as the inputs describe it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::files;
use kit::{Exit, Failure};

use crate::base::interrupt::Interrupt;
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::checkout::env::exposed;
use crate::checkout::scripts;
use crate::operations::backup;
use crate::operations::converge::{Converge, Description, shrink};
use crate::operations::inputs::Inputs;
use crate::operations::preflight;
use crate::plan::binaries::{Installed, Request};
use crate::supervisor::BINARY;
use crate::supervisor::operation::Operation;
use crate::supervisor::state::States;
use crate::topology::{self, guard, streams};

pub use super::asked::{Mode, Outcome, UpOptions};

/// Mode bits that give others than the owner any access.
const OTHERS: u32 = 0o077;

/// The result of `up`.
#[derive(Debug)]
pub struct UpReport {
    /// The inputs it used.
    pub inputs: Inputs,
    /// The binaries it used.
    pub installed: BTreeMap<String, Installed>,
    /// The states afterwards.
    pub states: States,
    /// What it did.
    pub outcome: Outcome,
    /// Time from the start of the supervisor, or of the reload, until everything was healthy.
    pub ready_after: Duration,
}

/// Everything that is needed before the stack is changed, and the right to change it.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) inputs: Inputs,
    /// Empty if programs that were replaced meanwhile keep running.
    pub(crate) installed: BTreeMap<String, Installed>,
    pub(crate) operation: Operation,
}

/// Reads the inputs, lets `ensure` install the binaries, waits for other operations and checks the
/// settings. It may be killed at any time: there is nothing to roll back.
pub fn prepare(
    ctx: &Ctx,
    options: &UpOptions,
    ensure: impl Fn(&[Request]) -> anyhow::Result<BTreeMap<String, Installed>>,
) -> anyhow::Result<Prepared> {
    let inputs = Inputs::load_for(ctx, &options.selection)?;
    let exposed = exposed::warnings(&ctx.paths, &inputs.services);
    for warning in inputs.warnings(ctx).into_iter().chain(exposed) {
        ctx.ui.line(format!("warning: {warning}"));
    }
    let requests = inputs.requests()?;
    let mut installed = ensure(&requests)?;
    let command = match options.mode {
        Mode::Up => "up",
        Mode::Reload => "reload",
    };
    // There is nothing to undo yet: a signal may end us at once.
    let interrupt = Interrupt::default();
    let operation = Operation::begin(&ctx.paths, &ctx.ui, command, options.lock, &interrupt)?;
    keep_private(ctx)?;
    // Again, because an operation that we waited for may have changed them.
    let mut inputs = Inputs::lease(ctx, &options.selection, &inputs)?;
    let now = inputs.requests()?;
    if now != requests {
        installed = ensure(&now)?;
    }
    inputs.topology.complete()?;
    scripts::check(ctx.paths.root(), &inputs.stack)?;
    preflight::check_settings(ctx, &inputs.stack)?;
    Ok(Prepared {
        inputs,
        installed,
        operation,
    })
}

/// Restricts the data directory to its owner, even if it was created otherwise.
fn keep_private(ctx: &Ctx) -> anyhow::Result<()> {
    let data = ctx.paths.data();
    let Ok(meta) = fs::metadata(&data) else {
        return Ok(());
    };
    if meta.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    files::create_private_dir(&data)?;
    let shown = ctx.paths.shown(&data);
    ctx.ui
        .line(format!("`{shown}` was open to other users: made private"));
    Ok(())
}

/// Brings the stack up. `seen` receives every state during the wait. After an interrupt or a
/// failure, the earlier state is restored.
pub fn up(
    ctx: &Ctx,
    options: &UpOptions,
    prepared: Prepared,
    interrupt: &Interrupt,
    mut seen: impl FnMut(&Inputs, &States),
) -> anyhow::Result<UpReport> {
    let Prepared {
        mut inputs,
        installed,
        operation: _operation,
    } = prepared;
    let client = ctx.client()?;
    let started = Instant::now();
    let changes_topology = inputs.topology.changes() || !inputs.topology.now.leaving().is_empty();
    let converge = Converge {
        ctx,
        options,
        inputs: &inputs,
        installed: &installed,
        client: &client,
        interrupt,
        started,
    };
    let seen = |states: &States| seen(&inputs, states);
    backup::recover(ctx, interrupt)?;
    let (mut outcome, mut states) = reversible(&converge, seen)?;
    let left = shrink::finish(ctx, &mut inputs, &client, interrupt)?;
    if !left.is_empty() {
        outcome.add(left);
        states = client.processes()?;
    }
    Applied::of(&inputs).save(&ctx.paths)?;
    if outcome != Outcome::Started && changes_topology {
        topology::announce(&ctx.paths, &client, &inputs.stack)?;
    }
    // The change is committed; a failed cleanup does not undo it.
    if let Err(error) = topology::remove_directories(&ctx.paths, &inputs.topology.now) {
        ctx.ui.line(format!("{error:#}"));
    }
    let ready_after = started.elapsed();
    Ok(UpReport {
        inputs,
        installed,
        states,
        outcome,
        ready_after,
    })
}

/// Does all steps that can be rolled back; a failure rolls them back.
fn reversible(
    converge: &Converge<'_>,
    seen: impl FnMut(&States),
) -> anyhow::Result<(Outcome, States)> {
    let (ctx, inputs) = (converge.ctx, converge.inputs);
    let wanted = Description::of(&ctx.paths, inputs)?;
    match converge.claim()? {
        Some(_) if converge.options.mode == Mode::Reload => Err(not_running(ctx)),
        Some(claim) => {
            guard::check(ctx, &inputs.topology, false)?;
            preflight::check_ports(&inputs.stack, &inputs.others)?;
            let binary = converge
                .installed
                .get(BINARY)
                .context("process-compose is not among the binaries")?;
            inputs.topology.write(&ctx.paths)?;
            wanted.write(ctx)?;
            let states = converge.first_start(&binary.path, claim, seen)?;
            Applied::of(inputs).save(&ctx.paths)?;
            backup::recover(ctx, converge.interrupt)?;
            streams::recover(ctx, &inputs.topology.now)?;
            Ok((Outcome::Started, states))
        }
        None => {
            preflight::check_new_ports(ctx, &inputs.stack, &inputs.others)?;
            guard::pass(
                ctx,
                &inputs.topology,
                converge.options.move_streams,
                converge.interrupt,
            )?;
            converge.reload(&wanted, seen)
        }
    }
}

fn not_running(ctx: &Ctx) -> anyhow::Error {
    let failure = Failure::new(Exit::NotRunning, "there is no running stack to reload");
    failure.hint(ctx.paths.command("up")).into()
}
