//! `up`: from nothing, or from whatever runs, to the stack that the inputs describe, healthy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::{Exit, Failure};

use crate::applied::Applied;
use crate::context::Ctx;
use crate::converge::{Converge, write};
use crate::dep::{self, Installed};
use crate::inputs::Inputs;
use crate::interrupt::Interrupt;
use crate::preflight;
use crate::render::compose::{self, Secrets};
use crate::supervisor::BINARY;
use crate::supervisor::operation::{Operation, Wait as LockWait};
use crate::supervisor::state::States;
use crate::topology::guard;

/// What is done when nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `up`: everything is started.
    Up,
    /// `reload`: it is an error.
    Reload,
}

/// What `up` is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is done when nothing runs.
    pub mode: Mode,
    /// How long everything may take to become healthy.
    pub timeout: Duration,
    /// Whether to wait for another operation on this instance.
    pub lock: LockWait,
    /// How binaries are had.
    pub dep: dep::Options,
}

/// How `up` ended.
#[derive(Debug)]
pub struct Report {
    /// The inputs it used.
    pub inputs: Inputs,
    /// The binaries it used.
    pub installed: BTreeMap<String, Installed>,
    /// The states it left.
    pub states: States,
    /// What it did.
    pub outcome: Outcome,
    /// From the start of the supervisor, or of the reload, until everything was healthy.
    pub ready_after: Duration,
    /// Whether the user asks to end, from now on.
    pub interrupt: Interrupt,
}

/// What `up` found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing ran: everything was started.
    Started,
    /// It ran already, as described.
    Unchanged,
    /// It ran, and these processes were added, updated, removed or, in place, reloaded.
    Changed(BTreeMap<String, String>),
}

/// All that is needed before anything of the stack is touched, and the right to touch it.
#[derive(Debug)]
pub struct Prepared {
    inputs: Inputs,
    installed: BTreeMap<String, Installed>,
    _operation: Operation,
}

/// Reads the inputs, gets the binaries, waits for other operations and checks the settings. It may
/// be ended at any moment: nothing has to be taken back.
pub fn prepare(ctx: &Ctx, options: &Options) -> anyhow::Result<Prepared> {
    let mut inputs = Inputs::load(ctx)?;
    let installed = dep::ensure(
        &ctx.paths,
        &ctx.env,
        &ctx.ui,
        &inputs.requests()?,
        &options.dep,
    )?;
    let command = match options.mode {
        Mode::Up => "up",
        Mode::Reload => "reload",
    };
    let operation = Operation::begin(&ctx.paths, &ctx.ui, command, options.lock)?;
    if inputs.topology.is_stale(&ctx.paths)? {
        // The operation that we waited for has changed it.
        inputs = Inputs::load(ctx)?;
    }
    inputs.topology.complete()?;
    preflight::check_settings(ctx, &inputs.stack)?;
    Ok(Prepared {
        inputs,
        installed,
        _operation: operation,
    })
}

/// Brings the stack up. `seen` gets every state while waiting. When the user interrupts it, or
/// anything fails, what was there before is there again.
pub fn up(
    ctx: &Ctx,
    options: &Options,
    prepared: Prepared,
    mut seen: impl FnMut(&Inputs, &States),
) -> anyhow::Result<Report> {
    let Prepared {
        inputs,
        installed,
        _operation,
    } = prepared;
    // From here on there is something to end in order.
    let interrupt = Interrupt::watch()?;
    let text = compose::render(&inputs.stack, &inputs.places, Secrets::Plain)?;
    let client = ctx.client()?;
    let started = Instant::now();
    let converge = Converge {
        ctx,
        options,
        inputs: &inputs,
        installed: &installed,
        client: &client,
        interrupt: &interrupt,
        started,
    };
    let seen = |states: &States| seen(&inputs, states);
    let binary = installed
        .get(BINARY)
        .context("process-compose is not among the binaries")?;
    let (outcome, states) = match converge.settle()? {
        Some(_) if options.mode == Mode::Reload => return Err(not_running()),
        Some(claim) => {
            guard::check(ctx, &inputs.topology, false)?;
            preflight::check_ports(&inputs.stack)?;
            inputs.topology.write(&ctx.paths)?;
            write(ctx, &text)?;
            let states = converge.first_start(&binary.path, claim, seen)?;
            (Outcome::Started, states)
        }
        None => {
            guard::check(ctx, &inputs.topology, true)?;
            converge.reload(&text, seen)?
        }
    };
    Applied::of(&inputs).save(&ctx.paths)?;
    let ready_after = started.elapsed();
    Ok(Report {
        inputs,
        installed,
        states,
        outcome,
        ready_after,
        interrupt,
    })
}

fn not_running() -> anyhow::Error {
    let failure = Failure::new(Exit::NotRunning, "there is no running stack to reload");
    failure.hint("cargo xtask up").into()
}
