//! Processes from `/proc`, and signals through their descriptors.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Process;
use super::mark::{self, Mark};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The most generations of ancestors that are searched.
const MAX_GENERATIONS: usize = 64;

impl Process {
    /// Returns the process with this pid. Works for processes of other users, too.
    pub fn read(pid: i32) -> Option<Self> {
        let mut stat = Vec::with_capacity(512);
        let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
        file.read_to_end(&mut stat).ok()?;
        Self::parse(pid, &String::from_utf8_lossy(&stat))
    }

    /// `PID (PROGRAM) STATE PPID PGRP ...`; PROGRAM may contain any byte; field 22 is the start.
    fn parse(pid: i32, stat: &str) -> Option<Self> {
        let (program, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            program: program.to_owned(),
            has_ended: matches!(*fields.first()?, "Z" | "X"),
        })
    }

    /// Whether it still runs, so that its pid refers to it.
    pub fn runs(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.started == self.started && !now.has_ended)
    }

    /// Sends it a signal, through a descriptor that was opened before the process was read again: a
    /// reused pid cannot be signalled. Returns whether that worked.
    pub fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return false;
        };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
            return false;
        };
        self.runs() && pidfd_send_signal(descriptor, signal).is_ok()
    }
}

/// Returns the pids of our user's processes except our own.
fn own_users() -> impl Iterator<Item = i32> {
    let user = rustix::process::getuid().as_raw();
    let own = i32::try_from(std::process::id()).ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let is_ours = entry.metadata().ok()?.uid() == user && Some(pid) != own;
        is_ours.then_some(pid)
    })
}

/// Returns every process of our user except ourselves whose mark matches `is_meant` and that
/// started after the start in its mark. Costs 6 to 9 ms for 600 processes.
pub fn marked(is_meant: impl Fn(&Mark) -> bool) -> Vec<Process> {
    let is_marked = |pid: i32| mark_of(pid).filter(&is_meant);
    let found = own_users().filter(|pid| is_marked(*pid).is_some());
    // Read again: the pid may refer to another process meanwhile.
    let again = found.filter_map(|pid| {
        let process = Process::read(pid)?;
        let is_it = is_marked(pid).is_some_and(|mark| mark.may_be_of(&process));
        (is_it && is_in_our_namespace(pid) && !process.has_ended).then_some(process)
    });
    again.collect()
}

/// Returns the mark of a process.
pub fn mark_of(pid: i32) -> Option<Mark> {
    Mark::parse(&variable(pid, mark::VARIABLE)?)
}

/// Returns every process of our user in this process group except ourselves.
pub fn in_group(group: i32) -> Vec<Process> {
    let processes = own_users().filter_map(Process::read);
    processes
        .filter(|process| process.group == group && !process.has_ended)
        .collect()
}

/// Returns the first process that matches `is_meant` among `pid` and its ancestors.
pub fn comes_from(pid: i32, is_meant: impl Fn(&Process) -> bool) -> Option<Process> {
    let mut pid = pid;
    for _ in 0..MAX_GENERATIONS {
        let process = Process::read(pid)?;
        if is_meant(&process) {
            return Some(process);
        }
        pid = process.parent;
    }
    None
}

/// Returns a variable of the environment that a process was started with; `None` when it cannot be
/// read, as for a process that dropped its privileges.
pub fn variable(pid: i32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environ.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Returns every process of our user that has `file` open except ourselves.
pub fn holders(file: &Path) -> Vec<Process> {
    let Ok(meta) = fs::metadata(file) else {
        return Vec::new();
    };
    let inode = (meta.dev(), meta.ino());
    let found = own_users().filter(|pid| holds(*pid, inode));
    found.filter_map(Process::read).collect()
}

/// Whether a process has `file` open.
pub fn is_holder(process: &Process, file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| holds(process.pid, (meta.dev(), meta.ino())))
}

fn holds(pid: i32, inode: (u64, u64)) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        let meta = fs::metadata(descriptor.path());
        meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == inode)
    })
}

/// A container's processes are visible from outside, and may have the same mark when it has the
/// checkout at the same path.
fn is_in_our_namespace(pid: i32) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    namespace(&pid.to_string()).is_some_and(|its| Some(its) == namespace("self"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_may_have_any_name() {
        let stat = "7 (a) b (c) S 1 7 6 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4711 0";
        let process = Process::parse(7, stat).unwrap();
        assert_eq!(process.program, "a) b (c");
        assert_eq!((process.parent, process.group), (1, 7));
        assert_eq!(process.started, 4711);
        assert!(!process.has_ended);
        assert_eq!(Process::parse(7, "7 (a"), None);
    }

    #[test]
    fn a_number_that_means_another_process_is_not_signalled() {
        let own = Process::own().unwrap();
        assert!(own.runs());
        let parent = comes_from(own.pid, |one| one.pid == own.parent).unwrap();
        assert_eq!(parent.pid, own.parent);
        let reused = Process {
            started: own.started + 1,
            ..own
        };
        assert!(!reused.runs());
        assert!(!reused.signal(Signal::KILL), "it would be somebody else");
    }

    #[test]
    fn what_carries_a_mark_is_found_by_it() {
        let mark = Mark::of_start("a0").unwrap();
        let older = Mark {
            start: format!("{}-x", u64::MAX),
            ..mark.clone()
        };
        let sleeper = |mark: &Mark| {
            let mut command = std::process::Command::new("sleep");
            command.arg("60").env(mark::VARIABLE, mark.to_string());
            command.spawn().unwrap()
        };
        let (mut ours, mut forged) = (sleeper(&mark.of_process("web")), sleeper(&older));
        let pids = |found: Vec<Process>| found.iter().map(|one| one.pid).collect::<Vec<_>>();
        let pid = i32::try_from(ours.id()).unwrap();
        assert_eq!(pids(marked(|found| found.is_same_start(&mark))), [pid]);
        assert_eq!(pids(marked(|found| found.is_same_start(&older))), [0; 0]);
        let found = marked(|found| found.instance == "a0");
        assert!(found[0].signal(Signal::KILL));
        forged.kill().unwrap();
        ours.wait().unwrap();
        forged.wait().unwrap();
        assert_eq!(marked(|found| found.instance == "a0"), []);
    }
}
