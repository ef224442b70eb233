//! Processes that the supervisor has lost: they run below it and are not on its list, so nothing
//! stops them, and they hold ports that their successors need.
//!
//! How process-compose (1.120.0) loses one, and why our own orders cannot make it, is in
//! `supervisor/control.rs`; a stack that an older `xtask` has changed may have one. Found by what
//! the kernel says, on Linux only. A lost process cannot be mended within the supervisor: its old
//! keeper starts it again, or takes the successor off the list when it ends.

#[cfg(target_os = "linux")]
pub(crate) use proc::find;
#[cfg(target_os = "linux")]
pub(crate) use proc::runs_us;

use std::fmt;

use super::client::Client;

/// A process that was lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lost {
    /// What it was started as.
    pub(crate) name: String,
    /// Its process id.
    pub(crate) pid: i32,
    /// When it started, in ticks since the machine did: with the id, this is one process for ever.
    start: u64,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {})", self.name, self.pid)
    }
}

/// Elsewhere there is no cheap way to know whose child a process is.
#[cfg(not(target_os = "linux"))]
pub(crate) fn find(_client: &Client) -> Vec<Lost> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn runs_us(_client: &Client) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
impl Lost {
    /// Ends it.
    pub(crate) fn end(&self) {}
}

#[cfg(target_os = "linux")]
mod proc {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::net::sockopt::socket_peercred;
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use super::{Client, Lost};
    use crate::poll;

    /// How often a process must be seen unlisted, and the pause between two looks: the supervisor
    /// starts a process a moment before it writes down its id.
    const LOOKS: usize = 5;
    const LOOK_PAUSE: Duration = Duration::from_millis(20);

    /// What process-compose names a process by, in its environment.
    const NAME: &[u8] = b"PC_PROC_NAME=";

    /// How long a process may take between SIGTERM and SIGKILL: the longest that our own wrappers
    /// need is 8 s.
    const TERM_GRACE: Duration = Duration::from_secs(10);
    /// How long the kernel may take to end what was killed.
    const KILL_GRACE: Duration = Duration::from_secs(2);
    const END_POLL: Duration = Duration::from_millis(2);

    /// Longest way from us up to the supervisor: controller, wrapper, runner.
    const MAX_GENERATIONS: usize = 8;

    /// The processes that the supervisor has lost, if it can be asked.
    pub(crate) fn find(client: &Client) -> Vec<Lost> {
        let Some(supervisor) = supervisor(client) else {
            return Vec::new();
        };
        let mut lost = look(client, supervisor);
        for _ in 1..LOOKS {
            if lost.is_empty() {
                break;
            }
            thread::sleep(LOOK_PAUSE);
            lost = &lost & &look(client, supervisor);
        }
        lost.into_iter().collect()
    }

    /// Whether we run below the supervisor ourselves.
    pub(crate) fn runs_us(client: &Client) -> bool {
        let Some(supervisor) = supervisor(client) else {
            return false;
        };
        let mut pid = i32::try_from(std::process::id()).unwrap_or_default();
        for _ in 0..MAX_GENERATIONS {
            match Stat::of(pid) {
                Some(stat) if stat.parent == supervisor => return true,
                Some(stat) => pid = stat.parent,
                None => return false,
            }
        }
        false
    }

    impl Lost {
        /// Ends it: SIGTERM to the process itself, as a wrapper hands that on, and SIGKILL to what
        /// is left of its group then.
        pub(crate) fn end(&self) {
            self.signal(Signal::TERM);
            poll::holds_by(Instant::now() + TERM_GRACE, END_POLL, || !self.lives());
            let mut members = group(self.pid, self.start);
            if self.lives() {
                members.push((self.pid, self.start));
            }
            for (pid, start) in &members {
                signal(*pid, *start, Signal::KILL);
            }
            poll::holds_by(Instant::now() + KILL_GRACE, END_POLL, || {
                !members.iter().any(|(pid, start)| lives(*pid, *start))
            });
        }

        fn signal(&self, wanted: Signal) {
            signal(self.pid, self.start, wanted);
        }

        fn lives(&self) -> bool {
            lives(self.pid, self.start)
        }
    }

    /// What is unlisted just now.
    fn look(client: &Client, supervisor: i32) -> BTreeSet<Lost> {
        let children = children(supervisor).into_iter();
        let found: Vec<Lost> = children
            .filter_map(|pid| candidate(pid, supervisor))
            .collect();
        if found.is_empty() {
            return BTreeSet::new();
        }
        // After the children: what was started in between is not among them.
        let Ok(states) = client.processes() else {
            return BTreeSet::new();
        };
        let is_unlisted = |lost: &Lost| {
            let state = states.get(&lost.name);
            state.is_some_and(|state| state.pid != lost.pid)
        };
        found.into_iter().filter(is_unlisted).collect()
    }

    /// A child of the supervisor that is a process of the stack: those lead their own process
    /// groups, probes run in that of the supervisor.
    fn candidate(pid: i32, supervisor: i32) -> Option<Lost> {
        let stat = Stat::of(pid)?;
        let is_process = stat.parent == supervisor && stat.group == pid && !stat.has_ended;
        let environment = fs::read(format!("/proc/{pid}/environ")).ok();
        let environment = environment.filter(|_| is_process)?;
        let mut variables = environment.split(|byte| *byte == 0);
        let name = variables.find_map(|variable| variable.strip_prefix(NAME))?;
        Some(Lost {
            name: String::from_utf8_lossy(name).into_owned(),
            pid,
            start: stat.start,
        })
    }

    /// Who answers at the socket, in a namespace of process ids that is ours.
    fn supervisor(client: &Client) -> Option<i32> {
        let stream = UnixStream::connect(client.socket()).ok()?;
        let pid = socket_peercred(stream).ok()?.pid.as_raw_nonzero().get();
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace("self")?;
        (namespace(&pid.to_string())? == ours).then_some(pid)
    }

    fn children(pid: i32) -> Vec<i32> {
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        let threads = threads.into_iter().flatten().flatten();
        let lists =
            threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        lists
            .flat_map(|list| {
                let pids = list.split_ascii_whitespace();
                pids.filter_map(|pid| pid.parse().ok())
                    .collect::<Vec<i32>>()
            })
            .collect()
    }

    /// Those of a process group that are not older than its leader.
    fn group(leader: i32, start: u64) -> Vec<(i32, u64)> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let members = pids.filter_map(|pid| Some((pid, Stat::of(pid)?)));
        members
            .filter(|(pid, stat)| *pid != leader && stat.group == leader && stat.start >= start)
            .map(|(pid, stat)| (pid, stat.start))
            .collect()
    }

    /// Signals a process through a descriptor that was opened before it was looked at again: an id
    /// that was used anew in between cannot be hit.
    fn signal(pid: i32, start: u64, signal: Signal) {
        let open = |pid| pidfd_open(pid, PidfdFlags::empty()).ok();
        let process: Option<OwnedFd> = Pid::from_raw(pid).and_then(open);
        if let Some(process) = process.filter(|_| lives(pid, start)) {
            // That it has ended meanwhile is fine.
            let _ = pidfd_send_signal(process, signal);
        }
    }

    fn lives(pid: i32, start: u64) -> bool {
        Stat::of(pid).is_some_and(|stat| stat.start == start && !stat.has_ended)
    }

    /// What `/proc/PID/stat` says.
    struct Stat {
        has_ended: bool,
        parent: i32,
        group: i32,
        start: u64,
    }

    impl Stat {
        fn of(pid: i32) -> Option<Self> {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name of the program stands in parentheses and may hold any of them.
            let (_, rest) = text.rsplit_once(')')?;
            let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
            Some(Self {
                has_ended: matches!(*fields.first()?, "Z" | "X"),
                parent: fields.get(1)?.parse().ok()?,
                group: fields.get(2)?.parse().ok()?,
                start: fields.get(19)?.parse().ok()?,
            })
        }
    }
}
