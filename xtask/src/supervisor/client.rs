//! The REST client of process-compose, over its unix socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use kit::http::{self, Endpoint, HttpError, Response};
use rustix::process::Signal;
use tokio::runtime::Runtime;

use super::runs::Runs;
use super::state::{Answer, States};

/// How long an ordinary question may take. Milliseconds are usual.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the order to stop is given to be refused. Stopping goes on without our connection.
const STOP_ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// A client of one supervisor. Each call is one connection.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    socket: PathBuf,
    runtime: Runtime,
    runs: Option<Runs>,
}

impl Client {
    /// A client for the supervisor at `socket`. Does not connect.
    pub fn new(socket: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            endpoint: Endpoint::Unix(socket.clone()),
            socket,
            runtime: kit::runtime::current_thread()?,
            runs: None,
        })
    }

    /// The same one, which knows where runners note what they run, and shows that.
    #[must_use]
    pub fn with_runs(self, directory: PathBuf) -> Self {
        Self {
            runs: Some(Runs::new(directory)),
            ..self
        }
    }

    /// Where it connects to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether somebody listens there, without asking anything.
    pub fn is_reachable(&self) -> bool {
        let touch = http::touch(&self.endpoint, ANSWER_TIMEOUT);
        self.runtime.block_on(touch).is_ok()
    }

    /// Whether a supervisor answers.
    pub fn is_live(&self) -> bool {
        self.request("GET", "/live", ANSWER_TIMEOUT)
            .is_ok_and(|answer| answer.status == 200)
    }

    /// All processes.
    pub fn processes(&self) -> anyhow::Result<States> {
        let answer = self.ask("GET", "/processes", ANSWER_TIMEOUT)?;
        let answer: Answer =
            serde_json::from_slice(&answer).context("cannot read the supervisor's processes")?;
        Ok(answer
            .data
            .into_iter()
            .map(|mut state| {
                if let Some(runs) = &self.runs {
                    runs.name_program(&mut state);
                }
                (state.name.clone(), state)
            })
            .collect())
    }

    /// Lets it read its file again and apply what changed. Returns `added`, `updated` or `removed`
    /// by process. The answer takes as long as the processes that are removed take to stop.
    pub fn reload(&self, timeout: Duration) -> anyhow::Result<BTreeMap<String, String>> {
        let answer = self.ask("POST", "/project/configuration", timeout)?;
        serde_json::from_slice(&answer).context("cannot read the supervisor's answer to a reload")
    }

    /// Whether a reload failed because the supervisor (at 1.120.0) missed the end of a process that
    /// it had told to stop: it looks for the end only after it has sent the signal. It then waits
    /// for the whole shutdown timeout and finds nothing to kill. All else was done, but the process
    /// is not started again.
    pub fn missed_an_end(error: &anyhow::Error) -> bool {
        format!("{error:#}").contains("no such process")
    }

    /// Starts a process that does not run.
    pub fn start(&self, name: &str) -> anyhow::Result<()> {
        self.ask("POST", &format!("/process/start/{name}"), ANSWER_TIMEOUT)
            .map(drop)
    }

    /// Sends a signal to a process: to the program itself, where a runner stands above it.
    pub fn signal(&self, name: &str, signal: u8) -> anyhow::Result<()> {
        if let Some(program) = self.runs.as_ref().and_then(|runs| runs.program(name)) {
            let signal = Signal::from_named_raw(i32::from(signal));
            let signal =
                signal.with_context(|| format!("cannot send such a signal to `{name}`"))?;
            ensure!(program.signal(signal), "cannot signal {program}");
            return Ok(());
        }
        let path = format!("/process/signal/{name}/{signal}");
        self.ask("PATCH", &path, ANSWER_TIMEOUT).map(drop)
    }

    /// Stops a process, for as long as nobody starts it. The answer takes as long as that takes.
    pub fn stop(&self, name: &str, timeout: Duration) -> anyhow::Result<()> {
        match self.ask("PATCH", &format!("/process/stop/{name}"), timeout) {
            Err(error) if !Self::missed_an_end(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks it to stop a process, for as long as nobody starts it. Does not wait for that: when it
    /// misses the end, see [`Client::missed_an_end`], it answers only after the whole timeout.
    pub fn begin_stop(&self, name: &str) -> anyhow::Result<()> {
        let (method, path) = ("PATCH", format!("/process/stop/{name}"));
        match self.request(method, &path, STOP_ANSWER_TIMEOUT) {
            Err(HttpError::Silent(_)) => Ok(()),
            answer => accepted(method, &path, answer).map(drop),
        }
    }

    /// Whether a start was refused because the process runs, as far as the supervisor knows.
    pub fn runs_already(error: &anyhow::Error) -> bool {
        format!("{error:#}").contains("is already running")
    }

    /// Asks it to stop everything in order and to end. Does not wait for that: it would answer
    /// only when it is done.
    pub fn stop_project(&self) -> anyhow::Result<()> {
        let (method, path) = ("POST", "/project/stop");
        match self.request(method, path, STOP_ANSWER_TIMEOUT) {
            // It may also be gone before it has answered.
            Err(HttpError::Silent(_) | HttpError::Broken { .. }) => Ok(()),
            answer => accepted(method, path, answer).map(drop),
        }
    }

    fn ask(&self, method: &str, path: &str, timeout: Duration) -> anyhow::Result<Vec<u8>> {
        accepted(method, path, self.request(method, path, timeout))
    }

    fn request(&self, method: &str, path: &str, timeout: Duration) -> Result<Response, HttpError> {
        let request = http::request(&self.endpoint, method, path, &[], None, timeout);
        self.runtime.block_on(request)
    }
}

/// The body of a good answer.
fn accepted(
    method: &str,
    path: &str,
    answer: Result<Response, HttpError>,
) -> anyhow::Result<Vec<u8>> {
    let doing = || format!("cannot ask the supervisor for `{method} {path}`");
    let answer = answer.with_context(doing)?;
    if !(200..300).contains(&answer.status) {
        let text = String::from_utf8_lossy(&answer.body);
        bail!(
            "{}: it answered {}: {}",
            doing(),
            answer.status,
            text.trim()
        );
    }
    Ok(answer.body)
}
