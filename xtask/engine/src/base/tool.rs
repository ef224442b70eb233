//! Runs a tool (cargo, pip, go, the check of a service) until it exits, under a deadline.
//!
//! Owns the tail of its output and the text of a failure. The tool stays in our process group, so
//! that Ctrl-C reaches both. Must not print.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::base::interrupt::Interrupt;
use crate::base::poll::wait_until;

/// Number of lines of output that are kept for the text of a failure.
const TAIL_LINES: usize = 30;
/// How often the exit of the tool, its deadline and a cancellation are polled.
const POLL: Duration = Duration::from_millis(10);
/// How often the exit of the tool is polled after it has closed its output.
const END_POLL: Duration = Duration::from_millis(1);
/// How long starting a program is retried while its file is busy.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// How long to read after the tool exits: a process that it started may hold the pipe open.
const LAST_OUTPUT_WAIT: Duration = Duration::from_millis(500);

/// The error of work that was cancelled because other work failed; never shown.
#[derive(Debug)]
struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled, because something else failed")
    }
}

impl std::error::Error for Cancelled {}

/// Returns the error of work that was cancelled because other work failed.
pub fn cancelled() -> anyhow::Error {
    Cancelled.into()
}

/// Whether an error is [`cancelled`].
pub fn is_cancelled(error: &anyhow::Error) -> bool {
    error.is::<Cancelled>()
}

/// How a tool ended.
#[derive(Debug)]
pub enum End {
    /// It exited or was ended by a signal.
    Status(ExitStatus),
    /// It was killed at its deadline.
    Deadline(Duration),
}

/// A tool that ended, and its last lines of output.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// Its last lines of output.
    pub tail: Vec<String>,
    command: String,
}

impl Finished {
    /// Whether it exited with code 0.
    pub fn success(&self) -> bool {
        matches!(&self.end, End::Status(status) if status.success())
    }

    /// Returns its command line, directory and exit on one line.
    pub fn summary(&self) -> String {
        let end = match &self.end {
            End::Status(status) => status.to_string(),
            End::Deadline(after) => format!("killed after {} s", after.as_secs()),
        };
        format!("{} ended with {end}", self.command)
    }

    /// Returns [`Finished::summary`] and the last lines of output, indented.
    pub fn report(&self) -> String {
        let mut text = self.summary();
        for line in &self.tail {
            text.push_str("\n    ");
            text.push_str(line);
        }
        text
    }
}

/// Runs a command until it ends. `on_line` receives each line of output when it arrives.
pub fn run(
    command: &mut Command,
    deadline: Duration,
    cancel: &AtomicBool,
    on_line: &dyn Fn(&str),
) -> anyhow::Result<Finished> {
    run_reading(command, deadline, cancel, on_line, None)
}

/// Runs a command like [`run`]. `on_data`, if given, receives the lines of standard output, which
/// then are not part of the report.
pub fn run_reading(
    command: &mut Command,
    deadline: Duration,
    cancel: &AtomicBool,
    on_line: &dyn Fn(&str),
    on_data: Option<&dyn Fn(&str)>,
) -> anyhow::Result<Finished> {
    let text = describe(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawn(command).with_context(|| format!("cannot run {text}"))?;
    let lines = match read_lines(&mut child) {
        Ok(lines) => lines,
        Err(error) => {
            child.kill()?;
            child.wait()?;
            return Err(error)
                .with_context(|| format!("cannot start a thread that reads the output of {text}"));
        }
    };
    let output = Output { on_line, on_data };
    let started = Instant::now();
    let mut tail = VecDeque::new();
    let end = loop {
        let more = receive(&lines, POLL, &mut tail, &output);
        if let Some(status) = child.try_wait()? {
            break End::Status(status);
        }
        if !more {
            // The tool closed its output; usually it exits right after.
            thread::sleep(END_POLL);
        }
        let late = started.elapsed() >= deadline;
        if late || cancel.load(Ordering::Relaxed) {
            child.kill()?;
            child.wait()?;
            if late {
                break End::Deadline(deadline);
            }
            return Err(cancelled());
        }
    };
    let last = Instant::now() + LAST_OUTPUT_WAIT;
    while Instant::now() < last && receive(&lines, POLL, &mut tail, &output) {}
    Ok(Finished {
        end,
        tail: tail.into(),
        command: text,
    })
}

/// Starts a command. A file that was just written is busy while a child process that another thread
/// is starting still has its descriptor: the start is retried.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut busy = None;
    let spawned = || match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
            busy = Some(error);
            Ok(None)
        }
        spawned => spawned.map(Some),
    };
    let deadline = Instant::now() + BUSY_WAIT;
    let spawned = wait_until(deadline, POLL, &Interrupt::default(), spawned)?;
    let busy = || busy.unwrap_or_else(|| io::ErrorKind::ExecutableFileBusy.into());
    spawned.done().ok_or_else(busy)
}

/// A line of output, and whether it was written to standard output.
struct Line {
    line: String,
    is_data: bool,
}

/// The receivers of the lines.
struct Output<'a> {
    on_line: &'a dyn Fn(&str),
    on_data: Option<&'a dyn Fn(&str)>,
}

/// Passes on the lines received so far; waits `wait` for the first. Returns false at the end.
fn receive(
    lines: &Receiver<Line>,
    wait: Duration,
    tail: &mut VecDeque<String>,
    output: &Output<'_>,
) -> bool {
    let mut next = lines.recv_timeout(wait);
    while let Ok(Line { line, is_data }) = next {
        next = lines.recv_timeout(Duration::ZERO);
        if let Some(on_data) = output.on_data.filter(|_| is_data) {
            on_data(&line);
            continue;
        }
        (output.on_line)(&line);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    !matches!(next, Err(RecvTimeoutError::Disconnected))
}

fn read_lines(child: &mut Child) -> io::Result<Receiver<Line>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        forward(out, true, sender.clone())?;
    }
    if let Some(err) = child.stderr.take() {
        forward(err, false, sender)?;
    }
    Ok(receiver)
}

/// Starts a thread that forwards lines. It ends with the pipe and is not joined.
fn forward(
    pipe: impl Read + Send + 'static,
    is_data: bool,
    sender: Sender<Line>,
) -> io::Result<()> {
    let forwarding = thread::Builder::new().spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(count) if count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if sender.send(Line { line, is_data }).is_err() {
                return;
            }
            bytes.clear();
        }
    });
    forwarding.map(drop)
}

/// Formats the command line and directory of a command for people.
fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    let line = shell_words::join(words);
    match command.get_current_dir() {
        Some(dir) => format!("`{line}` in `{}`", dir.display()),
        None => format!("`{line}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    static NEVER: AtomicBool = AtomicBool::new(false);
    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn output_is_seen_and_the_failure_tells_it() {
        let seen = RefCell::new(Vec::new());
        let see = |line: &str| seen.borrow_mut().push(line.to_owned());
        let script = "echo out; echo err >&2; exit 3";
        let finished = run(&mut sh(script), LONG, &NEVER, &see).unwrap();
        assert!(!finished.success());
        seen.borrow_mut().sort();
        assert_eq!(*seen.borrow(), ["err", "out"]);
        let report = finished.report();
        assert!(report.contains("exit status: 3"), "{report}");
        assert!(report.contains("\n    err"), "{report}");
    }

    #[test]
    fn data_is_no_part_of_the_report() {
        let data = RefCell::new(Vec::new());
        let see = |line: &str| data.borrow_mut().push(line.to_owned());
        let mut command = sh("echo data; echo err >&2; exit 3");
        let finished = run_reading(&mut command, LONG, &NEVER, &|_| {}, Some(&see)).unwrap();
        assert_eq!(*data.borrow(), ["data"]);
        assert_eq!(finished.tail, ["err"]);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let finished = run(&mut sh("seq 100"), LONG, &NEVER, &|_| {}).unwrap();
        assert!(finished.success());
        assert_eq!(finished.tail.len(), TAIL_LINES);
        assert_eq!(finished.tail.last().map(String::as_str), Some("100"));
    }

    #[test]
    fn a_tool_that_hangs_is_killed() {
        let deadline = Duration::from_millis(50);
        let finished = run(&mut sh("exec sleep 60"), deadline, &NEVER, &|_| {}).unwrap();
        assert!(matches!(finished.end, End::Deadline(_)));
    }

    #[test]
    fn a_tool_that_closed_its_output_is_waited_for() {
        let finished = run(
            &mut sh("exec >&- 2>&-; sleep 0.1; exit 3"),
            LONG,
            &NEVER,
            &|_| {},
        );
        let finished = finished.unwrap();
        assert!(matches!(finished.end, End::Status(status) if status.code() == Some(3)));
    }

    #[test]
    fn a_background_process_that_keeps_the_pipe_does_not_hold_us() {
        let started = Instant::now();
        let finished = run(&mut sh("sleep 20 & echo done"), LONG, &NEVER, &|_| {}).unwrap();
        assert!(finished.success());
        assert!(started.elapsed() < LONG / 2);
    }

    #[test]
    fn cancelling_ends_it() {
        let cancel = AtomicBool::new(true);
        let error = run(&mut sh("exec sleep 60"), LONG, &cancel, &|_| {}).unwrap_err();
        assert!(is_cancelled(&error));
    }
}
