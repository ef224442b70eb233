//! Restarts, stops, starts and signals processes of a running stack.
//!
//! Uses the stack as it was applied: only `up` reads edited manifests. Orders one process at a
//! time, since the supervisor (1.120) can lose a process that is restarted while a dependent
//! process starts.

mod needs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kit::{Exit, Failure};

use self::needs::{dependents, missing, only};
use crate::base::interrupt::Interrupt;
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::operations::inputs::Inputs;
use crate::plan::select;
use crate::plan::stack::Stack;
use crate::supervisor::client::{ApiError, Client};
use crate::supervisor::control::{Control, Limit};
use crate::supervisor::lost;
use crate::supervisor::operation::{Operation, Wait as LockWait};
use crate::supervisor::state::{State, States, Status};
use crate::supervisor::stops;
use crate::supervisor::wait::{Baseline, Wait};

/// The action on processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Stop and start again, one after the other.
    Restart,
    /// Stop, until they are started.
    Stop,
    /// Start, if they are not running.
    Start,
}

impl Verb {
    /// Returns the name of the command.
    pub fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }
}

/// The options of the commands.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The timeout for all of it.
    pub timeout: Duration,
    /// Whether to wait for another operation on this instance.
    pub lock: LockWait,
    /// Whether a restart includes the dependents of the processes.
    pub with_dependents: bool,
}

/// The result of a command.
#[derive(Debug)]
pub struct Report {
    /// `restarted`, `started`, `stopped` or `unchanged`, by process.
    pub outcomes: BTreeMap<String, &'static str>,
    /// The states afterwards.
    pub states: States,
}

/// Restarts, stops or starts the processes that `words` name and waits until they are healthy, or
/// stopped.
pub fn run(ctx: &Ctx, verb: Verb, words: &[String], options: Options) -> anyhow::Result<Report> {
    let started = Instant::now();
    must_run(ctx)?;
    let interrupt = Interrupt::watch()?;
    let (paths, ui) = (&ctx.paths, &ctx.ui);
    let _operation = Operation::begin(paths, ui, verb.word(), options.lock, &interrupt)?;
    let stack = running_stack(ctx)?;
    let names = select::processes(&stack, &BTreeSet::new(), words)?;
    let client = ctx.client()?;
    let states = client.processes().map_err(not_supervised)?;
    if let Some(lost) = lost::find(&client).first() {
        let message = format!("the supervisor has lost track of {lost}");
        let failure = Failure::new(Exit::Unhealthy, message);
        return Err(failure.hint(ctx.paths.command("up")).into());
    }
    let mut life = Life {
        baseline: Baseline::take(&ctx.paths, &stack, &states),
        ctx,
        stack,
        client,
        interrupt,
        deadline: started + options.timeout,
        timeout: options.timeout,
        outcomes: BTreeMap::new(),
    };
    match verb {
        Verb::Restart if options.with_dependents => life.restart_all(&names)?,
        Verb::Restart => life.restart_each(&names)?,
        Verb::Stop => life.stop(&names)?,
        Verb::Start => life.start(&names)?,
    }
    Ok(Report {
        states: life.client.processes()?,
        outcomes: life.outcomes,
    })
}

/// Sends a signal to the processes that `words` name, which must be running. Returns their names.
pub fn signal(ctx: &Ctx, words: &[String], signal: u8) -> anyhow::Result<Vec<String>> {
    must_run(ctx)?;
    let stack = running_stack(ctx)?;
    let names = select::processes(&stack, &BTreeSet::new(), words)?;
    let client = ctx.client()?;
    let states = client.processes().map_err(not_supervised)?;
    let runs = |name: &&String| states.get(*name).is_some_and(|state| state.is_running);
    if let Some(ended) = names.iter().find(|name| !runs(name)) {
        let message = format!("`{ended}` does not run, so nothing was signalled");
        return Err(Failure::new(Exit::Unhealthy, message)
            .hint(format!("cargo xtask start {ended}"))
            .into());
    }
    let never = Interrupt::default();
    let control = Control::new(&ctx.paths, &client, &never);
    for name in &names {
        control.signal(name, signal)?;
    }
    Ok(names)
}

/// Fails unless a stack is running.
pub fn must_run(ctx: &Ctx) -> anyhow::Result<()> {
    if ctx.is_running()? {
        return Ok(());
    }
    let failure = Failure::new(Exit::NotRunning, "there is no running stack");
    Err(failure.hint("cargo xtask up").into())
}

fn not_supervised(error: ApiError) -> Failure {
    let message = "what runs has no supervisor that could be asked";
    let failure = Failure::new(Exit::NotRunning, message);
    failure
        .hint("cargo xtask up")
        .source(anyhow::Error::from(error))
}

/// Returns the stack as it was applied; without a record, as it would be.
fn running_stack(ctx: &Ctx) -> anyhow::Result<Stack> {
    Ok(match Applied::load(&ctx.paths) {
        Some(applied) => applied.stack,
        None => Inputs::load(&ctx.with_dotenv()?)?.stack,
    })
}

/// A command in progress.
struct Life<'a> {
    ctx: &'a Ctx,
    stack: Stack,
    client: Client,
    interrupt: Interrupt,
    baseline: Baseline,
    deadline: Instant,
    timeout: Duration,
    outcomes: BTreeMap<String, &'static str>,
}

impl Life<'_> {
    /// Restarts processes one after the other, so that as few as possible are away at a time: the
    /// nodes of a cluster keep their quorum.
    fn restart_each(&mut self, names: &[String]) -> anyhow::Result<()> {
        for name in self.in_order(names) {
            self.start_needed(&name)?;
            let ran = self.stop_one(&name)?;
            self.start_one(&name, if ran { "restarted" } else { "started" })?;
        }
        Ok(())
    }

    /// Stops all together with their running dependents, so that none loses a running dependency.
    fn restart_all(&mut self, names: &[String]) -> anyhow::Result<()> {
        let states = self.client.processes()?;
        let mut all = dependents(&self.stack, names);
        all.retain(|name| states.get(name).is_some_and(|state| !state.has_ended()));
        all.extend(names.iter().cloned());
        let all = self.in_order(&Vec::from_iter(all));
        let mut ran = BTreeSet::new();
        for name in all.iter().rev() {
            if self.stop_one(name)? {
                ran.insert(name.clone());
            }
        }
        for name in &all {
            self.start_needed(name)?;
            let outcome = if ran.contains(name) {
                "restarted"
            } else {
                "started"
            };
            self.start_one(name, outcome)?;
        }
        Ok(())
    }

    fn stop(&mut self, names: &[String]) -> anyhow::Result<()> {
        // Recorded first: a process that an aborted command stopped must not count as work done.
        let mut stopped = stops::load(&self.ctx.paths);
        stopped.extend(names.iter().cloned());
        stops::save(&self.ctx.paths, &stopped)?;
        for name in self.in_order(names).into_iter().rev() {
            let ran = self.stop_one(&name)?;
            self.outcomes
                .insert(name, if ran { "stopped" } else { "unchanged" });
        }
        Ok(())
    }

    fn start(&mut self, names: &[String]) -> anyhow::Result<()> {
        for name in self.in_order(names) {
            self.start_needed(&name)?;
            let states = self.client.processes()?;
            let state = states.get(&name);
            let is_ending = state.is_some_and(|state| state.status == Status::Terminating);
            if is_ending {
                self.stop_one(&name)?;
            }
            if is_ending || state.is_some_and(State::has_ended) {
                self.start_one(&name, "started")?;
            } else {
                // It may still be starting.
                self.wait(&name)?;
                self.outcomes.entry(name).or_insert("unchanged");
            }
        }
        Ok(())
    }

    /// Starts the dependencies of `name` that are not running, in order.
    fn start_needed(&mut self, name: &str) -> anyhow::Result<()> {
        let states = self.client.processes()?;
        for needed in missing(&self.stack, &states, name) {
            self.start_one(&needed, "started")?;
        }
        Ok(())
    }

    /// Stops a process and waits until it is gone. Returns whether it was running.
    fn stop_one(&self, name: &str) -> anyhow::Result<bool> {
        let limit = Limit {
            deadline: self.deadline,
            allowed: self.timeout,
        };
        self.control().stop(name, limit)
    }

    /// Starts a process and waits until it is healthy.
    fn start_one(&mut self, name: &str, outcome: &'static str) -> anyhow::Result<()> {
        // The supervisor keeps counting after a stop: an older crash is no failure of this start.
        let before = self.client.processes()?.remove(name);
        self.control().start(&[name])?;
        let restarts = before.map_or(0, |state| state.restarts);
        self.baseline.allow(name, restarts);
        self.wait(name)?;
        let mut stopped = stops::load(&self.ctx.paths);
        if stopped.remove(name) {
            stops::save(&self.ctx.paths, &stopped)?;
        }
        self.outcomes.insert(name.to_owned(), outcome);
        Ok(())
    }

    fn control(&self) -> Control<'_> {
        Control::new(&self.ctx.paths, &self.client, &self.interrupt)
    }

    /// Waits until one process is healthy, regardless of the others.
    fn wait(&self, name: &str) -> anyhow::Result<()> {
        let wait = Wait {
            paths: &self.ctx.paths,
            stack: &only(&self.stack, name),
            client: &self.client,
            ask: true,
            interrupt: &self.interrupt,
            baseline: &self.baseline,
            deadline: self.deadline,
            timeout: self.timeout,
        };
        wait.until_ready(None, |_| {}).map(drop)
    }

    /// Returns the names with each after its dependencies.
    fn in_order(&self, names: &[String]) -> Vec<String> {
        let order = self.stack.order.iter();
        order.filter(|name| names.contains(name)).cloned().collect()
    }
}
