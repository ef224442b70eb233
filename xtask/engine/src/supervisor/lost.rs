//! Processes that the supervisor has lost: they run below it and are not on its list, so they
//! cannot be stopped, and they hold ports that their successors need.
//!
//! `supervisor/control.rs` says how process-compose (1.120.0) loses one, and why our own orders
//! cannot cause it; an older `xtask` may have. Found by data of the kernel, on Linux only. A lost
//! process cannot be repaired within the supervisor: the supervisor starts it again, or takes the
//! successor off the list when it ends.

use std::fmt;
use std::thread;
use std::time::Duration;

use kit::process::rest::Ask;
use kit::process::{self, Process};

use super::client::Client;
use super::{ours, proof};
use crate::base::ui::Ui;

/// How often a process must be seen unlisted, and the pause between two checks: the supervisor
/// records the id of a process shortly after it has started it.
const LOOKS: usize = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The environment variable by which process-compose names a process.
const NAME: &str = "PC_PROC_NAME";

/// How long a process may take between SIGTERM and SIGKILL: our own wrappers need at most 8 s.
const TERM_GRACE: Duration = Duration::from_secs(10);

/// A lost process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Its name in the supervisor.
    pub(crate) name: String,
    /// The process itself.
    pub(crate) process: Process,
}

impl Lost {
    /// Ends it and the rest of its process group.
    pub(crate) fn end(&self, ui: &Ui) -> anyhow::Result<()> {
        let left = || {
            let mut left = process::in_group(self.process.pid);
            let is_it = |one: &Process| one.pid == self.process.pid;
            if left
                .iter()
                .any(|one| is_it(one) && one.started != self.process.started)
            {
                // Its process id belongs to another process by now.
                left.clear();
            }
            left
        };
        proof::end(ui, Ask::Tops, TERM_GRACE, left).map(drop)
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {})", self.name, self.process.pid)
    }
}

/// Returns the processes that the supervisor has lost, if the supervisor can be asked.
pub(crate) fn find(client: &Client) -> Vec<Lost> {
    let Some(supervisor) = ours::supervisor(client.socket()) else {
        return Vec::new();
    };
    let mut lost = look(client, &supervisor);
    for _ in 1..LOOKS {
        if lost.is_empty() {
            break;
        }
        thread::sleep(LOOK_PAUSE);
        let again = look(client, &supervisor);
        let is_there = |one: &Lost| {
            again.iter().any(|other| {
                other.process.pid == one.process.pid && other.process.started == one.process.started
            })
        };
        lost.retain(is_there);
    }
    lost
}

/// Whether we run below the supervisor ourselves.
pub(crate) fn runs_us(client: &Client) -> bool {
    let Some(supervisor) = ours::supervisor(client.socket()) else {
        return false;
    };
    let Some(own) = Process::own() else {
        return false;
    };
    process::comes_from(own.parent, |one| one.pid == supervisor.pid).is_some()
}

/// Returns the processes that are unlisted at present.
fn look(client: &Client, supervisor: &Process) -> Vec<Lost> {
    let children = process::children(supervisor.pid).into_iter();
    let mut found: Vec<Lost> = children.filter_map(candidate).collect();
    if found.is_empty() {
        return found;
    }
    // Read after the children: processes that are started in between are not among them.
    let Ok(states) = client.processes() else {
        return Vec::new();
    };
    found.retain(|lost| {
        let state = states.get(&lost.name);
        state.is_some_and(|state| state.supervised_pid() != lost.process.pid)
    });
    found
}

/// Returns a child of the supervisor that is a process of the stack: it leads its own process
/// group, while probes run in that of the supervisor.
fn candidate(child: Process) -> Option<Lost> {
    if child.group != child.pid || child.has_ended {
        return None;
    }
    let name = process::variable(child.pid, NAME)?;
    Some(Lost {
        name,
        process: child,
    })
}
