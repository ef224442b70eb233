//! What is running, its health, and since when, as the supervisor and the servers report it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::SCHEMA_VERSION;
use crate::checkout::applied::{Applied, Versions};
use crate::checkout::context::Ctx;
use crate::operations::inputs::Inputs;
use crate::plan::stack::{Port, Process, Stack};
use crate::supervisor::state::{Phase, State, States, Status as Word};
use crate::supervisor::{alive, answers, listening, stops};

/// The status of a process that is not running, as requested.
const STOPPED: &str = "Stopped";

/// How long a process without a probe that was restarted after it ended by itself must have run to
/// count as ready: nothing else shows whether it will end again.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// The report of `status`.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Version of this document.
    pub schema_version: u32,
    /// The name of the instance.
    pub instance: String,
    /// Whether the stack is running.
    pub running: bool,
    /// Whether the supervisor answers. If not, running processes are left from one that was killed.
    pub supervised: bool,
    /// Whether it is running and every process that should be healthy is.
    pub healthy: bool,
    /// Why the services are unknown: there is no record of the running stack, or none is running,
    /// and the inputs cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Services by name.
    pub services: BTreeMap<String, ServiceStatus>,
}

/// One service.
#[derive(Debug, Serialize)]
pub struct ServiceStatus {
    /// The URL for users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Versions of the fetched programs it runs.
    pub versions: BTreeMap<String, String>,
    /// Its ports by name.
    pub ports: BTreeMap<String, Port>,
    /// Its processes by name.
    pub processes: BTreeMap<String, ProcessStatus>,
}

/// One process.
#[derive(Debug, Serialize)]
pub struct ProcessStatus {
    /// The supervisor's word for its status: `Running`, `Completed` ...; `Stopped` if no stack is
    /// running, or if a user stopped it.
    pub status: String,
    /// Whether the supervisor counts it as ready.
    pub ready: bool,
    /// Whether the server itself answered just now; absent if it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<bool>,
    /// Process id of the wrapper, or of the service's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How often it was restarted.
    pub restarts: u32,
    /// Whether it has no probe, ended by itself, and is about to be restarted or has just been: it
    /// may end again at any time, so it is not ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restarting: bool,
    /// Its last exit code.
    pub exit_code: i32,
    /// Seconds since it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// Names of its ports without a listener while it is running; only ports without a probe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent_ports: Vec<String>,
    /// Whether it is left out of `up`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// The URL for users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its ports by name.
    pub ports: BTreeMap<String, Port>,
}

/// The answers of the supervisor and the locks.
struct Seen {
    states: States,
    supervised: bool,
    running: bool,
}

impl Seen {
    fn now(ctx: &Ctx) -> anyhow::Result<Self> {
        let states = ctx.client()?.processes().ok();
        let supervised = states.is_some();
        // It may be supervised without a lock, if its directory was deleted meanwhile.
        let running = supervised || alive::is_held(&ctx.paths.alive_lock())?;
        Ok(Self {
            states: states.unwrap_or_default(),
            supervised,
            running,
        })
    }

    fn remembered(&self, ctx: &Ctx) -> Option<Applied> {
        Applied::load(&ctx.paths).filter(|_| self.running)
    }

    /// Returns a running stack that was not healthy yet, from its recorded inputs.
    fn recorded(&self, ctx: &Ctx) -> Option<Applied> {
        Applied::recorded(&ctx.paths).filter(|_| self.running)
    }
}

/// Returns the status of everything. `ctx` needs no `.env` if a stack is running.
pub fn status(ctx: &Ctx) -> anyhow::Result<Status> {
    let seen = Seen::now(ctx)?;
    if let Some(applied) = seen.remembered(ctx) {
        return describe(ctx, &seen, &applied);
    }
    let inputs = ctx.with_dotenv().and_then(|ctx| Inputs::load(&ctx));
    match (inputs, seen.recorded(ctx)) {
        (Ok(inputs), _) => describe(ctx, &seen, &Applied::of(&inputs)),
        // Inputs that were broken meanwhile do not hide the running stack.
        (Err(_), Some(applied)) => describe(ctx, &seen, &applied),
        (Err(error), None) => Ok(Status {
            problem: Some(format!("{error:#}")),
            ..Status::of(ctx, &seen)
        }),
    }
}

/// Returns the status of the running stack, as far as recorded; `None` if none is running. Needs no
/// manifest, so it works for any checkout.
pub fn running(ctx: &Ctx) -> anyhow::Result<Option<Status>> {
    let seen = Seen::now(ctx)?;
    match seen.remembered(ctx) {
        Some(applied) => describe(ctx, &seen, &applied).map(Some),
        // A stack without a record was not healthy yet.
        None => Ok(Some(Status::of(ctx, &seen)).filter(|_| seen.running)),
    }
}

impl Status {
    /// Returns the status without any service.
    fn of(ctx: &Ctx, seen: &Seen) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            instance: ctx.paths.instance().to_owned(),
            running: seen.running,
            supervised: seen.supervised,
            healthy: false,
            problem: None,
            services: BTreeMap::new(),
        }
    }
}

fn describe(ctx: &Ctx, seen: &Seen, applied: &Applied) -> anyhow::Result<Status> {
    let answers = if seen.running {
        answers::ask(ctx.paths.root(), &applied.stack)?
    } else {
        BTreeMap::new()
    };
    let runs = |name: &str| seen.states.get(name).is_some_and(|it| it.is_running);
    let mut silent = listening::silent(&applied.stack, runs)?;
    let stopped = stops::load(&ctx.paths);
    let mut services: BTreeMap<String, ServiceStatus> = applied
        .services
        .iter()
        .map(|(name, versions)| {
            let status = service_status(&applied.stack, name, versions, &seen.states, &answers);
            (name.clone(), status)
        })
        .collect();
    let all = services.values_mut();
    for (name, process) in all.flat_map(|service| &mut service.processes) {
        process.silent_ports = silent.remove(name).unwrap_or_default();
        if process.pid.is_none() && stopped.contains(name) {
            // The supervisor counts an exit with code 0 as work done.
            STOPPED.clone_into(&mut process.status);
            process.ready = false;
            process.disabled = false;
        }
    }
    let processes = services
        .values()
        .flat_map(|service| service.processes.values());
    let well = |process: &ProcessStatus| {
        process.disabled || process.ready && process.answers.unwrap_or(true)
    };
    let healthy = seen.supervised && processes.into_iter().all(well);
    Ok(Status {
        healthy,
        services,
        ..Status::of(ctx, seen)
    })
}

fn service_status(
    stack: &Stack,
    service: &str,
    versions: &Versions,
    states: &States,
    answers: &BTreeMap<String, bool>,
) -> ServiceStatus {
    let mut status = ServiceStatus {
        url: None,
        versions: versions.clone(),
        ports: BTreeMap::new(),
        processes: BTreeMap::new(),
    };
    let own = stack
        .processes
        .iter()
        .filter(|(_, process)| process.service == service);
    for (name, process) in own {
        status.url = status.url.take().or_else(|| process.url());
        // A further node of a service has ports of the same names: those of the first are reported.
        for (name, port) in &process.ports {
            let port = || port.clone();
            status.ports.entry(name.clone()).or_insert_with(port);
        }
        let answers = answers.get(name).copied();
        let process = process_status(process, states.get(name), answers);
        status.processes.insert(name.clone(), process);
    }
    status
}

fn process_status(
    process: &Process,
    state: Option<&State>,
    answers: Option<bool>,
) -> ProcessStatus {
    let (url, ports) = (process.url(), process.ports.clone());
    let Some(state) = state else {
        return ProcessStatus {
            status: STOPPED.to_owned(),
            ready: false,
            answers: None,
            pid: None,
            restarts: 0,
            restarting: false,
            exit_code: 0,
            uptime_seconds: None,
            silent_ports: Vec::new(),
            disabled: process.disabled,
            url,
            ports,
        };
    };
    let age = Duration::from_nanos(u64::try_from(state.age).unwrap_or(0));
    let uptime = age.as_secs_f64();
    let restarting = is_restarting(state, age);
    ProcessStatus {
        status: state.status.to_string(),
        ready: state.phase() == Phase::Ready && !restarting,
        answers,
        pid: Some(state.pid).filter(|_| state.is_running),
        restarts: state.restarts,
        restarting,
        exit_code: state.exit_code,
        uptime_seconds: Some(uptime).filter(|_| state.is_running),
        silent_ports: Vec::new(),
        disabled: state.phase() == Phase::Disabled,
        url,
        ports,
    }
}

/// Whether a process without a probe ends repeatedly, also when seen between two exits.
fn is_restarting(state: &State, age: Duration) -> bool {
    let between = state.status == Word::Restarting;
    let again = state.is_running && state.restarts > 0 && age < STEADY_AFTER;
    !state.has_ready_probe && (between || again)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarting(status: &str, restarts: u32, seconds: i64, has_ready_probe: bool) -> bool {
        let state = State {
            has_ready_probe,
            restarts,
            ..State::sample(status)
        };
        is_restarting(&state, Duration::from_secs(seconds.unsigned_abs()))
    }

    #[test]
    fn a_process_that_ends_again_and_again_is_told_the_same_at_any_moment() {
        assert!(restarting("Running", 1, 0, false));
        assert!(restarting("Restarting", 1, 1, false));
        assert!(restarting("Running", 2, 9, false));
        assert!(
            !restarting("Running", 2, 10, false),
            "it has run for long enough"
        );
        assert!(!restarting("Running", 0, 0, false), "its first start");
        assert!(!restarting("Running", 2, 0, true), "its probe tells");
        assert!(!restarting("Completed", 2, 0, false), "it was given up");
    }
}
