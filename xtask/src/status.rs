//! What runs, how it does, and since when: asked of the supervisor and of the servers themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use kit::http::{self, Endpoint};
use kit::manifest::Source;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::SCHEMA_VERSION;
use crate::context::Ctx;
use crate::inputs::Inputs;
use crate::stack::{Port, Process, ReadinessCheck, Service};
use crate::supervisor::alive;
use crate::supervisor::state::{Phase, State, States};

/// How long a server may take to answer before it counts as not answering.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The answer of `status`.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Version of this document.
    pub schema_version: u32,
    /// Whether the stack runs.
    pub running: bool,
    /// Whether the supervisor answers. Without it, what runs is what a killed one left behind.
    pub supervised: bool,
    /// Whether it runs and every process that should be healthy is.
    pub healthy: bool,
    /// Services by name.
    pub services: BTreeMap<String, ServiceStatus>,
}

/// One service.
#[derive(Debug, Serialize)]
pub struct ServiceStatus {
    /// Where a user reaches it.
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
    /// The supervisor's word for it: `Running`, `Completed` ...; `Stopped` when nothing runs.
    pub status: String,
    /// Whether the supervisor counts it as ready.
    pub ready: bool,
    /// Whether the server itself answered just now; absent when it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<bool>,
    /// Process id of the wrapper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its last exit code.
    pub exit_code: i32,
    /// Seconds since it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// Whether it is left out of `up`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Where a user reaches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its ports by name.
    pub ports: BTreeMap<String, Port>,
}

/// Asks for the status of everything.
pub fn status(ctx: &Ctx) -> anyhow::Result<Status> {
    let inputs = Inputs::load(ctx)?;
    let lock = ctx.paths.alive_lock();
    let states = ctx.client()?.processes().ok();
    let supervised = states.is_some();
    // Without a lock, but supervised: its directory was deleted meanwhile.
    let running = supervised || lock.exists() && alive::try_claim(&lock)?.is_none();
    let states = states.unwrap_or_default();
    let answers = if running {
        ask_servers(&inputs)?
    } else {
        BTreeMap::new()
    };
    let mut services = BTreeMap::new();
    for service in &inputs.services {
        let status = service_status(&inputs, service, &states, &answers);
        services.insert(service.name.clone(), status);
    }
    let processes = services
        .values()
        .flat_map(|service| service.processes.values());
    let well = |process: &ProcessStatus| {
        process.disabled || process.ready && process.answers.unwrap_or(true)
    };
    let healthy = supervised && processes.into_iter().all(well);
    Ok(Status {
        schema_version: SCHEMA_VERSION,
        running,
        supervised,
        healthy,
        services,
    })
}

fn service_status(
    inputs: &Inputs,
    service: &Service,
    states: &States,
    answers: &BTreeMap<String, bool>,
) -> ServiceStatus {
    let fetched = service.document.manifest.binaries.iter();
    let fetched = fetched.filter(|binary| binary.source == Source::Fetch);
    let version =
        |binary: &kit::manifest::Binary| Some((binary.name.clone(), binary.version.clone()?));
    let mut status = ServiceStatus {
        url: None,
        versions: fetched.filter_map(version).collect(),
        ports: BTreeMap::new(),
        processes: BTreeMap::new(),
    };
    let own = inputs
        .stack
        .processes
        .iter()
        .filter(|(_, process)| process.service == service.name);
    for (name, process) in own {
        status.url = status.url.take().or_else(|| process.url());
        // A further node of a service has ports of the same names: those of the first are told.
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
            status: "Stopped".to_owned(),
            ready: false,
            answers: None,
            pid: None,
            restarts: 0,
            exit_code: 0,
            uptime_seconds: None,
            disabled: process.disabled,
            url,
            ports,
        };
    };
    let uptime = Duration::from_nanos(u64::try_from(state.age).unwrap_or(0)).as_secs_f64();
    ProcessStatus {
        status: state.status.clone(),
        ready: state.phase() == Phase::Ready,
        answers,
        pid: Some(state.pid).filter(|_| state.is_running),
        restarts: state.restarts,
        exit_code: state.exit_code,
        uptime_seconds: Some(uptime).filter(|_| state.is_running),
        disabled: state.phase() == Phase::Disabled,
        url,
        ports,
    }
}

/// Asks every server that can be asked, side by side, whether it answers.
fn ask_servers(inputs: &Inputs) -> anyhow::Result<BTreeMap<String, bool>> {
    kit::runtime::current_thread()?.block_on(async {
        let mut questions = JoinSet::new();
        for (name, process) in &inputs.stack.processes {
            if let Some(readiness) = process.readiness.as_ref().filter(|_| !process.disabled) {
                let (name, check) = (name.clone(), readiness.check.clone());
                questions.spawn(async move { (name, ask(&check).await) });
            }
        }
        let answers = questions.join_all().await.into_iter();
        Ok(answers
            .filter_map(|(name, answer)| Some((name, answer?)))
            .collect())
    })
}

async fn ask(check: &ReadinessCheck) -> Option<bool> {
    match check {
        ReadinessCheck::Http { url, status } => {
            let (endpoint, path) = Endpoint::from_url(url)?;
            let answer = http::get(&endpoint, &path, ANSWER_TIMEOUT).await;
            let expected = |code: u16| status.map_or((200..300).contains(&code), |s| s == code);
            Some(answer.is_ok_and(|answer| expected(answer.status)))
        }
        ReadinessCheck::Tcp { address } => {
            let endpoint = Endpoint::from_authority(address)?;
            Some(http::touch(&endpoint, ANSWER_TIMEOUT).await.is_ok())
        }
        ReadinessCheck::Exec { .. } => None,
    }
}
