//! Shared by the tests of a whole wrapper: starts one around a script, and observes it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// Longest wait for anything that must happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A server that stops when asked.
pub(crate) const POLITE: &str = "trap 'echo term >>terms; exit 0' TERM; echo $$ >pid; touch ready; \
                      while :; do sleep 0.02; done";
/// A server that ignores the request.
pub(crate) const DEAF: &str = "trap 'echo term >>terms' TERM; echo $$ >pid; touch ready; \
                    while :; do sleep 0.02; done";

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fake-wrapper"));
        command.env("FAKE_DIR", self.dir.path());
        command.env("FAKE_SCRIPT", script);
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a wrapper and waits for its `READY` line.
    pub(crate) fn start(&self, command: &mut Command) -> Running {
        let mut child = Guard(command.spawn().unwrap());
        let (line, stdout) = first_line(child.0.stdout.take().unwrap());
        assert_eq!(line, "READY: fake fake://here\n");
        Running {
            child,
            stdout,
            server: pid_in(&self.path("pid")),
        }
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

pub(crate) struct Running {
    pub(crate) child: Guard,
    pub(crate) stdout: BufReader<ChildStdout>,
    pub(crate) server: Pid,
}

/// Kills the wrapper that a failed test would leave, and thereby its server.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guard {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap()
    }

    /// Waits for its exit.
    pub(crate) fn status(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        until(limit, "the wrapper ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

pub(crate) fn first_line(stdout: ChildStdout) -> (String, BufReader<ChildStdout>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let _ = sender.send((line, stdout));
    });
    receiver.recv_timeout(SOON).unwrap()
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.child.pid(), signal).unwrap();
    }

    /// Waits for the wrapper and checks that nothing is left. Returns its status and its output.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.status(SOON);
        assert!(!lives(self.server), "the server outlived its wrapper");
        let mut text = String::new();
        let mut stderr = self.child.0.stderr.take().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "stdout holds more than the READY line");
        (status, text)
    }
}

pub(crate) fn pid_in(file: &Path) -> Pid {
    let mut pid = None;
    until(SOON, "the server writes its pid", || {
        let text = fs::read_to_string(file).unwrap_or_default();
        pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.is_some()
    });
    pid.unwrap()
}

pub(crate) fn lives(pid: Pid) -> bool {
    // A zombie counts as dead, whichever process reaps it.
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let zombie = stat.is_ok_and(|stat| stat.rsplit(')').next().unwrap().starts_with(" Z"));
    test_kill_process(pid).is_ok() && !zombie
}

pub(crate) fn until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
