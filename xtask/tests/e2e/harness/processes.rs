//! Reads the processes of this machine.

use rustix::process::{Pid, Signal};

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proc {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// The last part of its program's path, as in its arguments.
    pub(crate) program: String,
    /// Its arguments, joined.
    pub(crate) line: String,
}

/// Returns every running process, without zombies.
#[cfg(target_os = "linux")]
pub(crate) fn all() -> Vec<Proc> {
    let pids = std::fs::read_dir("/proc")
        .expect("/proc can be read")
        .flatten();
    pids.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

#[cfg(target_os = "linux")]
fn read(pid: i32) -> Option<Proc> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; the rest is separated by blanks.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    let (state, parent) = (words.next()?, words.next()?.parse().ok()?);
    if matches!(state, "Z" | "X") {
        return None;
    }
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = String::from_utf8_lossy(&arguments).into_owned();
    let first = arguments.split('\0').next().unwrap_or_default();
    Some(Proc {
        pid,
        parent,
        program: first.rsplit('/').next().unwrap_or_default().to_owned(),
        line: arguments.trim_end_matches('\0').replace('\0', " "),
    })
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn all() -> Vec<Proc> {
    let output = std::process::Command::new("ps").args(["-axo", "pid=,ppid=,stat=,command="]);
    let output = { output }.output().expect("`ps` can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(parse).collect()
}

#[cfg(not(target_os = "linux"))]
fn parse(line: &str) -> Option<Proc> {
    let mut words = line.split_whitespace();
    let (pid, parent) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    if words.next()?.starts_with('Z') {
        return None;
    }
    let line = words.collect::<Vec<_>>().join(" ");
    let first = line.split(' ').next().unwrap_or_default();
    let program = first.rsplit('/').next().unwrap_or_default().to_owned();
    Some(Proc {
        pid,
        parent,
        program,
        line,
    })
}

/// Returns the running process with this id.
pub(crate) fn find(pid: i32) -> Option<Proc> {
    all().into_iter().find(|process| process.pid == pid)
}

/// Returns the running children of a process.
pub(crate) fn children(pid: i32) -> Vec<Proc> {
    all()
        .into_iter()
        .filter(|process| process.parent == pid)
        .collect()
}

/// Sends a signal to a process that belongs to the test.
#[track_caller]
pub(crate) fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id is not zero");
    rustix::process::kill_process(pid, signal).expect("the process can be signalled");
}

/// Kills a process that belongs to the test, without any notice.
#[track_caller]
pub(crate) fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}
