//! The server's process: spawns, signals and stops it.
//!
//! It is signalled only while it has not been waited for, so that its pid is its own.

use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use tokio::process::Child;

use super::{Launch, describe_end, exit_code, program_name};
use crate::output::{Output, Tail};
use crate::spawn::{PASSED_VARIABLES, stop_with_parent};
use crate::{Exit, Failure, Lifecycle};

/// How long a server may take to stop before it is killed. The supervisor kills us after 10 s.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// The limit once no supervisor is left that would kill us: all must be over in 4 s.
const ORPHAN_STOP_LIMIT: Duration = Duration::from_secs(3);
/// How long the kernel may take to end a killed process.
const KILL_LIMIT: Duration = Duration::from_millis(700);

/// A running server.
pub(super) struct Server {
    name: String,
    child: Child,
    handle: ServerHandle,
}

/// The running server, as a reload may use it.
#[derive(Debug, Clone)]
pub struct ServerHandle {
    pid: Pid,
    tail: Tail,
}

impl ServerHandle {
    /// Returns its pid.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns its last lines.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Sends SIGHUP. Call it only while the server runs, as during a reload.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        rustix::process::kill_process(self.pid, Signal::HUP)
            .with_context(|| format!("cannot signal process {}", self.pid()))
    }
}

impl Server {
    /// Starts the server with a clean environment; its output is piped through us.
    pub(super) fn spawn(
        launch: &Launch,
        lifecycle: &Lifecycle,
        output: &mut Output,
    ) -> anyhow::Result<Self> {
        let command = command(launch, lifecycle)?;
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .map_err(|error| cannot_start(launch, error))?;
        if let Some(pipe) = child.stdout.take() {
            output.forward(pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            output.forward(pipe);
        }
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(Pid::from_raw);
        let handle = ServerHandle {
            pid: pid.context("the server has no process id")?,
            tail: output.tail(),
        };
        Ok(Self {
            name: program_name(launch),
            child,
            handle,
        })
    }

    pub(super) fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Waits for the server to exit. May be dropped and called again.
    pub(super) async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.child
            .wait()
            .await
            .context("cannot wait for the server")
    }

    /// Returns its exit status, if it has exited.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for the server")
    }

    /// Stops it: exactly one SIGTERM (a second one makes PocketBase skip its checkpoint), a bounded
    /// wait, SIGKILL. Returns the exit code.
    pub(super) async fn stop(
        &mut self,
        lifecycle: &Lifecycle,
        output: &Output,
    ) -> anyhow::Result<u8> {
        if self.ended()?.is_none() {
            // It may exit at this moment; then the wait below notices.
            let _ = rustix::process::kill_process(self.handle.pid, Signal::TERM);
        }
        let why = tokio::select! {
            biased;
            status = self.child.wait() => {
                return Ok(self.stopped_code(status.context("cannot wait for the server")?, output));
            }
            () = lifecycle.killed() => "a second stop was asked for".to_owned(),
            () = tokio::time::sleep(STOP_LIMIT) => {
                format!("no end within {} s", STOP_LIMIT.as_secs())
            }
            () = orphan_limit(lifecycle) => "the parent is gone".to_owned(),
        };
        output.note(&format!("warning: `{}` is killed: {why}", self.name));
        self.child.start_kill().context("cannot kill the server")?;
        let killed = tokio::time::timeout(KILL_LIMIT, self.child.wait()).await;
        let status = killed.map_err(|_| {
            let message = format!(
                "`{}` (process {}) did not end after SIGKILL",
                self.name,
                self.handle.pid()
            );
            Failure::new(Exit::Survivors, message)
        })?;
        Ok(self.stopped_code(status.context("cannot wait for the server")?, output))
    }

    /// Asks it with SIGUSR2 to disconnect its clients and to exit; stops it when it takes longer
    /// than `limit` or when a stop is requested. Returns the exit code.
    pub(super) async fn retire(
        &mut self,
        limit: Duration,
        lifecycle: &Lifecycle,
        output: &Output,
    ) -> anyhow::Result<u8> {
        if self.ended()?.is_none() {
            // It may exit at this moment; then the wait below notices.
            let _ = rustix::process::kill_process(self.handle.pid, Signal::USR2);
        }
        tokio::select! {
            biased;
            status = self.child.wait() => {
                return Ok(self.stopped_code(status.context("cannot wait for the server")?, output));
            }
            () = lifecycle.cancelled() => {}
            () = tokio::time::sleep(limit) => {}
        }
        self.stop(lifecycle, output).await
    }

    /// Returns its own exit code, or 0 when a signal of ours ended it.
    fn stopped_code(&self, status: ExitStatus, output: &Output) -> u8 {
        use std::os::unix::process::ExitStatusExt as _;
        let ours = [Signal::TERM.as_raw(), Signal::KILL.as_raw()];
        if status.signal().is_some_and(|signal| ours.contains(&signal)) {
            return 0;
        }
        let code = exit_code(status);
        if code != 0 {
            let end = describe_end(status);
            output.note(&format!(
                "warning: `{}` {end} when it was stopped",
                self.name
            ));
        }
        code
    }
}

async fn orphan_limit(lifecycle: &Lifecycle) {
    lifecycle.orphaned().await;
    tokio::time::sleep(ORPHAN_STOP_LIMIT).await;
}

fn command(launch: &Launch, lifecycle: &Lifecycle) -> anyhow::Result<Command> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).env_clear();
    let passed_on = PASSED_VARIABLES.into_iter();
    command.envs(passed_on.filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    if let Some(directory) = &launch.working_dir {
        command.current_dir(directory);
    }
    let stdin = match &launch.stdin {
        Some(descriptor) => Stdio::from(descriptor.try_clone().context("cannot copy stdin")?),
        None => Stdio::null(),
    };
    command.stdin(stdin);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    stop_with_parent(&mut command);
    if !lifecycle.is_supervised() {
        // Ctrl-C in a terminal reaches the whole group: the server receives it once, from us.
        command.process_group(0);
    }
    Ok(command)
}

fn cannot_start(launch: &Launch, error: std::io::Error) -> Failure {
    let message = format!("cannot start `{}`", launch.program.display());
    let exit = match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => Exit::Binary,
        _ => Exit::ServiceFailed,
    };
    Failure::new(exit, message)
        .hint("cargo xtask dep fetch")
        .source(error)
}
