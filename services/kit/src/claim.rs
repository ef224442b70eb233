//! Exclusive use of a data directory and of ports by one server.
//!
//! Owns the lock of a data directory and the check of ports. A predecessor may still be stopping
//! (its wrapper was killed, the server stops gracefully), so both waits have a short deadline.

use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, test_kill_process};
use tokio::time::Instant;

use crate::files::{FileLock, create_private_dir};
use crate::spawn::keep_open_on_exec;
use crate::{Exit, Failure, Lifecycle};

/// Name of the lock file in a data directory.
const LOCK_FILE: &str = ".lock";
/// How long a predecessor may take to leave.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(5);
/// How long a port may stay taken if the lock was free: another program will not release it.
const STRANGER_LIMIT: Duration = Duration::from_millis(500);
/// Pause between two attempts to take a lock or a port.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A port that a server is going to listen on.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// The variable that configures it, for the error.
    pub variable: &'static str,
    /// The address with the port.
    pub address: SocketAddr,
}

/// The right to run a server on a data directory. Servers started under it inherit it: the lock is
/// free once wrapper and server have exited.
#[derive(Debug)]
pub struct Claim {
    lock: FileLock,
    directory: PathBuf,
    deadline: Instant,
}

impl Claim {
    /// Creates `directory` and takes its lock, or fails with the name of the holder. Returns `None`
    /// if a stop was requested in the meantime.
    pub async fn take(lifecycle: &Lifecycle, directory: &Path) -> anyhow::Result<Option<Self>> {
        create_private_dir(directory)?;
        let path = directory.join(LOCK_FILE);
        let started = Instant::now();
        let mut limit = STRANGER_LIMIT;
        loop {
            if let Some(lock) = FileLock::try_exclusive(&path)? {
                keep_open_on_exec(lock.file()).context("cannot hand on the data lock")?;
                let claim = Self {
                    lock,
                    directory: directory.to_owned(),
                    deadline: started + limit,
                };
                claim.record(&[own_pid()]);
                return Ok(Some(claim));
            }
            limit = PREDECESSOR_LIMIT;
            if started.elapsed() > PREDECESSOR_LIMIT {
                return Err(held(directory, &path).into());
            }
            if pause(lifecycle).await.is_break() {
                return Ok(None);
            }
        }
    }

    /// Returns the data directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Records the server's pid, so that a program that waits for the lock can name the holder.
    pub(crate) fn record_server(&self, server: u32) {
        self.record(&[own_pid(), server]);
    }

    fn record(&self, pids: &[u32]) {
        let lines: Vec<String> = pids.iter().map(u32::to_string).collect();
        let text = lines.join("\n");
        let file = self.lock.file();
        // It only improves an error message: a full disk must not keep a server from running.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all_at(text.as_bytes(), 0))
            .and_then(|()| (&*file).flush());
    }

    /// Binds a port and keeps it. Returns `None` if a stop was requested in the meantime.
    pub async fn bind(
        &self,
        lifecycle: &Lifecycle,
        port: Port,
    ) -> anyhow::Result<Option<TcpListener>> {
        loop {
            match TcpListener::bind(port.address) {
                Ok(listener) => return Ok(Some(listener)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    if Instant::now() > self.deadline {
                        return Err(taken(port).into());
                    }
                }
                Err(error) => {
                    let what = format!("cannot listen on {} ({})", port.address, port.variable);
                    return Err(Failure::new(Exit::Invalid, what).source(error).into());
                }
            }
            if pause(lifecycle).await.is_break() {
                return Ok(None);
            }
        }
    }

    /// Checks that every port is free now. Returns `false` if a stop was requested meanwhile.
    pub async fn check_ports(&self, lifecycle: &Lifecycle, ports: &[Port]) -> anyhow::Result<bool> {
        for port in ports {
            if self.bind(lifecycle, *port).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

async fn pause(lifecycle: &Lifecycle) -> std::ops::ControlFlow<()> {
    tokio::select! {
        () = lifecycle.cancelled() => std::ops::ControlFlow::Break(()),
        () = tokio::time::sleep(RETRY_INTERVAL) => std::ops::ControlFlow::Continue(()),
    }
}

fn own_pid() -> u32 {
    std::process::id()
}

fn held(directory: &Path, lock: &Path) -> Failure {
    let holders = living_holders(&fs::read_to_string(lock).unwrap_or_default());
    let by = match holders.as_slice() {
        [] => "another process".to_owned(),
        pids => format!("process {}", pids.join(" and ")),
    };
    let message = format!("`{}` is in use by {by}", directory.display());
    Failure::new(Exit::Locked, message).hint("stop the stack that uses it: cargo xtask down")
}

fn living_holders(text: &str) -> Vec<String> {
    let alive = |line: &&str| {
        let pid = line.parse().ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| test_kill_process(pid).is_ok())
    };
    text.lines().filter(alive).map(str::to_owned).collect()
}

fn taken(port: Port) -> Failure {
    let message = format!(
        "port {} ({}) is taken on {}",
        port.address.port(),
        port.variable,
        port.address.ip()
    );
    Failure::new(Exit::PortTaken, message)
        .hint("end the program that listens there, or choose another port")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::exit_of;

    #[tokio::test]
    async fn a_held_directory_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::new();
        let first = Claim::take(&lifecycle, dir.path()).await.unwrap().unwrap();
        first.record_server(u32::try_from(i32::MAX).unwrap());
        let error = Claim::take(&lifecycle, dir.path()).await.unwrap_err();
        assert_eq!(exit_of(&error), Exit::Locked);
        let expected = format!("in use by process {}", own_pid());
        assert!(error.to_string().ends_with(&expected), "{error}");
    }

    #[tokio::test]
    async fn a_predecessor_that_leaves_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::new();
        let first = Claim::take(&lifecycle, dir.path()).await.unwrap();
        let (next, ()) = tokio::join!(Claim::take(&lifecycle, dir.path()), async {
            tokio::time::sleep(RETRY_INTERVAL * 3).await;
            drop(first);
        });
        assert!(next.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::new();
        let _first = Claim::take(&lifecycle, dir.path()).await.unwrap();
        lifecycle.stop();
        let second = Claim::take(&lifecycle, dir.path()).await.unwrap();
        assert!(second.is_none());
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_variable() {
        let dir = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::new();
        let claim = Claim::take(&lifecycle, dir.path()).await.unwrap().unwrap();
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = stranger.local_addr().unwrap();
        let port = Port {
            variable: "X_PORT",
            address,
        };
        let error = claim.check_ports(&lifecycle, &[port]).await.unwrap_err();
        assert_eq!(exit_of(&error), Exit::PortTaken);
        let expected = format!("port {} (X_PORT) is taken on 127.0.0.1", address.port());
        assert_eq!(error.to_string(), expected);
        drop(stranger);
        assert!(claim.check_ports(&lifecycle, &[port]).await.unwrap());
    }
}
