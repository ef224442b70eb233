//! Runs a command with a deadline: exit code, stdout and stderr, always all three.
//!
//! Must only kill the process that was started here.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::{eventually, within};

/// How long a command may take. Longer than every deadline of the commands themselves.
const COMMAND_LIMIT: Duration = Duration::from_mins(2);

/// How long the output of an exited command may stay open: a process that it started and that holds
/// it would block every pipeline.
const OUTPUT_LIMIT: Duration = Duration::from_secs(10);

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Run {
    /// The command line.
    pub(crate) line: String,
    /// Exit code, 128 + n when it died of signal n.
    pub(crate) code: i32,
    /// All of its stdout.
    pub(crate) stdout: String,
    /// All of its stderr.
    pub(crate) stderr: String,
    /// How long it ran.
    pub(crate) took: Duration,
}

impl Run {
    /// Fails the test unless it exited with `code`.
    #[track_caller]
    pub(crate) fn ends(self, code: u8) -> Self {
        let Self {
            line,
            stdout,
            stderr,
            ..
        } = &self;
        assert_eq!(
            self.code,
            i32::from(code),
            "`{line}` ended so\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
        self
    }

    /// Fails the test unless it exited with code 0.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.ends(0)
    }

    /// Fails the test unless it was killed.
    #[track_caller]
    pub(crate) fn killed(self) -> Self {
        self.ends(128 + 9)
    }

    /// Returns its stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// A running command. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    line: String,
    begun: Instant,
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

#[derive(Debug)]
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    closing: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn start(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = text.clone();
        let closing = Arc::new(AtomicBool::new(false));
        let close = closing.clone();
        let reader = thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            // Unbuffered: a view on a terminal writes no lines.
            while let Ok(bytes) = pipe.fill_buf() {
                let read = bytes.len();
                if read == 0 || close.load(Ordering::Relaxed) {
                    return;
                }
                shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(bytes);
                pipe.consume(read);
            }
        });
        Self {
            text,
            closing,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn whole(&mut self, line: &str) -> String {
        let ended = || {
            self.reader
                .as_ref()
                .is_none_or(JoinHandle::is_finished)
                .then_some(())
        };
        assert!(
            within(OUTPUT_LIMIT, ended).is_some(),
            "`{line}` ended, but something that it started holds its output open"
        );
        if let Some(reader) = self.reader.take() {
            reader
                .join()
                .expect("the reader of a command's output does not panic");
        }
        self.text()
    }
}

impl Running {
    /// Starts a command whose environment is already set.
    #[track_caller]
    pub(super) fn spawn(line: &str, command: Command) -> Self {
        Self::spawn_with(line, command, Stdio::null())
    }

    /// Like `spawn`, with a given stdin.
    #[track_caller]
    pub(super) fn spawn_with(line: &str, mut command: Command, stdin: Stdio) -> Self {
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("`{line}`: {error}"));
        let stdout = Collected::start(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Collected::start(child.stderr.take().expect("stderr is a pipe"));
        Self {
            line: line.to_owned(),
            begun: Instant::now(),
            child,
            stdout,
            stderr,
        }
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids fit")
    }

    /// Types on its terminal. A command that has just exited reads nothing.
    pub(crate) fn types(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().expect("it has a terminal");
        let _ = stdin
            .write_all(keys.as_bytes())
            .and_then(|()| stdin.flush());
    }

    /// Whether it exits within `limit`.
    #[track_caller]
    pub(crate) fn ends_within(&mut self, limit: Duration) -> bool {
        let ended = || {
            self.child
                .try_wait()
                .expect("the command can be waited for")
        };
        within(limit, ended).is_some()
    }

    /// Returns its stdout so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Sends a signal to it alone.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a process id is not zero");
        rustix::process::kill_process(pid, signal).expect("the command can be signalled");
    }

    /// Closes its stdout before its next output there.
    pub(crate) fn close_stdout(&self) {
        self.stdout.closing.store(true, Ordering::Relaxed);
    }

    /// Waits until `wanted` appears in its stdout.
    #[track_caller]
    pub(crate) fn wait_for_stdout(&mut self, wanted: &str) {
        self.wait_for_text(wanted, |running| running.stdout.text());
    }

    /// Waits until `wanted` appears in its stderr.
    #[track_caller]
    pub(crate) fn wait_for_stderr(&mut self, wanted: &str) {
        self.wait_for_text(wanted, |running| running.stderr.text());
    }

    #[track_caller]
    fn wait_for_text(&mut self, wanted: &str, text: impl Fn(&Self) -> String) {
        let line = self.line.clone();
        eventually(
            &format!("`{wanted}` in the output of `{line}`"),
            COMMAND_LIMIT,
            || {
                if text(self).contains(wanted) {
                    return Some(());
                }
                let ended = self
                    .child
                    .try_wait()
                    .expect("the command can be waited for");
                // Its last output may still be in the pipe.
                if ended.is_some() && !self.stdout.whole(&line).contains(wanted) {
                    let (out, err) = (self.stdout.text(), self.stderr.whole(&line));
                    assert!(
                        text(self).contains(wanted),
                        "`{line}` ended without `{wanted}`\n--- stdout\n{out}\n--- stderr\n{err}"
                    );
                }
                None
            },
        );
    }

    /// Waits until it exits.
    #[track_caller]
    pub(crate) fn wait(self) -> Run {
        self.wait_for(COMMAND_LIMIT)
    }

    #[track_caller]
    pub(super) fn wait_for(mut self, limit: Duration) -> Run {
        let line = self.line.clone();
        let status = within(limit, || {
            self.child
                .try_wait()
                .expect("the command can be waited for")
        });
        let Some(status) = status else {
            let (out, err) = (self.stdout.text(), self.stderr.text());
            panic!("`{line}` did not end within {limit:?}\n--- stdout\n{out}\n--- stderr\n{err}");
        };
        let took = self.begun.elapsed();
        let (stdout, stderr) = (self.stdout.whole(&line), self.stderr.whole(&line));
        Run {
            line,
            code: code(status),
            stdout,
            stderr,
            took,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = status.signal().map(|signal| 128 + signal);
    status
        .code()
        .or(signal)
        .expect("a process that ended has a code or a signal")
}
