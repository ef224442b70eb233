//! Runs an upstream server: start, readiness, reload, stop, and the meaning of its exit.
//!
//! Owns the order of these things for every service. Must not know any server: the service defines
//! through [`Upstream`] what "ready" means and how a reload is done.

mod child;
mod reload;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::Instant;

use crate::claim::Claim;
use crate::disk;
use crate::output::Output;
use crate::settings::Environment;
use crate::{Exit, Failure, Lifecycle};

use child::Server;
pub use child::ServerHandle;
use reload::{Applied, Reloads};

/// First and longest pause between two polls of a server that is not ready.
const READY_POLL_FIRST: Duration = Duration::from_millis(2);
const READY_POLL_MAX: Duration = Duration::from_millis(25);
/// Window in which [`Launch::respawns_max`] counts.
const RESPAWN_WINDOW: Duration = Duration::from_mins(1);
/// Exit code when the server exited with code 0 without a request to stop.
const UNASKED_END_CODE: u8 = 1;

/// The program to start, and how.
#[derive(Debug)]
pub struct Launch {
    /// The service's name, for the `READY` line.
    pub name: &'static str,
    /// The program, as an absolute path.
    pub program: PathBuf,
    /// Its arguments. No secrets: every local user can read them.
    pub args: Vec<String>,
    /// Its environment besides [`PASSED_VARIABLES`](crate::spawn::PASSED_VARIABLES).
    pub env: Vec<(&'static str, String)>,
    /// Its working directory; default: ours.
    pub working_dir: Option<PathBuf>,
    /// Its standard input; default: none.
    pub stdin: Option<OwnedFd>,
    /// How long it may take to become ready.
    pub ready_limit: Duration,
    /// How often it is restarted within a minute when it exits by itself after it was ready.
    pub respawns_max: usize,
    /// Where the outcome of the last reload is written.
    pub reload_report: PathBuf,
}

/// The part of a service that knows its server.
pub trait Upstream {
    /// Returns the address for clients, with a scheme.
    fn address(&self) -> String;

    /// Returns a further note for stderr once the server is ready.
    fn note(&self) -> Option<String> {
        None
    }

    /// Polls once whether the server answers and is ours. An error aborts the start: another server
    /// answers.
    fn is_ready(&mut self) -> impl Future<Output = anyhow::Result<bool>>;

    /// Returns how the server is stopped when it is no longer needed. Called before each reload.
    fn retirement(&mut self) -> anyhow::Result<Option<Retirement>> {
        Ok(None)
    }

    /// Applies changes in `environment` or elsewhere and verifies them; returns what is in effect
    /// now. After an error the server runs on as before.
    fn reload(
        &mut self,
        server: &ServerHandle,
        environment: &Environment,
    ) -> impl Future<Output = anyhow::Result<String>>;
}

/// The end of a server that is no longer needed, while its wrapper runs until it is stopped: a
/// supervisor would restart a wrapper that exited.
#[derive(Debug, Clone, Copy)]
pub struct Retirement {
    /// How long the server may take after SIGUSR2, which asks it to disconnect its clients.
    pub limit: Duration,
}

/// The value of `applied` in the report after a retirement.
const RETIRED: &str = "retired";

/// How one run of the server ended.
enum Life {
    /// We stopped it; the exit code.
    Stopped(u8),
    /// It exited by itself.
    Unasked { status: ExitStatus, was_ready: bool },
}

/// Runs the server until a stop is requested or it exits by itself; returns the exit code of the
/// wrapper: that of the server, 128 + n for signal n, 0 when a signal of ours ended it.
pub async fn run(
    lifecycle: &Lifecycle,
    claim: &Claim,
    launch: &Launch,
    upstream: &mut impl Upstream,
) -> anyhow::Result<u8> {
    let mut output = Output::start(lifecycle.is_supervised());
    let result = lives(lifecycle, claim, launch, upstream, &mut output).await;
    output.finish().await;
    result
}

async fn lives(
    lifecycle: &Lifecycle,
    claim: &Claim,
    launch: &Launch,
    upstream: &mut impl Upstream,
    output: &mut Output,
) -> anyhow::Result<u8> {
    let report = launch.reload_report.clone();
    let mut reloads = Reloads::begin(report, lifecycle.settings(), output);
    let mut respawns: Vec<Instant> = Vec::new();
    loop {
        let server = Server::spawn(launch, lifecycle, output)?;
        claim.record_server(server.handle().pid());
        let first = respawns.is_empty();
        let life = live(
            lifecycle,
            launch,
            upstream,
            output,
            server,
            &mut reloads,
            first,
        )
        .await?;
        let (status, was_ready) = match life {
            Life::Stopped(code) => return Ok(code),
            Life::Unasked { status, was_ready } => (status, was_ready),
        };
        let what = format!("`{}` {}", program_name(launch), describe_end(status));
        respawns.retain(|at| at.elapsed() < RESPAWN_WINDOW);
        let again = (was_ready || !respawns.is_empty()) && respawns.len() < launch.respawns_max;
        if !again {
            let when = if was_ready {
                ""
            } else {
                " before it was ready"
            };
            // A server that cannot write exits, and many do not report why.
            let full = disk::shortage(claim.directory());
            let full = full.map_or_else(String::new, |full| format!(": {full}"));
            output.note(&format!("error: {what} by itself{when}{full}"));
            return Ok(unasked_code(status));
        }
        respawns.push(Instant::now());
        output.note(&format!(
            "warning: {what} by itself; starting it again ({} of {} in a minute)",
            respawns.len(),
            launch.respawns_max
        ));
    }
}

/// Runs the server once, from its start to its exit.
async fn live(
    lifecycle: &Lifecycle,
    launch: &Launch,
    upstream: &mut impl Upstream,
    output: &Output,
    mut server: Server,
    reloads: &mut Reloads,
    announce: bool,
) -> anyhow::Result<Life> {
    let ready = tokio::select! {
        biased;
        () = lifecycle.cancelled() => {
            return Ok(Life::Stopped(server.stop(lifecycle, output).await?));
        }
        status = server.wait() => {
            return Ok(Life::Unasked { status: status?, was_ready: false });
        }
        ready = until_ready(upstream, launch) => ready,
    };
    if let Err(error) = ready {
        server.stop(lifecycle, output).await?;
        return Err(error);
    }
    // A server answered; check that ours still runs.
    if let Some(status) = server.ended()? {
        return Ok(Life::Unasked {
            status,
            was_ready: false,
        });
    }
    if announce {
        output.ready(launch.name, &upstream.address());
        if let Some(note) = upstream.note() {
            output.note(&note);
        }
    }
    loop {
        let handle = server.handle();
        let reload = async {
            lifecycle.reload_requested().await;
            match upstream.retirement() {
                Ok(Some(retirement)) => Ok(Reloaded::Retire(retirement)),
                Ok(None) => reload(upstream, &handle).await.map(Reloaded::Applied),
                Err(error) => Err(error),
            }
        };
        let result = tokio::select! {
            biased;
            () = lifecycle.cancelled() => {
                return Ok(Life::Stopped(server.stop(lifecycle, output).await?));
            }
            status = server.wait() => {
                return Ok(Life::Unasked { status: status?, was_ready: true });
            }
            result = reload => result,
        };
        match result {
            Ok(Reloaded::Applied(applied)) => reloads.record(&Ok(applied), output),
            Ok(Reloaded::Retire(retirement)) => {
                let code = server.retire(retirement.limit, lifecycle, output).await?;
                let retired = Applied {
                    what: RETIRED.to_owned(),
                    settings: None,
                };
                reloads.record(&Ok(retired), output);
                lifecycle.cancelled().await;
                return Ok(Life::Stopped(code));
            }
            Err(error) => reloads.record(&Err(error), output),
        }
    }
}

async fn reload(upstream: &mut impl Upstream, server: &ServerHandle) -> anyhow::Result<Applied> {
    let environment = Environment::read()?;
    let what = upstream.reload(server, &environment).await?;
    let settings = environment.id().map(str::to_owned);
    Ok(Applied { what, settings })
}

/// The result of a reload request.
enum Reloaded {
    Applied(Applied),
    Retire(Retirement),
}

async fn until_ready(upstream: &mut impl Upstream, launch: &Launch) -> anyhow::Result<()> {
    let mut pause = READY_POLL_FIRST;
    let poll = async {
        while !upstream.is_ready().await? {
            tokio::time::sleep(pause).await;
            pause = (pause * 6 / 5).min(READY_POLL_MAX);
        }
        Ok(())
    };
    let limit = launch.ready_limit;
    tokio::time::timeout(limit, poll).await.unwrap_or_else(|_| {
        let name = program_name(launch);
        let message = format!("`{name}` was not ready within {} s", limit.as_secs_f32());
        Err(Failure::new(Exit::Timeout, message).into())
    })
}

fn program_name(launch: &Launch) -> String {
    let name = launch.program.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Describes how a process ended: `ended with exit code 3`, `was killed by signal 9`.
fn describe_end(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// Returns the exit code of a server that exited by itself; never 0, as no stop was requested.
pub fn unasked_code(status: ExitStatus) -> u8 {
    match exit_code(status) {
        0 => UNASKED_END_CODE,
        code => code,
    }
}

/// Returns the exit code of a process, 128 + n for signal n.
pub fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(UNASKED_END_CODE)
}

/// Returns the address by which this machine reaches a server that listens on `host`.
pub fn reachable(host: IpAddr, port: u16) -> SocketAddr {
    let host = match host {
        IpAddr::V4(v4) if v4.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(host, port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn exit_codes() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(exit_code(exited(0)), 0);
        assert_eq!(exit_code(exited(3)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
        assert_eq!(unasked_code(exited(0)), 1);
        assert_eq!(unasked_code(exited(2)), 2);
        assert_eq!(describe_end(exited(3)), "ended with exit code 3");
        assert_eq!(
            describe_end(ExitStatus::from_raw(9)),
            "was ended by signal 9"
        );
    }

    #[test]
    fn wildcard_addresses_are_reached_through_loopback() {
        let reach = |host: &str| reachable(host.parse().unwrap(), 1).to_string();
        assert_eq!(reach("0.0.0.0"), "127.0.0.1:1");
        assert_eq!(reach("::"), "[::1]:1");
        assert_eq!(reach("192.0.2.1"), "192.0.2.1:1");
    }
}
