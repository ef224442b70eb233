//! One operation at a time per instance: `up`, `down`, `reload` and others wait for each other.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::files::{self, FileLock};
use kit::{Exit, Failure};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::suspended;
use crate::base::interrupt::Interrupt;
use crate::base::poll::{Waited, wait_until};
use crate::base::ui::Ui;
use crate::checkout::links;
use crate::checkout::paths::Paths;
use crate::plan::stack::CONTROLLER;

/// How often the lock is polled while waiting for it.
const POLL: Duration = Duration::from_millis(10);

/// How often the holder is checked for being suspended.
const SUSPENDED_POLL: Duration = Duration::from_millis(250);

/// How long to wait for a suspended holder: its user may be about to continue it.
const SUSPENDED_LIMIT: Duration = Duration::from_secs(10);

/// How long commands that only check the lock may hold it: each does for microseconds, unless the
/// machine is busy.
const GLANCE: Duration = Duration::from_millis(50);

/// How often the lock is tried during that time.
const GLANCE_POLL: Duration = Duration::from_millis(1);

/// How long a check of the lock may hold it: microseconds, unless the machine is busy.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_millis(100);

/// How often an announcement is tried.
const ANNOUNCE_POLL: Duration = Duration::from_millis(1);

/// The right to change an instance, until it is dropped.
#[derive(Debug)]
pub struct Operation {
    _lock: FileLock,
}

/// The holder of the lock, as written into it.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    command: String,
    pid: u32,
}

/// What a caller does if the lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Wait for at most this time.
    For(Duration),
    /// Give up at once.
    No,
}

impl Operation {
    /// Takes the operation lock for `command`. Waits for its holder as `wait` says, unless
    /// interrupted.
    pub fn begin(
        paths: &Paths,
        ui: &Ui,
        command: &str,
        wait: Wait,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        // A running stack can be stopped despite links; `clean` deletes links, not their targets.
        if !["down", "clean"].contains(&command) {
            links::refuse(paths)?;
        }
        files::create_private_dir(&paths.state())?;
        let path = paths.operation_lock();
        let begun = Instant::now();
        let claim = || FileLock::try_exclusive(&path);
        let glance = || match claim()? {
            Some(lock) => Ok(Some(Some(lock))),
            // Held by an operation, not by a command that only checks the lock.
            None if FileLock::is_held(&path)? => Ok(Some(None)),
            None => Ok::<_, anyhow::Error>(None),
        };
        let never = Interrupt::default();
        if let Some(Some(lock)) = wait_until(begun + GLANCE, GLANCE_POLL, &never, glance)?.done() {
            return Self::of(lock, command);
        }
        let mut suspension = Suspension::default();
        let may_wait = |suspension: &mut Suspension| {
            let holder = describe_holder(&path);
            suspension.look(ui, &path, &holder);
            if suspension.is_over(wait) {
                return Err(suspension.failure(command, &holder));
            }
            Ok(holder)
        };
        let holder = may_wait(&mut suspension)?;
        let Wait::For(limit) = wait else {
            let message = format!("cannot begin `{command}`: {holder} is at work here");
            return Err(Failure::new(Exit::Locked, message)
                .hint("run it again when that has ended, without `--no-wait` to wait for it")
                .into());
        };
        ui.line(format!("waiting for {holder} to end"));
        let claim = || match claim()? {
            Some(lock) => Ok(Some(lock)),
            None => may_wait(&mut suspension).map(|_| None),
        };
        match wait_until(begun + limit, POLL, interrupt, claim)? {
            Waited::Done(lock) => Self::of(lock, command),
            Waited::Interrupted(interrupted) => Err(interrupted.into()),
            Waited::Deadline => {
                let holder = describe_holder(&path);
                let message = format!("waited {limit:?} for {holder} to end");
                Err(Failure::new(Exit::Timeout, message)
                    .hint("end it if it hangs, then run the command again")
                    .into())
            }
        }
    }

    fn of(lock: FileLock, command: &str) -> anyhow::Result<Self> {
        write_holder(&lock, command)?;
        Ok(Self { _lock: lock })
    }
}

/// What is known about a suspended holder: it never ends by itself.
#[derive(Default)]
struct Suspension {
    looked: Option<Instant>,
    /// Its process id, and since when it is known to be suspended.
    since: Option<(u32, Instant)>,
}

impl Suspension {
    /// Checks the holder at most once per interval, and reports when it was found suspended.
    fn look(&mut self, ui: &Ui, path: &Path, holder: &str) {
        if self
            .looked
            .is_some_and(|looked| looked.elapsed() < SUSPENDED_POLL)
        {
            return;
        }
        self.looked = Some(Instant::now());
        let pid = read_holder(path).map(|holder| holder.pid);
        let Some(pid) = pid.filter(|pid| suspended::is_suspended(*pid)) else {
            self.since = None;
            return;
        };
        if self.since.is_none_or(|(before, _)| before != pid) {
            self.since = Some((pid, Instant::now()));
            ui.line(format!(
                "{holder} was suspended, by Ctrl-Z maybe; `fg` or `kill -CONT {pid}` continues it"
            ));
        }
    }

    /// Whether the wait for a suspended holder is over.
    fn is_over(&self, wait: Wait) -> bool {
        let since = self.since.map(|(_, since)| since.elapsed());
        since.is_some_and(|since| wait == Wait::No || since >= SUSPENDED_LIMIT)
    }

    fn failure(&self, command: &str, holder: &str) -> anyhow::Error {
        let pid = self.since.map(|(pid, _)| pid).unwrap_or_default();
        let message = format!("cannot begin `{command}`: {holder} is at work here and suspended");
        let hint = format!(
            "continue it with `kill -CONT {pid}`, or end it with `kill {pid}; kill -CONT {pid}`; \
             then run the command again"
        );
        Failure::new(Exit::Locked, message).hint(hint).into()
    }
}

fn read_holder(path: &Path) -> Option<Holder> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Describes the holder of the lock at `path`, as far as the file says.
fn describe_holder(path: &Path) -> String {
    read_holder(path).map_or_else(
        || "another command".to_owned(),
        |Holder { command, pid }| match &*command {
            CONTROLLER => format!("the controller (pid {pid})"),
            _ => format!("`cargo xtask {command}` (pid {pid})"),
        },
    )
}

/// An operation in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtWork {
    /// Its command, with the process id.
    pub who: String,
    /// How long it has been running, if known.
    pub since: Option<Duration>,
}

/// Returns the holder of the operation lock, without taking the lock.
pub fn at_work(paths: &Paths) -> Option<AtWork> {
    let path = paths.operation_lock();
    if !FileLock::is_held(&path).unwrap_or(false) {
        return None;
    }
    // The holder wrote its name when it began.
    let begun = fs::metadata(&path).and_then(|meta| meta.modified());
    Some(AtWork {
        who: describe_holder(&path),
        since: begun.ok().and_then(|begun| begun.elapsed().ok()),
    })
}

fn write_holder(lock: &FileLock, command: &str) -> anyhow::Result<()> {
    let holder = Holder {
        command: command.to_owned(),
        pid: std::process::id(),
    };
    let text = serde_json::to_vec(&holder).context("cannot describe this operation")?;
    let mut file = lock.file();
    let write = |file: &mut &fs::File| {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    };
    let is_read_only =
        rustix::fs::fcntl_getfl(file).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDONLY);
    if is_read_only {
        // On a read-only file system; a command that changes something fails later.
        return Ok(());
    }
    write(&mut file).context("cannot write into the operation lock")
}

/// Held by a `down` from its beginning: an operation that waits for health then gives up.
#[derive(Debug)]
pub struct StopRequest {
    _lock: FileLock,
}

impl StopRequest {
    /// Announces a `down`. Returns `None` if another one is announced already.
    pub fn announce(paths: &Paths) -> anyhow::Result<Option<Self>> {
        files::create_private_dir(&paths.state())?;
        let deadline = Instant::now() + ANNOUNCE_TIMEOUT;
        // A command that checks whether a `down` is waiting also holds the lock briefly.
        let claim = || FileLock::try_exclusive(&paths.down_lock());
        let lock = wait_until(deadline, ANNOUNCE_POLL, &Interrupt::default(), claim)?;
        Ok(lock.done().map(|lock| Self { _lock: lock }))
    }

    /// Whether a `down` is waiting.
    pub fn is_pending(paths: &Paths) -> bool {
        FileLock::is_held(&paths.down_lock()).unwrap_or(false)
    }
}
