//! The record of a runner while any process of its program runs. A record without a running runner
//! means that the runner was killed and did not prove the end of the program.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::Order;
use crate::output::Output;
use crate::process::rest::{self, Ask};
use crate::process::{Mark, Process, marked};
use crate::{Exit, Failure, files};

/// How long the program of a killed runner may take to stop.
const PREDECESSOR_GRACE: Duration = Duration::from_secs(3);

/// A runner and its program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// The pid of the runner.
    pub runner: i32,
    /// Its start time, in clock ticks since the boot of the machine.
    pub runner_started: u64,
    /// The pid of the program, once it runs.
    pub program: Option<i32>,
    /// The start time of the program.
    pub program_started: u64,
}

impl Record {
    pub(super) fn of_us() -> Self {
        let own = Process::own();
        Self {
            runner: own.as_ref().map_or(0, |own| own.pid),
            runner_started: own.map_or(0, |own| own.started),
            ..Self::default()
        }
    }

    pub(super) fn with_program(&self, pid: i32) -> Self {
        Self {
            program: Some(pid),
            program_started: Process::read(pid).map_or(0, |process| process.started),
            ..*self
        }
    }

    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        if let Some(directory) = file.parent() {
            files::create_private_dir(directory)?;
        }
        files::write_for_this_run(file, self.to_text().as_bytes(), files::PRIVATE_FILE_MODE)
    }

    /// Reads the record at `file`, if it exists.
    pub fn read(file: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(file).ok()?)
    }

    /// Returns one line for each of the two: pid and start. Written by hand, since the probe
    /// contains it: a JSON parser would be a fifth of its size.
    fn to_text(self) -> String {
        let runner = format!("{} {}\n", self.runner, self.runner_started);
        match self.program {
            Some(program) => format!("{runner}{program} {}\n", self.program_started),
            None => runner,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(|line| {
            let (pid, started) = line.split_once(' ')?;
            Some((pid.parse().ok()?, started.parse().ok()?))
        });
        let (runner, runner_started) = lines.next()??;
        let mut record = Self {
            runner,
            runner_started,
            ..Self::default()
        };
        if let Some(line) = lines.next() {
            let (pid, started) = line?;
            (record.program, record.program_started) = (Some(pid), started);
        }
        Some(record)
    }

    /// Returns the runner, if it still runs.
    pub fn living_runner(&self) -> Option<Process> {
        living(self.runner, self.runner_started)
    }

    /// Returns the program, if it still runs.
    pub fn living_program(&self) -> Option<Process> {
        living(self.program?, self.program_started)
    }
}

fn living(pid: i32, started: u64) -> Option<Process> {
    Process::read(pid).filter(|process| process.started == started && !process.has_ended)
}

/// Removes a record: no process of the program is left.
pub fn remove(file: &Path) {
    // A missing record is fine.
    let _ = fs::remove_file(file);
}

/// Whether a record exists at `file`, readable or not.
pub fn exists(file: &Path) -> bool {
    !fs::symlink_metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Returns what a killed runner left: the runner, if it runs after all, and the processes with the
/// mark of its process, of any start of the instance.
pub fn left_by(file: &Path, instance: &str, name: &str) -> Vec<Process> {
    let record = Record::read(file).unwrap_or_default();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let runner = record.living_runner().filter(|runner| runner.pid != own);
    let is_meant = |mark: &Mark| mark.instance == instance && mark.process.as_deref() == Some(name);
    let mut left = match &runner {
        // The program's runner stops them better than we do.
        Some(_) => Vec::new(),
        None => marked(is_meant),
    };
    left.extend(runner);
    left
}

/// Stops the processes that a killed predecessor left.
pub(super) async fn end_predecessor(order: &Order, output: &Output) -> anyhow::Result<()> {
    if !exists(&order.record) {
        return Ok(());
    }
    let instance = Mark::own().map(|mark| mark.instance).unwrap_or_default();
    let find = || left_by(&order.record, &instance, &order.name);
    let sent = |process: &Process, _| output.note(&format!("{process} of an earlier run is ended"));
    let end = Instant::now() + PREDECESSOR_GRACE;
    let mut signalled = rest::Signalled::default();
    let hurry = std::future::pending();
    let left = rest::end(find, Ask::Tops, &mut signalled, sent, end, hurry).await;
    if left.is_empty() {
        return Ok(());
    }
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    let message = format!("still running after SIGKILL: {}", left.join(", "));
    Err(Failure::new(Exit::Survivors, message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("run/web");
        assert_eq!(Record::read(&file), None);
        assert!(!exists(&file));
        let record = Record::of_us();
        record.write(&file).unwrap();
        assert_eq!(Record::read(&file), Some(record));
        let own = i32::try_from(std::process::id()).unwrap();
        let both = record.with_program(own);
        both.write(&file).unwrap();
        assert_eq!(Record::read(&file), Some(both));
        assert_eq!(both.living_program().unwrap().pid, own);
        let reused = Record {
            program_started: both.program_started + 1,
            ..both
        };
        assert_eq!(reused.living_program(), None);
        for bad in ["", "x", "1", "1 2\n3", "1 x"] {
            assert_eq!(Record::parse(bad), None, "{bad:?}");
        }
        remove(&file);
        assert!(!exists(&file));
    }
}
