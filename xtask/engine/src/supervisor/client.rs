//! The REST client of process-compose, over its unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::http::{self, Endpoint, HttpError, Response};
use rustix::process::Signal;
use tokio::runtime::Runtime;

pub use super::api_error::{ApiError, Kind};
use super::runs::Runs;
use super::state::{Answer, Changes, PROCESSES, States};

/// How long an ordinary request may take. Milliseconds are usual.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for the answer to an order to stop one process. Its effect shows in the states,
/// and a refusal is repeated when the order is.
const STOP_TIMEOUT: Duration = Duration::from_millis(50);

/// How long to wait for a refusal to stop. The stop continues without our connection.
const STOP_ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// A client of one supervisor. Each call uses its own connection.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    socket: PathBuf,
    runtime: Runtime,
    runs: Option<Runs>,
}

impl Client {
    /// Creates a client for the supervisor at `socket`. Does not connect.
    pub fn new(socket: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            endpoint: Endpoint::Unix(socket.clone()),
            socket,
            runtime: kit::runtime::current_thread()?,
            runs: None,
        })
    }

    /// Adds the directory of runners' notes, to report programs instead of runners.
    #[must_use]
    pub fn with_runs(self, directory: PathBuf) -> Self {
        Self {
            runs: Some(Runs::new(directory)),
            ..self
        }
    }

    /// Returns the socket it connects to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether a program listens on the socket; sends no request.
    pub fn is_reachable(&self) -> bool {
        let touch = http::touch(&self.endpoint, ANSWER_TIMEOUT);
        self.runtime.block_on(touch).is_ok()
    }

    /// Whether a supervisor answers.
    pub fn is_live(&self) -> bool {
        self.request("GET", "/live", ANSWER_TIMEOUT)
            .is_ok_and(|answer| answer.status == 200)
    }

    /// Returns all processes. The request changes nothing, so a cut answer is requested once more.
    pub fn processes(&self) -> Result<States, ApiError> {
        let (method, path) = ("GET", PROCESSES);
        let body = match self.ask(method, path, ANSWER_TIMEOUT) {
            Err(ApiError {
                kind: Kind::Cut(_), ..
            }) => self.ask(method, path, ANSWER_TIMEOUT)?,
            answer => answer?,
        };
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| ApiError::unreadable(method, path, error))?;
        let mut states = answer.data;
        if let Some(runs) = &self.runs {
            for state in &mut states {
                runs.name_program(state);
            }
        }
        let states = states.into_iter();
        Ok(states.map(|state| (state.name.clone(), state)).collect())
    }

    /// Makes it read its file again and apply what changed. The answer takes as long as the removed
    /// processes take to stop.
    pub(super) fn reload(&self, timeout: Duration) -> Result<Changes, ApiError> {
        let (method, path) = ("POST", "/project/configuration");
        let body = self.ask(method, path, timeout)?;
        serde_json::from_slice(&body).map_err(|error| ApiError::unreadable(method, path, error))
    }

    /// Starts a process that is not running.
    pub(super) fn start(&self, name: &str) -> Result<(), ApiError> {
        let path = format!("/process/start/{name}");
        self.ask("POST", &path, ANSWER_TIMEOUT).map(drop)
    }

    /// Sends a signal to a process: to the program itself if it has a runner.
    pub(super) fn signal(&self, name: &str, signal: u8) -> Result<(), ApiError> {
        let program = self.runs.as_ref().and_then(|runs| runs.program(name));
        if let Some(program) = program
            && let Some(signal) = Signal::from_named_raw(i32::from(signal))
            && program.signal(signal)
        {
            return Ok(());
        }
        let path = format!("/process/signal/{name}/{signal}");
        self.ask("PATCH", &path, ANSWER_TIMEOUT).map(drop)
    }

    /// Orders it to stop a process, until another order starts it. Does not wait for the stop:
    /// [`Kind::Silent`] is the usual result for a process that takes a while.
    ///
    /// A process that is stopping already is not signalled again. [`Kind::NotRunning`] proves that
    /// the supervisor has released it.
    pub(super) fn stop(&self, name: &str) -> Result<(), ApiError> {
        let path = format!("/process/stop/{name}");
        self.ask("PATCH", &path, STOP_TIMEOUT).map(drop)
    }

    /// Orders it to stop everything in order and to exit. Does not wait for that: it would answer
    /// only afterwards.
    pub fn stop_project(&self) -> Result<(), ApiError> {
        match self.ask("POST", "/project/stop", STOP_ANSWER_TIMEOUT) {
            // It may also exit before it has answered.
            Err(ApiError {
                kind: Kind::Silent(_) | Kind::Cut(_),
                ..
            }) => Ok(()),
            answer => answer.map(drop),
        }
    }

    fn ask(&self, method: &str, path: &str, timeout: Duration) -> Result<Vec<u8>, ApiError> {
        let answer = self.request(method, path, timeout);
        ApiError::check(method, path, answer)
    }

    fn request(&self, method: &str, path: &str, timeout: Duration) -> Result<Response, HttpError> {
        let request = http::request(&self.endpoint, method, path, &[], None, timeout);
        self.runtime.block_on(request)
    }
}
