//! Leftovers of a killed run: processes, the supervisor's socket, half-written files.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use kit::files::FileLock;
use kit::process::Process;

use super::check::{Check, Id, or_ok};
use super::scene::Scene;
use engine::base::interrupt::Interrupt;
use engine::base::poll::wait_until;
use engine::checkout::paths::Paths;
use engine::supervisor::BINARY;
use engine::supervisor::{alive, operation, ours};

/// How long a command that checks that no process runs may hold the alive lock.
const GLANCE: Duration = Duration::from_millis(50);

/// Poll interval of the alive lock meanwhile.
const POLL: Duration = Duration::from_millis(2);

/// Age at which a temporary file is abandoned: each is written and renamed at once.
const ABANDONED: Duration = Duration::from_mins(1);

/// Prefix of temporary files, as `kit::files` names them.
const TEMPORARY: &str = ".tmp-";

/// The command that fixes most leftovers.
const FIX: &str = "cargo xtask doctor --fix";

/// The text without findings; elsewhere than on Linux, not every process can be found.
const NOTHING_RUNS: &str = if cfg!(target_os = "linux") {
    "nothing runs"
} else {
    "nothing runs; what left the process group of a service cannot be found on this system"
};

/// The running processes of the instance, and how they are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Living {
    /// Whether the alive lock is held.
    pub(super) held: bool,
    /// The visible holders, and all processes with the mark of the instance.
    pub(super) holders: Vec<Process>,
    /// Whether the supervisor answers.
    pub(super) answers: bool,
    /// The file of the socket, if it exists.
    pub(super) socket: Option<PathBuf>,
    /// The command that is changing the instance now.
    pub(super) at_work: Option<String>,
}

impl Living {
    /// Observes until apparent leftovers have stayed for a while.
    pub(super) fn look(scene: &Scene<'_>) -> anyhow::Result<Self> {
        let mut living = Self::glance(scene)?;
        // Starts here: the first observation may take long on a busy machine.
        let deadline = Instant::now() + GLANCE;
        let is_clear = || {
            let clear = !living.is_orphaned() || living.at_work.is_some();
            if !clear {
                living = Self::glance(scene)?;
            }
            Ok::<_, anyhow::Error>(clear.then_some(()))
        };
        // The last observation counts.
        let _ = wait_until(deadline, POLL, &Interrupt::default(), is_clear)?;
        Ok(living)
    }

    fn glance(scene: &Scene<'_>) -> anyhow::Result<Self> {
        let client = scene.ctx.client()?;
        let lock = scene.paths().alive_lock();
        let held = alive::is_held(&lock)?;
        let holders = ours::all(scene.paths());
        let socket = Some(client.socket().to_path_buf()).filter(|socket| socket.exists());
        let answers = socket.is_some() && client.is_live();
        Ok(Self {
            held,
            holders,
            answers,
            socket,
            // Last: a command that began meanwhile explains the observations.
            at_work: operation::at_work(scene.paths()).map(|at_work| at_work.who),
        })
    }

    /// Returns the supervisor, if it is among the visible processes.
    fn supervisor(&self) -> Option<&Process> {
        self.holders.iter().find(|holder| holder.program == BINARY)
    }

    /// Whether all running processes have lost their supervisor, so that they may be stopped.
    pub(super) fn is_orphaned(&self) -> bool {
        let lives = self.held || !self.holders.is_empty();
        lives && !self.answers && self.supervisor().is_none()
    }

    /// Whether the socket's file has no listener.
    pub(super) fn has_stale_socket(&self) -> bool {
        self.socket.is_some() && !self.answers && self.supervisor().is_none()
    }
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    let mut checks = match Living::look(scene) {
        Ok(living) => vec![judge_living(&living), judge_socket(&living)],
        Err(error) => vec![
            Check::skipped(Id::Leftovers, format!("{error:#}")),
            Check::skipped(Id::SupervisorSocket, format!("{error:#}")),
        ],
    };
    let files = abandoned(scene.paths(), SystemTime::now());
    let files: Vec<String> = files.iter().map(|file| scene.shown(file)).collect();
    checks.extend(judge_files(&files));
    checks
}

pub(super) fn judge_living(living: &Living) -> Check {
    let id = Id::Leftovers;
    let names: Vec<String> = living.holders.iter().map(ToString::to_string).collect();
    let names = if names.is_empty() {
        "something that cannot be seen from here".to_owned()
    } else {
        names.join(", ")
    };
    match (living.held, living.answers, &living.at_work) {
        (false, false, None) if !living.holders.is_empty() => {
            Check::error(id, format!("still runs of an earlier start: {names}")).fix(FIX)
        }
        (false, false, _) => Check::ok(id, NOTHING_RUNS),
        (true, true, _) => Check::ok(id, "what runs has its supervisor"),
        (false, true, _) => {
            let found = "`.core-stack` was deleted while the stack ran: its supervisor still runs";
            Check::error(id, found).fix("cargo xtask down")
        }
        (true, false, Some(who)) => Check::info(
            id,
            format!("the supervisor does not answer while {who} is at work"),
        ),
        (true, false, None) => match living.supervisor() {
            Some(supervisor) => {
                Check::error(id, format!("{supervisor} does not answer")).fix("cargo xtask down")
            }
            None => {
                Check::error(id, format!("still runs without its supervisor: {names}")).fix(FIX)
            }
        },
    }
}

pub(super) fn judge_socket(living: &Living) -> Check {
    let id = Id::SupervisorSocket;
    match &living.socket {
        _ if living.answers => Check::ok(id, "the supervisor answers"),
        Some(socket) if living.has_stale_socket() && living.at_work.is_none() => {
            let found = format!("nothing listens at `{}`", socket.display());
            Check::warning(id, found).fix(FIX)
        }
        Some(_) => Check::info(id, "the supervisor does not answer"),
        None => Check::ok(id, "there is none"),
    }
}

pub(super) fn judge_files(files: &[String]) -> Vec<Check> {
    let found = |file: &String| {
        Check::warning(Id::TemporaryFiles, format!("`{file}` was never finished")).fix(FIX)
    };
    or_ok(
        files.iter().map(found).collect(),
        Id::TemporaryFiles,
        "there are none",
    )
}

/// Returns files whose writer was killed while it wrote or installed. Skips user data.
pub(super) fn abandoned(paths: &Paths, now: SystemTime) -> Vec<PathBuf> {
    let is_old = |entry: &DirEntry| {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified
            .ok()
            .and_then(|modified| now.duration_since(modified).ok());
        age.is_some_and(|age| age >= ABANDONED)
    };
    let is_temporary = |entry: &DirEntry| {
        let name = entry.file_name();
        let regular = entry.file_type().is_ok_and(|kind| kind.is_file());
        regular && name.to_string_lossy().starts_with(TEMPORARY) && is_old(entry)
    };
    let (state, dep) = (paths.state(), paths.dep());
    let mut folders = vec![state.clone(), dep.clone(), dep.join(".records")];
    let own = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    folders.extend(list(&state).filter(own).map(|entry| entry.path()));
    let files = folders.iter().flat_map(|folder| list(folder));
    let mut found: Vec<PathBuf> = files.filter(is_temporary).map(|e| e.path()).collect();
    // A process that installs a binary holds the lock of its name.
    let locks = dep.join(".locks");
    let is_free =
        |entry: &DirEntry| !FileLock::is_held(&locks.join(entry.file_name())).unwrap_or(true);
    found.extend(
        list(&dep.join(".work"))
            .filter(is_free)
            .map(|entry| entry.path()),
    );
    found.sort();
    found
}

fn list(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}
