//! What a process has started, however far it went: as a reaper it inherits all whose parent ended.

use std::fs;

use rustix::process::{Pid, WaitOptions, waitpid};

use super::Process;

/// Makes every process below us a child of ours once its own parent has ended, whatever session,
/// descriptors and environment it has. Ours is whoever is below us then.
pub fn become_reaper() -> std::io::Result<()> {
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own))?;
    Ok(())
}

/// Takes note of the ends of our children, but of `except`, which somebody else waits for: those
/// that we inherited would stay for as long as we live.
pub fn reap(except: Option<i32>) {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let ended = children(own).into_iter();
    for child in ended.filter(|child| child.has_ended && Some(child.pid) != except) {
        let _ = waitpid(Pid::from_raw(child.pid), WaitOptions::NOHANG);
    }
}

/// The direct children of a process.
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

/// Everything below a process that has not ended, the nearest first. What `is_foreign` is left
/// out, with all below it.
pub fn descendants(pid: i32, is_foreign: impl Fn(&Process) -> bool) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        for child in children(pid) {
            // A process that is handed to another parent meanwhile may be met twice.
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
