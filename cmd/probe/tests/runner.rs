//! The runner with real programs: after its exit, none of their descendants is left.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kit::process::{self, Mark, Process};
use kit::runner::record::{self, Record};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest duration of steps that take milliseconds on a quiet machine.
const SOON: Duration = Duration::from_secs(20);

/// A runner with a directory of its own, as the supervisor starts it.
struct Runner {
    _directory: TempDir,
    record: PathBuf,
    mark: Mark,
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

/// What two successive runners of a process share.
struct Place {
    directory: TempDir,
    mark: Mark,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The name of the directory is random, so no test finds another test's processes.
        let instance = directory.path().file_name().unwrap().to_string_lossy();
        let instance: String = instance.chars().filter(|c| *c != '.').collect();
        Self {
            mark: Mark::of_start(&instance).unwrap(),
            directory,
        }
    }

    fn start(self, options: &[&str], script: &str) -> Runner {
        let record = self.directory.path().join("run/web");
        let mut command = Command::new(env!("CARGO_BIN_EXE_probe"));
        command
            .args(["run", "--name", "web", "--signal", "15", "--record"])
            .arg(&record)
            .args(options)
            .args(["--", "bash", "-c", &own(script)])
            .current_dir(self.directory.path())
            .env(process::mark::VARIABLE, self.mark.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Runner {
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            record,
            mark: self.mark,
            _directory: self.directory,
        }
    }
}

impl Runner {
    fn start(options: &[&str], script: &str) -> Self {
        Place::new().start(options, script)
    }

    /// Returns the next line of the program.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Returns its processes, found by their mark.
    fn marked(&self) -> Vec<Process> {
        let mut found = process::marked(|mark| mark.instance == self.mark.instance);
        found.retain(|process| process.pid != self.pid());
        found
    }

    /// Waits for its exit and returns the exit code.
    fn code(&mut self) -> i32 {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or_else(|| -status.signal().unwrap());
            }
            assert!(Instant::now() < deadline, "the runner ends");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns the rest of the program's output.
    fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        rest
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for process in self.marked() {
            process.signal(Signal::KILL);
        }
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the text with unique durations for `sleep`: a process without mark and descriptors can
/// be recognized only by these.
fn own(text: &str) -> String {
    text.replace("sleep 86", &format!("sleep 86{}", std::process::id()))
}

/// Whether a process sleeps for this number, or will, however it was started.
fn runs(number: &str) -> bool {
    !programs(number).is_empty()
}

/// Returns the programs of the processes with this number of seconds among their arguments.
fn programs(number: &str) -> Vec<String> {
    let argument = own(&format!("sleep {number}"));
    let argument = argument.trim_start_matches("sleep ");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    let programs = lines.filter_map(|line| {
        let mut words = line.split('\0');
        let program = words.next()?.to_owned();
        words.any(|word| word == argument).then_some(program)
    });
    programs.collect()
}

const DEFAULT: [&str; 2] = ["--grace", "10"];

#[test]
fn a_stop_ends_all_that_was_started_however_it_was() {
    let detached = ["86011", "86012", "86013", "86014"];
    let mut runner = Runner::start(
        &DEFAULT,
        "sleep 86011 &
         setsid sleep 86012 &
         (setsid setsid bash -c 'exec 0<&- 1>&- 2>&-; exec env -i sleep 86013' &) &
         setsid bash -c 'trap \"\" TERM; exec 0<&- 1>&- 2>&-; exec -a other sleep 86014' &
         echo started; sleep 86010",
    );
    assert_eq!(runner.line(), "started");
    until("all of them run", || detached.iter().all(|one| runs(one)));
    assert_eq!(Record::read(&runner.record).unwrap().runner, runner.pid());
    runner.signal(Signal::TERM);
    // The one that ignores SIGTERM takes the whole grace; a second stop skips it.
    until("the others end", || {
        !detached[..3].iter().any(|one| runs(one))
    });
    runner.signal(Signal::TERM);
    assert_eq!(runner.code(), 128 + 15);
    assert!(!detached.iter().any(|one| runs(one)), "nothing is left");
    assert_eq!(runner.marked(), []);
    assert!(!record::exists(&runner.record), "the proof is given");
}

#[test]
fn the_end_of_the_program_is_seen_at_once_and_ends_what_it_left() {
    // The detached child holds the output open: a supervisor would wait for it.
    let mut runner = Runner::start(&DEFAULT, "setsid sleep 86020 & printf 'no end'; exit 3");
    assert_eq!(runner.code(), 3);
    assert!(!runs("86020"));
    assert_eq!(runner.rest(), "no end\n", "its last line is ended");
}

#[test]
fn the_signal_reaches_the_group_or_the_program_alone() {
    let script =
        "bash -c 'trap \"echo child; exit\" TERM; echo ready; while :; do sleep 0.01; done' &
                  trap 'echo main; wait; exit 0' TERM; wait; wait";
    let mut runner = Runner::start(&DEFAULT, script);
    assert_eq!(runner.line(), "ready");
    runner.signal(Signal::TERM);
    runner.code();
    let said = runner.rest();
    assert!(said.contains("child") && said.contains("main"), "{said}");

    let script =
        "bash -c 'trap \"echo child; exit\" TERM; echo ready; while :; do sleep 0.01; done' &
                  trap 'echo main; kill -KILL $!; exit 0' TERM; wait; wait";
    let mut runner = Runner::start(&["--grace", "10", "--main-only"], script);
    assert_eq!(runner.line(), "ready");
    runner.signal(Signal::TERM);
    assert_eq!(runner.code(), 0);
    assert_eq!(runner.rest(), "main\n");
}

#[test]
fn what_does_not_end_is_killed_when_its_grace_is_over() {
    let mut runner = Runner::start(
        &["--grace", "1"],
        "trap '' TERM; echo up; sleep 86030; sleep 86031",
    );
    assert_eq!(runner.line(), "up");
    until("it sleeps", || runs("86030"));
    let begun = Instant::now();
    runner.signal(Signal::TERM);
    assert_eq!(runner.code(), 128 + 9);
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "it had its grace"
    );
    assert!(!runs("86030") && !runs("86031"));
}

#[test]
fn other_signals_are_the_programs() {
    let script = "trap 'echo hup' HUP; trap 'exit 7' USR1; echo up; while :; do sleep 0.01; done";
    let mut runner = Runner::start(&DEFAULT, script);
    assert_eq!(runner.line(), "up");
    runner.signal(Signal::HUP);
    assert_eq!(runner.line(), "hup");
    runner.signal(Signal::USR1);
    assert_eq!(runner.code(), 7);
}

#[test]
fn a_port_of_somebody_else_is_refused_and_its_holder_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = ["--grace", "10", "--port", &address];
    let mut runner = Runner::start(&options, "echo never");
    assert_eq!(runner.code(), 11);
    let mut said = String::new();
    let errors = runner.child.stderr.as_mut().unwrap();
    errors.read_to_string(&mut said).unwrap();
    let holder = format!("(pid {})", std::process::id());
    assert!(said.contains(&holder), "{said}");
    assert_eq!(runner.rest(), "");
    drop(listener);
    let mut runner = Runner::start(&options, "echo now");
    assert_eq!(runner.code(), 0);
    assert_eq!(runner.rest(), "now\n");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let place = Place::new();
    let record = place.directory.path().join("run/web");
    let output = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args([
            "run", "--name", "web", "--signal", "15", "--grace", "1", "--record",
        ])
        .arg(&record)
        .args(["--", "no-such-program-86"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(127));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("`no-such-program-86`"), "{said}");
    assert!(!record::exists(&record));
}

#[test]
fn it_ends_with_whoever_reads_its_output() {
    let mut runner = Runner::start(&DEFAULT, "setsid sleep 86040 & echo up; sleep 86041");
    assert_eq!(runner.line(), "up");
    // As when the supervisor is killed: the pipe has no reader any more.
    let (reader, _writer) = std::io::pipe().unwrap();
    drop(std::mem::replace(
        &mut runner.output,
        BufReader::new(std::process::ChildStdout::from(std::os::fd::OwnedFd::from(
            reader,
        ))),
    ));
    runner.code();
    assert!(!runs("86040") && !runs("86041"));
}

#[test]
fn what_a_killed_runner_left_is_ended_by_the_next_one() {
    let place = Place::new();
    let (path, mark) = (place.directory.path().to_path_buf(), place.mark.clone());
    let script = "trap '' TERM; setsid sleep 86050 & echo up; while :; do sleep 86051; done";
    let mut runner = place.start(&DEFAULT, script);
    assert_eq!(runner.line(), "up");
    until("both run", || runs("86050") && runs("86051"));
    runner.signal(Signal::KILL);
    runner.code();
    assert!(runs("86050") && record::exists(&path.join("run/web")));
    let Runner {
        _directory: directory,
        ..
    } = &mut runner;
    let directory = std::mem::replace(directory, tempfile::tempdir().unwrap());
    let mut next = Place { directory, mark }.start(&DEFAULT, "echo next");
    assert_eq!(next.code(), 0);
    assert!(next.rest().ends_with("next\n"));
    assert!(!runs("86050") && !runs("86051"), "its predecessor is gone");
    assert!(!record::exists(&path.join("run/web")));
}

#[test]
fn another_stack_that_was_started_below_it_is_left_alone() {
    let other = Mark::of_start("another").unwrap();
    let script = format!(
        "{}={other} setsid sleep 86060 & echo up; sleep 86061",
        process::mark::VARIABLE
    );
    let mut runner = Runner::start(&DEFAULT, &script);
    assert_eq!(runner.line(), "up");
    // As long as it is `setsid`, it may still be in the group that receives the signal.
    let is_apart = || programs("86060") == ["sleep"];
    until("both run", || is_apart() && runs("86061"));
    runner.signal(Signal::TERM);
    assert_eq!(runner.code(), 128 + 15);
    assert!(!runs("86061"));
    let left = process::marked(|mark| mark.is_same_start(&other));
    assert_eq!(left.len(), 1, "it is not ours to end");
    assert!(left[0].signal(Signal::KILL));
}
