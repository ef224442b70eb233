//! Waits until every process is healthy.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use kit::{Exit, Failure};

use super::answers;
use super::client::Client;
use super::control::Control;
use super::last_words;
use super::listening;
use super::operation::StopRequest;
use super::settled::{Known, Settling};
use super::starts::Starts;
use super::state::{Phase, State, States, Status};
use crate::base::interrupt::Interrupt;
use crate::base::limits;
use crate::base::poll::{Waited, holds_by, patience, wait_until};
use crate::checkout::logs;
use crate::checkout::paths::Paths;
use crate::plan::stack::Stack;

/// How often the supervisor is polled.
const POLL: Duration = Duration::from_millis(5);

/// How long the last output of a process may take to reach its log file.
const LOG_TIMEOUT: Duration = patience(Duration::from_millis(500));

/// A log file that does not grow for this time is complete.
const LOG_QUIET: Duration = Duration::from_millis(50);

/// The state before a start: earlier restarts and log lines do not belong to it.
#[derive(Debug, Default)]
pub struct Baseline {
    /// How often each process may have been restarted.
    restarts: BTreeMap<String, u32>,
    log_sizes: BTreeMap<String, u64>,
}

impl Baseline {
    /// Records the present state: of the processes in `running`, and of all log files. A healthy
    /// process may crash once during the change, which is not the cause.
    pub fn take(paths: &Paths, stack: &Stack, running: &States) -> Self {
        let log_size = |name: &String| (name.clone(), logs::size(&paths.process_log(name)));
        let allowed = |(name, state): (&String, &State)| {
            let may_crash = u32::from(state.phase() == Phase::Ready);
            (name.clone(), state.restarts + may_crash)
        };
        Self {
            restarts: running.iter().map(allowed).collect(),
            log_sizes: stack.processes.keys().map(log_size).collect(),
        }
    }

    /// Whether a process has failed since. A process whose restart is pending, which is counted
    /// already, is still waited for.
    fn has_failed(&self, state: &State) -> bool {
        let allowed = self.restarts.get(&state.name).copied().unwrap_or(0);
        let awaited = state.status == Status::Restarting && state.restarts <= allowed;
        state.restarts > allowed || (state.phase() == Phase::Failed && !awaited)
    }

    /// Allows this number of earlier restarts.
    pub fn allow(&mut self, name: &str, restarts: u32) {
        self.restarts.insert(name.to_owned(), restarts);
    }

    /// Resets the count of a process that was changed by a reload.
    pub fn forget(&mut self, name: &str) {
        self.restarts.remove(name);
    }
}

/// What to wait for, and how.
#[derive(Debug)]
pub struct Wait<'a> {
    /// The paths of logs and locks.
    pub paths: &'a Paths,
    /// What must become healthy.
    pub stack: &'a Stack,
    /// The client of the supervisor.
    pub client: &'a Client,
    /// Whether the servers are asked, too. Not needed for processes that were just started: their
    /// first health is their own.
    pub ask: bool,
    /// Whether the user interrupted.
    pub interrupt: &'a Interrupt,
    /// The state before.
    pub baseline: &'a Baseline,
    /// When the wait ends.
    pub deadline: Instant,
    /// The allowed duration, for the message.
    pub timeout: Duration,
}

impl Wait<'_> {
    /// Polls until every process is ready. `seen` receives each state that is read. Fails as soon
    /// as a process fails, when the supervisor (`child`, if it is ours) exits, when a `down` is
    /// announced, or at the deadline.
    pub fn until_ready(
        &self,
        child: Option<&mut Child>,
        seen: impl FnMut(&States),
    ) -> anyhow::Result<States> {
        self.until_started(child, &mut Starts::default(), seen)
    }

    /// Polls like [`Wait::until_ready`], and starts the processes of `starts` meanwhile.
    pub(crate) fn until_started(
        &self,
        mut child: Option<&mut Child>,
        starts: &mut Starts,
        mut seen: impl FnMut(&States),
    ) -> anyhow::Result<States> {
        let control = Control::new(self.paths, self.client, self.interrupt);
        let mut late = (Vec::new(), States::new());
        let mut answers = listening::Answers::new();
        let mut settling = Settling::default();
        let ready = || -> anyhow::Result<Option<States>> {
            let states = match self.client.processes() {
                Ok(states) => states,
                Err(error) => {
                    self.supervisor_lives(child.as_deref_mut())?;
                    let words = last_words::of_all(self.paths);
                    let message = format!("the supervisor went away{words}");
                    let hint = limits::hint(&words).unwrap_or_else(|| self.paths.command("up"));
                    let failure = Failure::new(Exit::ServiceFailed, message);
                    return Err(failure.hint(hint).source(error).into());
                }
            };
            seen(&states);
            if let Some(failed) = self.first_failed(&states, starts) {
                return Err(self.failed(failed, answers.of(&failed.name)).into());
            }
            starts.start_due(&control, self.stack, &states)?;
            let waiting = self.waiting(&states, starts, &mut settling)?;
            if waiting.is_empty() {
                return Ok(Some(states));
            }
            answers.look(self.stack, &states, &waiting);
            self.supervisor_lives(child.as_deref_mut())?;
            if StopRequest::is_pending(self.paths) {
                let down = self.paths.command("down");
                let message = format!("gave up waiting: `{down}` was called");
                return Err(Failure::new(Exit::ServiceFailed, message).into());
            }
            late = (waiting, states);
            Ok(None)
        };
        match wait_until(self.deadline, POLL, self.interrupt, ready)? {
            Waited::Done(states) => Ok(states),
            Waited::Interrupted(interrupted) => Err(interrupted.into()),
            Waited::Deadline => Err(self.timed_out(&late.0, &late.1).into()),
        }
    }

    /// Fails with its last errors if the supervisor, if it is our child, has exited.
    fn supervisor_lives(&self, child: Option<&mut Child>) -> anyhow::Result<()> {
        let Some(Ok(Some(status))) = child.map(Child::try_wait) else {
            return Ok(());
        };
        let words = last_words::of_all(self.paths);
        let message = format!("the supervisor ended ({status}){words}");
        let hint = limits::hint(&words).unwrap_or_else(|| self.paths.command("up"));
        Err(Failure::new(Exit::ServiceFailed, message).hint(hint).into())
    }

    /// Returns the enabled processes that are not ready, in start order.
    fn waiting(
        &self,
        states: &States,
        starts: &Starts,
        settling: &mut Settling,
    ) -> anyhow::Result<Vec<String>> {
        let order = self.stack.order.iter();
        let wanted = order.filter(|name| !self.stack.processes[*name].disabled);
        let mut is_ready = |name: &String, state: &State| {
            let process = &self.stack.processes[name];
            let known = Known {
                restart: process.restart.restart,
                runner: process.runner,
            };
            state.phase() == Phase::Ready
                && settling.has_settled(state, known)
                && !starts.includes(state)
                && self.has_begun(state)
        };
        let waiting = wanted
            .clone()
            .filter(|name| !states.get(*name).is_some_and(|it| is_ready(name, it)));
        let waiting: Vec<String> = waiting.cloned().collect();
        if !waiting.is_empty() || !self.ask {
            return Ok(waiting);
        }
        let answers = answers::ask(self.paths.root(), self.stack)?;
        let silent = wanted.filter(|name| answers.get(*name) == Some(&false));
        Ok(silent.cloned().collect())
    }

    /// Whether the reported health can be the process's own: before a runner starts its program,
    /// another program that holds the port may answer there.
    fn has_begun(&self, state: &State) -> bool {
        let process = self.stack.processes.get(&state.name);
        let has_runner = process.is_some_and(|process| process.runner);
        !has_runner || !state.is_running || state.runner.is_some()
    }

    /// Returns the first process, in start order, that failed: later failures follow from it.
    fn first_failed<'s>(&self, states: &'s States, starts: &Starts) -> Option<&'s State> {
        let states = self.stack.order.iter().filter_map(|name| states.get(name));
        let failed = |state: &&State| self.baseline.has_failed(state) && !starts.includes(state);
        states
            .clone()
            .find(|s| failed(s) && s.status != Status::Skipped)
            .or_else(|| states.clone().find(failed))
    }

    fn failed(&self, state: &State, answer: &str) -> Failure {
        let name = &state.name;
        let how = match &state.status {
            Status::Skipped => "was not started: what it depends on failed".to_owned(),
            Status::Error => {
                let why = last_words::of_process(self.paths, name);
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                format!("cannot be started{why}")
            }
            _ => format!(
                "ended while it was starting, with exit code {}{answer}",
                state.exit_code
            ),
        };
        let words = self.log_tail(name);
        let log = match self.log_of(name) {
            Some(log) => format!("the whole log is in `{log}`"),
            None => self.no_log(),
        };
        let hint = match limits::refused(&words).or_else(|| limits::refused(&how)) {
            Some(limit) => format!("{limit}; {log}"),
            None => log,
        };
        Failure::new(Exit::ServiceFailed, format!("`{name}` {how}{words}"))
            .hint(hint)
            .about(name)
    }

    fn timed_out(&self, waiting: &[String], states: &States) -> Failure {
        let first = waiting.first().map(String::as_str).unwrap_or_default();
        let process = self.stack.processes.get(first);
        let probe = process.and_then(|p| p.readiness.as_ref());
        let mut probe = probe.map_or_else(String::new, |probe| format!(" by {}", probe.check));
        if let (Some(process), Some(state)) = (process, states.get(first)) {
            probe.push_str(&listening::describe(process, state.supervised_pid()));
        }
        let rest = match waiting.len() {
            0 | 1 => String::new(),
            more => format!(", and {} that wait for it", more - 1),
        };
        let message = format!(
            "`{first}` did not become healthy within {} s{probe}{rest}{}",
            self.timeout.as_secs(),
            self.log_tail(first)
        );
        let look = match self.log_of(first) {
            Some(log) => format!("look into `{log}`"),
            None => self.no_log(),
        };
        Failure::new(Exit::Timeout, message)
            .hint(format!("{look}, or allow more: --timeout SECONDS"))
            .about(first)
    }

    /// Returns the path of a process's log, if it exists.
    fn log_of(&self, name: &str) -> Option<String> {
        let log = self.paths.process_log(name);
        log.exists().then(|| self.paths.shown(&log))
    }

    /// Returns where to look if a process has not logged anything.
    fn no_log(&self) -> String {
        let log = self.paths.shown(&self.paths.supervisor_log());
        format!("it has logged nothing; the supervisor's log is `{log}`")
    }

    fn log_tail(&self, name: &str) -> String {
        let from = self.baseline.log_sizes.get(name).copied().unwrap_or(0);
        let path = self.paths.process_log(name);
        wait_until_written(&path, from);
        logs::tail(&path, from, logs::TAIL_LINES)
    }
}

/// Waits until the log has new lines and is complete: the supervisor reports an exit before it has
/// written the last output. The process may also have printed nothing.
fn wait_until_written(log: &Path, from: u64) {
    let deadline = Instant::now() + LOG_TIMEOUT;
    let mut size = logs::size(log);
    let mut since = Instant::now();
    holds_by(deadline, POLL, || {
        let now = logs::size(log);
        if now != size {
            (size, since) = (now, Instant::now());
        }
        size > from && since.elapsed() >= LOG_QUIET
    });
}
