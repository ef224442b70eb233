//! Limits of this machine on open files, memory, processes and threads. Programs fail at them with
//! messages that do not name the limit. Programs that we start inherit ours.
//!
//! Must be called only after something has failed.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Below this a supervisor or a server may not start: measured, an idle process-compose has 24
/// files open and an idle PocketBase 21, and each process of the stack needs some more.
const FILES_LOW: u64 = 128;

/// Below this, programs written in Go do not start: they reserve some 700 MB of address space.
const MEMORY_LOW: u64 = 2 << 30;

/// Below this, a stack has too many threads: each server has one or two dozen.
const TASKS_LOW: u64 = 256;

/// The resource that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Files,
    Memory,
    Tasks,
}

/// How programs and the system report that a limit is reached, in lower case.
const WORDS: [(Kind, &[&str]); 3] = [
    (
        Kind::Files,
        &[
            "too many open files",
            "emfile",
            "os error 24)",
            // Programs written in Go, when a new process cannot get a descriptor that high.
            "fork/exec /bin/sh: bad file descriptor",
        ],
    ),
    (
        Kind::Memory,
        &[
            "cannot allocate memory",
            "out of memory",
            "failed to reserve page summary",
            "failed to reserve memory",
            "memory allocation of",
            "os error 12)",
        ],
    ),
    (
        Kind::Tasks,
        &[
            "failed to create new os thread",
            "pthread_create failed",
            "resource temporarily unavailable",
            "can't start new thread",
            "os error 11)",
        ],
    ),
];

/// The limits in effect; `None` means no limit.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    files: Option<u64>,
    memory: Option<u64>,
    tasks: Option<u64>,
    /// Limit on processes and threads of the control group, usually that of a container.
    group_tasks: Option<u64>,
}

impl Limits {
    fn now() -> Self {
        Self {
            // Programs written in Go raise their soft limit to the hard one.
            files: getrlimit(Resource::Nofile).maximum,
            memory: getrlimit(Resource::As).current,
            tasks: getrlimit(Resource::Nproc).current,
            group_tasks: group_tasks(),
        }
    }

    fn is_low(&self, kind: Kind) -> bool {
        let below = |limit: Option<u64>, low| limit.is_some_and(|limit| limit < low);
        match kind {
            Kind::Files => below(self.files, FILES_LOW),
            Kind::Memory => below(self.memory, MEMORY_LOW),
            Kind::Tasks => below(self.tasks, TASKS_LOW) || below(self.group_tasks, TASKS_LOW),
        }
    }

    /// Returns the limit with its value, and what to do about it.
    fn name(&self, kind: Kind) -> String {
        let number = |limit: Option<u64>| limit.map_or("not set".to_owned(), |it| it.to_string());
        match kind {
            Kind::Files => format!(
                "the limit of open files is {}: raise it to 4096 or more, `ulimit -Hn 4096`",
                number(self.files)
            ),
            Kind::Memory => match self.memory {
                Some(bytes) => format!(
                    "the limit of memory is {} MB of addresses: lift it, `ulimit -v unlimited`",
                    bytes / 1_000_000
                ),
                None => "the machine or its container has too little memory: see `free -m`".into(),
            },
            Kind::Tasks => match self.group_tasks {
                Some(limit) if self.tasks.is_none_or(|own| limit < own) => format!(
                    "the limit of processes and threads of this control group is {limit}: raise \
                     its `pids.max`"
                ),
                _ => format!(
                    "the limit of processes and threads is {}: raise it to 4096 or more, \
                     `ulimit -u 4096`",
                    number(self.tasks)
                ),
            },
        }
    }

    /// Returns the limit that the message `words` reports.
    fn refused(&self, words: &str) -> Option<String> {
        let words = words.to_ascii_lowercase();
        let told = |(_, phrases): &&(Kind, &[&str])| phrases.iter().any(|it| words.contains(it));
        WORDS.iter().find(told).map(|(kind, _)| self.name(*kind))
    }

    /// Returns the limit that `words` reports, else the limits that are low enough to be the cause.
    fn hint(&self, words: &str) -> Option<String> {
        self.refused(words).or_else(|| {
            let kinds = WORDS.iter().map(|(kind, _)| *kind);
            let low: Vec<String> = kinds
                .filter(|kind| self.is_low(*kind))
                .map(|kind| self.name(kind))
                .collect();
            (!low.is_empty()).then(|| low.join("; "))
        })
    }
}

/// Returns the limit that the last output of a program reports, and what to do about it.
pub fn refused(words: &str) -> Option<String> {
    Limits::now().refused(words)
}

/// Returns the limit that stopped a supervisor, whatever it printed last; `None` if none is low.
pub fn hint(words: &str) -> Option<String> {
    Limits::now().hint(words)
}

/// Returns `pids.max` of our control group, on Linux.
fn group_tasks() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let file = format!("/sys/fs/cgroup{}/pids.max", own.trim_end_matches('/'));
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Limits = Limits {
        files: None,
        memory: None,
        tasks: None,
        group_tasks: None,
    };

    #[test]
    fn words_name_their_limit() {
        let limits = Limits {
            files: Some(32),
            memory: Some(300_000_000),
            tasks: Some(20),
            group_tasks: Some(10),
        };
        for (words, expected) in [
            ("open x: too many open files", "open files is 32"),
            ("fork/exec /bin/sh: bad file descriptor", "open files is 32"),
            ("fatal error: runtime: cannot allocate memory", "300 MB"),
            (
                "runtime: failed to create new OS thread (have 5)",
                "control group is 10",
            ),
            (
                "fork/exec /bin/sh: Resource temporarily unavailable",
                "control group is 10",
            ),
            (
                "cannot open: Too many open files (os error 24)",
                "open files is 32",
            ),
        ] {
            let told = limits.refused(words).unwrap();
            assert!(told.contains(expected), "{words}: {told}");
        }
        assert_eq!(limits.refused("no such table"), None);
        let own = Limits {
            tasks: Some(9),
            ..limits
        };
        let told = own.refused("can't start new thread").unwrap();
        assert!(told.contains("threads is 9"), "{told}");
    }

    #[test]
    fn low_limits_are_why_when_nothing_was_said() {
        assert_eq!(NONE.hint("exit status 2"), None);
        let limits = Limits {
            files: Some(32),
            ..NONE
        };
        assert!(limits.hint("").unwrap().contains("open files is 32"));
        let limits = Limits {
            memory: Some(300 << 20),
            files: Some(40_000),
            ..NONE
        };
        assert!(limits.hint("").unwrap().contains("`ulimit -v unlimited`"));
        assert_eq!(
            Limits {
                tasks: Some(4096),
                ..NONE
            }
            .hint(""),
            None
        );
        // A service's message counts even if the limit is high: others use it up, too.
        let limits = Limits {
            files: Some(1_000_000),
            ..NONE
        };
        assert!(limits.refused("too many open files").is_some());
        assert_eq!(limits.refused(""), None);
    }
}
