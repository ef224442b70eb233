//! Processes without `/proc`: by `ps` and `lsof`. Marks cannot be read and no process becomes a
//! reaper, so a process that left its process group is not found.

use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::{Mark, Process};

impl Process {
    /// Returns the process with this pid.
    pub fn read(pid: i32) -> Option<Self> {
        ps(&["-p", &pid.to_string()]).pop()
    }

    /// Whether it still runs, as far as its pid and its program show.
    pub fn runs(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.program == self.program && !now.has_ended)
    }

    /// Sends it a signal. Returns whether that worked.
    pub fn signal(&self, signal: Signal) -> bool {
        let pid = Pid::from_raw(self.pid).filter(|_| self.runs());
        pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }
}

fn ps(selection: &[&str]) -> Vec<Process> {
    let format = ["-o", "pid=,ppid=,pgid=,state=,comm="];
    let output = Command::new("ps").args(selection).args(format).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    let mut number = || words.next()?.parse().ok();
    let (pid, parent, group) = (number()?, number()?, number()?);
    let has_ended = words.next()?.starts_with('Z');
    let path = words.collect::<Vec<_>>().join(" ");
    let program = path.rsplit('/').next().unwrap_or_default().to_owned();
    Some(Process {
        pid,
        parent,
        group,
        started: 0,
        program,
        has_ended,
    })
}

/// Returns nothing: the environment of other processes cannot be read.
pub fn marked(_is_meant: impl Fn(&Mark) -> bool) -> Vec<Process> {
    Vec::new()
}

/// Returns nothing: the environment of other processes cannot be read.
pub fn variable(_pid: i32, _name: &str) -> Option<String> {
    None
}

/// Returns nothing: the environment of other processes cannot be read.
pub fn mark_of(_pid: i32) -> Option<Mark> {
    None
}

/// Returns every process of this process group except ourselves.
pub fn in_group(group: i32) -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut found = ps(&["-ax"]);
    found.retain(|one| one.group == group && one.pid != own && !one.has_ended);
    found
}

/// Returns the first process that matches `is_meant` among `pid` and its ancestors.
pub fn comes_from(pid: i32, is_meant: impl Fn(&Process) -> bool) -> Option<Process> {
    let all = ps(&["-ax"]);
    let mut pid = pid;
    for _ in 0..all.len() {
        let process = all.iter().find(|process| process.pid == pid)?;
        if is_meant(process) {
            return Some(process.clone());
        }
        pid = process.parent;
    }
    None
}

/// Returns every process that has `file` open except ourselves.
pub fn holders(file: &Path) -> Vec<Process> {
    let output = Command::new("lsof").args(["-t", "--"]).arg(file).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let pids = text.lines().filter_map(|line| line.trim().parse().ok());
    pids.filter(|pid| *pid != own)
        .filter_map(Process::read)
        .collect()
}

/// Whether a process has `file` open.
pub fn is_holder(process: &Process, file: &Path) -> bool {
    holders(file).iter().any(|holder| holder.pid == process.pid)
}

/// Does nothing.
pub fn become_reaper() -> std::io::Result<()> {
    Ok(())
}

/// Reaps our exited children, but not `except`.
pub fn reap(except: Option<i32>) {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let ended = children(own).into_iter();
    for child in ended.filter(|child| child.has_ended && Some(child.pid) != except) {
        let _ = waitpid(Pid::from_raw(child.pid), WaitOptions::NOHANG);
    }
}

/// Returns the direct children of a process.
pub fn children(pid: i32) -> Vec<Process> {
    let mut found = ps(&["-ax"]);
    found.retain(|process| process.parent == pid);
    found
}

/// Returns the descendants of a running process, and the rest of its children's process groups.
pub fn descendants(pid: i32, is_foreign: impl Fn(&Process) -> bool) -> Vec<Process> {
    let all = ps(&["-ax"]);
    let mut found: Vec<Process> = Vec::new();
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        for child in all.iter().filter(|one| one.parent == pid) {
            if !is_foreign(child) {
                open.push(child.pid);
                found.push(child.clone());
            }
        }
    }
    // `ps` itself is one of them.
    found.retain(|process| !process.has_ended && process.runs());
    found
}
