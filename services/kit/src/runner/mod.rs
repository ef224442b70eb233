//! Runs a program that does not know Core, and stops its descendants with it, before its exit is
//! reported.
//!
//! Owns the order of these things for every service without a wrapper: its ports are free, the
//! program runs in its own session, a stop signals its process group, then what left the group,
//! then all by SIGKILL. Must not know what the program is. Like every service it never installs a
//! signal handler: requests come through [`Lifecycle`], and signals for the program through a
//! channel.

mod ports;
pub mod record;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::output::Output;
use crate::process::{self, Mark, rest};
use crate::server::exit_code;
use crate::{Exit, Failure, Lifecycle, spawn};
use record::Record;

/// Shortest time between SIGTERM and SIGKILL for processes that left the process group.
const REST_GRACE: Duration = Duration::from_secs(1);
/// Longest grace once no supervisor is left that would kill us: the same as in wrappers.
const ORPHAN_GRACE: Duration = Duration::from_secs(3);
/// How long the kernel may take to end the killed program.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// Seconds by which a supervisor's own limit must exceed [`Order::grace`]: the graces of processes
/// that left the group and of the kernel, twice.
pub const STOP_MARGIN_SECONDS: u32 = 4;
/// Exit codes of shells when a program is not found, and when it cannot be executed.
const NOT_FOUND_CODE: u8 = 127;
const NOT_EXECUTABLE_CODE: u8 = 126;

/// The program to run, and how it is stopped.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    /// The process of the stack, as in its mark.
    pub name: String,
    /// The file that records it while any of its processes runs.
    pub record: PathBuf,
    /// The signal that asks it to stop.
    pub signal: Signal,
    /// How long it may take from that signal to SIGKILL.
    pub grace: Duration,
    /// Whether only the program receives the signal, not its process group.
    pub main_only: bool,
    /// Its addresses: another program that listens there would be taken for it.
    pub ports: Vec<SocketAddr>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

/// How the program ended.
enum Ended {
    ByItself(ExitStatus),
    /// The program was stopped; nothing of it may run after this moment.
    Stopped(ExitStatus, Instant),
}

/// Runs the program to its exit, stops its descendants and returns its code, 128 + n for signal n.
pub async fn run(
    order: &Order,
    lifecycle: &Lifecycle,
    passed_on: &mut mpsc::UnboundedReceiver<Signal>,
) -> anyhow::Result<u8> {
    let mut output = Output::start(true);
    let result = life(order, lifecycle, passed_on, &mut output).await;
    output.finish().await;
    result
}

async fn life(
    order: &Order,
    lifecycle: &Lifecycle,
    passed_on: &mut mpsc::UnboundedReceiver<Signal>,
    output: &mut Output,
) -> anyhow::Result<u8> {
    // Our parent may have passed on its locks: we hold them, the program must not.
    spawn::close_on_exec().context("cannot list what is open")?;
    process::become_reaper().context("cannot become the parent of orphans")?;
    record::end_predecessor(order, output).await?;
    ports::check(&order.name, &order.ports)?;
    let record = Record::of_us();
    note_failure(record.write(&order.record), output);
    let mut main = match Main::spawn(order, output) {
        Ok(main) => main,
        Err(error) => {
            record::remove(&order.record);
            return cannot_run(order, &error, output);
        }
    };
    note_failure(record.with_program(main.pid()).write(&order.record), output);
    let ended = main.until_end(order, lifecycle, passed_on, output).await?;
    let (status, grace_end) = match ended {
        Ended::ByItself(status) => (status, Instant::now() + order.grace),
        Ended::Stopped(status, end) => (status, end),
    };
    let left = main.end_rest(lifecycle, grace_end).await;
    if left.is_empty() {
        record::remove(&order.record);
    } else {
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        output.note(&format!(
            "error: still running after SIGKILL: {}",
            left.join(", ")
        ));
    }
    Ok(exit_code(status))
}

/// A full disk must not keep a service from running: the record is only an aid.
fn note_failure(result: anyhow::Result<()>, output: &Output) {
    if let Err(error) = result {
        output.note(&format!("warning: {error:#}"));
    }
}

fn cannot_run(order: &Order, error: &io::Error, output: &Output) -> anyhow::Result<u8> {
    let program = order.command.first().cloned().unwrap_or_default();
    let program = program.to_string_lossy();
    output.note(&format!("error: cannot run `{program}`: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => Ok(NOT_FOUND_CODE),
        io::ErrorKind::PermissionDenied => Ok(NOT_EXECUTABLE_CODE),
        _ => {
            let message = format!("cannot run `{program}`");
            Err(Failure::new(Exit::ServiceFailed, message).into())
        }
    }
}

/// The program itself.
struct Main {
    child: Child,
    pid: Pid,
    signalled: rest::Signalled,
}

impl Main {
    fn spawn(order: &Order, output: &mut Output) -> io::Result<Self> {
        let (program, arguments) = order
            .command
            .split_first()
            .ok_or_else(|| io::Error::other("no program is named"))?;
        let mut command = std::process::Command::new(program);
        command.args(arguments);
        if let Some(mark) = Mark::own() {
            let mark = mark.of_process(&order.name);
            command.env(process::mark::VARIABLE, mark.to_string());
        }
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        spawn::new_session(&mut command);
        spawn::stop_with_parent(&mut command);
        let mut child = Command::from(command).spawn()?;
        if let Some(pipe) = child.stdout.take() {
            output.forward(pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            output.forward_errors(pipe);
        }
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(Pid::from_raw);
        Ok(Self {
            pid: pid.ok_or_else(|| io::Error::other("it has no process id"))?,
            child,
            signalled: rest::Signalled::default(),
        })
    }

    fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits until the program itself has exited, by itself or after a stop.
    async fn until_end(
        &mut self,
        order: &Order,
        lifecycle: &Lifecycle,
        passed_on: &mut mpsc::UnboundedReceiver<Signal>,
        output: &Output,
    ) -> anyhow::Result<Ended> {
        let mut ends = signal(SignalKind::child()).context("cannot wait for orphans")?;
        loop {
            tokio::select! {
                biased;
                () = lifecycle.cancelled() => {
                    return self.stop(order, lifecycle, output).await;
                }
                status = self.child.wait() => {
                    let status = status.context("cannot wait for the program")?;
                    return Ok(Ended::ByItself(status));
                }
                Some(signal) = passed_on.recv() => {
                    // It has not been waited for, so the pid is its own.
                    let _ = kill_process(self.pid, signal);
                }
                _ = ends.recv() => process::reap(Some(self.pid())),
            }
        }
    }

    /// Asks the program to stop, at most once; kills its group after the grace period.
    async fn stop(
        &mut self,
        order: &Order,
        lifecycle: &Lifecycle,
        output: &Output,
    ) -> anyhow::Result<Ended> {
        let grace_end = Instant::now() + order.grace;
        // It may exit at this moment; then the wait below notices.
        if order.main_only {
            let _ = kill_process(self.pid, order.signal);
        } else {
            let group = self.pid();
            let mut members = rest::below_us(group);
            members.retain(|process| process.group == group);
            self.signalled.note_asked(&members);
            let _ = kill_process_group(self.pid, order.signal);
        }
        let why = tokio::select! {
            biased;
            status = self.child.wait() => {
                let status = status.context("cannot wait for the program")?;
                return Ok(Ended::Stopped(status, grace_end));
            }
            () = lifecycle.killed() => "a second stop was requested".to_owned(),
            () = orphan_limit(lifecycle) => "the supervisor is gone".to_owned(),
            () = tokio::time::sleep_until(grace_end) => {
                format!("no end within {} s", order.grace.as_secs_f32())
            }
        };
        output.note(&format!("warning: `{}` is killed: {why}", order.name));
        let _ = kill_process_group(self.pid, Signal::KILL);
        let killed = tokio::time::timeout(KILL_LIMIT, self.child.wait()).await;
        let status = killed.map_err(|_| {
            let message = format!(
                "`{}` (pid {}) did not end after SIGKILL",
                order.name,
                self.pid()
            );
            Failure::new(Exit::Survivors, message)
        })?;
        let status = status.context("cannot wait for the program")?;
        Ok(Ended::Stopped(status, Instant::now()))
    }

    /// Stops all processes that the program left behind.
    async fn end_rest(
        &mut self,
        lifecycle: &Lifecycle,
        grace_end: Instant,
    ) -> Vec<process::Process> {
        let grace_end = grace_end.max(Instant::now() + REST_GRACE);
        let hurry = async {
            tokio::select! {
                () = lifecycle.killed() => {}
                () = orphan_limit(lifecycle) => {}
            }
        };
        let group = self.pid();
        rest::end_below_us(group, &mut self.signalled, grace_end, hurry).await
    }
}

async fn orphan_limit(lifecycle: &Lifecycle) {
    lifecycle.orphaned().await;
    tokio::time::sleep(ORPHAN_GRACE).await;
}
