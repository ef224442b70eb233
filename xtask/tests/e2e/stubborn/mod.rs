//! Services that do not stop when asked, or whose children do not: npm, `go run`, reloaders,
//! shells, daemons. Their leftovers, the process that answers, and the reach of a stop.
//!
//! Running processes are found by the programs' own records, not by inherited marks: those are what
//! is tested here. Linux only, as the programs read `/proc`.

mod ends;
mod killed;
mod nested;
mod programs;
mod signals;
mod strangers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use xtask::bench::programs::{self as programs_of, Program, Records, answer};

use crate::harness::{SOON, Sandbox, eventually, tell_missing};

/// Limit of a command that stops programs which stop when asked. The product promises a second,
/// which the benchmark measures; without the group it takes 10 or 30.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A stack of programs that record themselves.
struct Stack {
    sandbox: Sandbox,
    records: Vec<(Program, Records)>,
}

impl Stack {
    /// Creates one with these programs of `programs.json`; returns `None` when one needs a program
    /// that is not installed, which is reported and counted.
    fn of(test: &str, names: &[&str]) -> Option<Self> {
        let all = programs_of::all(&checkout()).unwrap();
        let named = names.iter().map(|name| {
            let program = all.iter().find(|program| program.name == *name);
            program.unwrap_or_else(|| panic!("no program `{name}`"))
        });
        let programs: Vec<Program> = named.cloned().collect();
        if let Some(missing) = programs.iter().find_map(Program::missing) {
            tell_missing(test, missing);
            return None;
        }
        let mut sandbox = Sandbox::empty();
        let pids = pids_of(&sandbox);
        let listener = Path::new(env!("CARGO_BIN_EXE_xtask"));
        let go_cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache");
        for (name, value) in programs_of::variables(&pids, listener, &go_cache) {
            sandbox.dotenv(name, &value);
        }
        let records = programs.into_iter().map(|program| {
            sandbox.service(&program.name, &program.manifest());
            let records = program.records(&pids).unwrap();
            (program, records)
        });
        let records = records.collect();
        Some(Self { sandbox, records })
    }

    /// Returns the running processes of one program.
    fn living(&self, name: &str) -> Vec<i32> {
        self.of_program(name).1.living().unwrap()
    }

    fn of_program(&self, name: &str) -> &(Program, Records) {
        let mut records = self.records.iter();
        let found = records.find(|(program, _)| program.name == name);
        found.expect("it is a program of this stack")
    }

    /// Returns which process answers, and its generation; `None` without an answer.
    fn answer(&self, name: &str) -> Option<(i32, String)> {
        answer(self.sandbox.port(&format!("{name}.http")))
    }

    /// Returns what is wrong unless a new process answers for this generation, and none of the old
    /// ones runs.
    #[must_use]
    fn not_new(&self, name: &str, old: &[i32], generation: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let living = self.living(name);
        match self.answer(name) {
            None => faults.push("nobody answers".to_owned()),
            Some((pid, _)) if old.contains(&pid) => {
                faults.push(format!("the old process {pid} answers"));
            }
            Some((pid, _)) if !living.contains(&pid) => {
                faults.push(format!("{pid} answers, which is none of {living:?}"));
            }
            Some((_, answered)) if answered != generation => {
                faults.push(format!("`{answered}` answers instead of `{generation}`"));
            }
            Some(_) => {}
        }
        let left: Vec<&i32> = old.iter().filter(|pid| living.contains(pid)).collect();
        if !left.is_empty() {
            faults.push(format!("old processes live: {left:?}"));
        }
        faults
    }

    /// Waits until a new process answers, and none of the old ones runs.
    #[track_caller]
    fn wait_for_new(&self, name: &str, old: &[i32]) {
        let mut faults = Vec::new();
        let new = crate::harness::within(SOON, || {
            faults = self.not_new(name, old, programs_of::FIRST_GENERATION);
            faults.is_empty().then_some(())
        });
        assert!(new.is_some(), "`{name}` after {SOON:?}: {faults:?}");
    }

    /// Returns what is left of the stack, by the programs' records and by every other sign:
    /// arguments, environments, directories, descriptors, ports, sockets.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        for (program, records) in &self.records {
            let living = records.living().unwrap();
            left.extend(living.iter().map(|pid| format!("{}: {pid}", program.name)));
        }
        left.extend(self.sandbox.leftovers());
        left
    }

    /// Fails unless nothing is left at this moment.
    #[track_caller]
    fn nothing_is_left(&self) {
        let left = self.left();
        assert!(left.is_empty(), "left:\n{}", left.join("\n"));
    }

    /// Fails unless no process is left within `limit`. The next command removes socket files.
    #[track_caller]
    fn nothing_lives_within(&self, limit: Duration) {
        let mut left = Vec::new();
        let gone = crate::harness::within(limit, || {
            left = self.left();
            left.retain(|left| !left.starts_with("socket file"));
            left.is_empty().then_some(())
        });
        assert!(gone.is_some(), "left after {limit:?}:\n{}", left.join("\n"));
    }

    /// Fails if a program was started beside the rest of an earlier start.
    #[track_caller]
    fn nothing_overlapped(&self) {
        for (program, records) in &self.records {
            let overlaps = records.overlaps().unwrap();
            assert!(overlaps.is_empty(), "{}: {overlaps:?}", program.name);
        }
    }

    /// Runs `down`, which must prove in time that nothing is left.
    #[track_caller]
    fn down(&self) {
        let run = self.sandbox.down();
        self.nothing_is_left();
        assert!(
            run.stderr.contains("nothing is left running"),
            "{}",
            run.stderr
        );
        assert!(run.took < STOP_LIMIT, "`down` took {:?}", run.took);
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // A recorded process without any other sign must not outlive the test.
        for (_, records) in &self.records {
            for pid in records.living().into_iter().flatten() {
                let pid = rustix::process::Pid::from_raw(pid);
                let kill = |pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                if std::thread::panicking() {
                    let _ = pid.map(kill);
                }
            }
        }
    }
}

/// Returns the directory where the programs of a sandbox record themselves.
fn pids_of(sandbox: &Sandbox) -> PathBuf {
    sandbox.root().with_file_name("pids")
}

fn checkout() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap().to_path_buf()
}

/// Returns the entry of a process in `status --json`.
#[track_caller]
fn entry(sandbox: &Sandbox, name: &str) -> Value {
    sandbox.status()["services"][name]["processes"][name].clone()
}

/// Waits until the entry of a process in `status --json` meets a condition.
#[track_caller]
fn wait_for_entry(sandbox: &Sandbox, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) {
    let mut seen = Value::Null;
    let found = crate::harness::within(SOON, || {
        seen = entry(sandbox, name);
        is_so(&seen).then_some(())
    });
    assert!(found.is_some(), "`{name}`: not {what}: {seen:#}");
}

/// Waits until nothing listens on a port. Does not try to listen there: a child that another test
/// starts at that moment would hold the port a little longer.
#[track_caller]
fn wait_until_free(port: u16) {
    eventually("the port is free", SOON, || {
        let connection = std::net::TcpStream::connect(("127.0.0.1", port));
        connection.is_err().then_some(())
    });
}
