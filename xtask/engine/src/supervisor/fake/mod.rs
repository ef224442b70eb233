//! A scripted process-compose in a thread, for tests in this process: its REST API and its
//! websocket on a unix socket, its rules (1.120.0) for lists, orders and exits, and every known way
//! in which it, or one of its processes, misbehaves.
//!
//! Runs nothing: a process is a row in a table. `bed` is a checkout with a stack on it.

pub(crate) mod bed;
mod model;
mod server;
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kit::files::FileLock;
use rustix::process::{Pid, Signal, kill_process};

use self::model::World;
pub(crate) use self::model::{Fault, Script};
use crate::base::poll::holds_by;

/// A running fake.
pub(crate) struct Fake {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// State shared by the fake and its threads.
struct Shared {
    world: Mutex<World>,
    socket: PathBuf,
    /// The file that a supervisor is started with.
    file: PathBuf,
    /// The file to which the program that holds the alive lock for us writes its process id.
    holder: PathBuf,
    /// The alive lock, held by ourselves while there is no such program.
    alive: Mutex<Option<FileLock>>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Ends by `end` and releases the alive lock, as a supervisor does that has exited.
    fn die(&self, end: fn(&mut World)) {
        let pid = fs::read_to_string(&self.holder).unwrap_or_default();
        // First of all, because a holder without a socket makes the fake start again.
        let _ = fs::remove_file(&self.holder);
        end(&mut self.world());
        if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.world().forget_runs();
        drop(self.alive.lock().unwrap().take());
    }
}

impl Fake {
    /// Creates a fake at `socket` that is not started: removing its socket starts it on `file`, as
    /// `launch` does.
    fn new(socket: &Path, file: &Path, holder: &Path) -> Self {
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new(file.with_file_name("run"))),
            socket: socket.to_owned(),
            file: file.to_owned(),
            holder: holder.to_owned(),
            alive: Mutex::default(),
        });
        let thread = Some(server::spawn(&shared));
        Self { shared, thread }
    }

    /// Starts without a program, and holds the lock itself.
    fn boot(&self, alive: &Path) {
        let claim = FileLock::try_exclusive(alive).unwrap();
        *self.shared.alive.lock().unwrap() = claim;
        fs::write(&self.shared.holder, "").unwrap();
        let listens = || self.shared.world().listens && self.shared.socket.exists();
        assert!(holds_by(Instant::now() + LIMIT, TICK, listens));
    }

    /// Scripts a process.
    pub(crate) fn script(&self, name: &str, script: Script) {
        self.shared.world().script(name, script);
    }

    /// Scripts the next answer to requests that begin with `request`, for example `POST /project`.
    pub(crate) fn fault(&self, request: &str, fault: Fault) {
        self.shared.world().fault(request, fault);
    }

    /// Returns the orders since the last call: `stop a`, `reload`, `start a`, `signal a 1`, `down`.
    /// An order to stop is repeated until it is refused; that counts once.
    pub(crate) fn orders(&self) -> Vec<String> {
        let mut stopped = BTreeSet::new();
        let mut orders = self.shared.world().take_orders();
        orders.retain(|order| match order.split_once(' ') {
            Some(("stop", name)) => stopped.insert(name.to_owned()),
            Some(("start", name)) => {
                stopped.remove(name);
                true
            }
            _ => {
                if order == "reload" {
                    stopped.clear();
                }
                true
            }
        });
        orders
    }

    /// Returns processes that were updated or removed while they were on the list; the real
    /// supervisor loses them.
    pub(crate) fn lost(&self) -> BTreeSet<String> {
        self.shared.world().lost.clone()
    }

    /// Ends a process by itself with an exit code. It is not started again.
    pub(crate) fn end(&self, name: &str, code: i32) {
        self.shared.world().end(name, code);
    }

    /// Changes the reported state of a process, against all rules.
    pub(crate) fn lie(&self, name: &str, status: &'static str, pid: i32) {
        self.shared.world().lie(name, status, pid);
    }

    /// Ends at once, as by SIGKILL: it no longer listens, and the lock is free.
    pub(crate) fn crash(&self) {
        self.shared.die(World::crash);
        self.wait_until_gone();
    }

    /// Stops listening, while the lock is still held.
    pub(crate) fn fall_silent(&self) {
        let mut world = self.shared.world();
        world.silent = true;
        world.crash();
        drop(world);
        self.wait_until_gone();
    }

    /// Waits until the fake no longer listens.
    fn wait_until_gone(&self) {
        let gone = || !self.shared.socket.exists();
        assert!(holds_by(Instant::now() + LIMIT, TICK, gone));
    }

    /// Returns the process id of a process, and whether it is on the list.
    pub(crate) fn pid(&self, name: &str) -> (i32, bool) {
        self.shared.world().pid(name)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.die(World::quit);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.shared.socket);
    }
}

/// How often a test polls, and its deadline.
const TICK: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(10);

/// The shortest useful wait.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(20);
