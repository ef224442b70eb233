//! The descendants of a process: a reaper inherits every descendant whose parent has exited.

use std::fs;

use rustix::process::{Pid, WaitOptions, waitpid};

use super::Process;

/// Makes this process the parent of each descendant whose own parent exits, whatever its session,
/// descriptors and environment. All our descendants then count as ours.
pub fn become_reaper() -> std::io::Result<()> {
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own))?;
    Ok(())
}

/// Reaps our exited children, but not `except`, which other code waits for: inherited children
/// would stay zombies for as long as we run.
pub fn reap(except: Option<i32>) {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let ended = children(own).into_iter();
    for child in ended.filter(|child| child.has_ended && Some(child.pid) != except) {
        let _ = waitpid(Pid::from_raw(child.pid), WaitOptions::NOHANG);
    }
}

/// Returns the direct children of a process.
pub fn children(pid: i32) -> Vec<Process> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let mut found = Vec::new();
    for task in tasks.into_iter().flatten().flatten() {
        let Ok(pids) = fs::read_to_string(task.path().join("children")) else {
            continue;
        };
        let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
        found.extend(pids.filter_map(Process::read));
    }
    found
}

/// Returns the descendants of a running process, the nearest first. Processes that match
/// `is_foreign` are left out, with their descendants.
pub fn descendants(pid: i32, is_foreign: impl Fn(&Process) -> bool) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        for child in children(pid) {
            // A process that gets another parent meanwhile may be found twice.
            let is_known = found.iter().any(|known| known.pid == child.pid);
            if is_known || is_foreign(&child) {
                continue;
            }
            open.push(child.pid);
            if !child.has_ended {
                found.push(child);
            }
        }
    }
    found
}
