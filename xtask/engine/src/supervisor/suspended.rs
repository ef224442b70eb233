//! Whether a process was suspended, by Ctrl-Z or SIGSTOP: it then keeps its locks, and never exits
//! by itself.

#[cfg(not(target_os = "linux"))]
use std::process::Command;

/// Whether the process is stopped until it is continued. False if that is unknown.
pub(super) fn is_suspended(pid: u32) -> bool {
    // `T`, or `t` under a debugger.
    state(pid).is_some_and(|state| matches!(state, 'T' | 't'))
}

#[cfg(target_os = "linux")]
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in brackets and may contain some itself.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.chars().next()
}

#[cfg(not(target_os = "linux"))]
fn state(pid: u32) -> Option<char> {
    let pid = pid.to_string();
    let output = Command::new("ps")
        .args(["-o", "state=", "-p", &pid])
        .output();
    String::from_utf8_lossy(&output.ok()?.stdout)
        .trim()
        .chars()
        .next()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    #[test]
    fn a_stopped_process_is_told_from_one_that_runs() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let becomes = |suspended: bool| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while is_suspended(child.id()) != suspended {
                assert!(Instant::now() < deadline, "it never became {suspended}");
            }
        };
        becomes(false);
        kill_process(pid, Signal::STOP).unwrap();
        becomes(true);
        kill_process(pid, Signal::CONT).unwrap();
        becomes(false);
        kill_process(pid, Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(!is_suspended(child.id()));
    }
}
