//! The holders of this checkout's locks. The system releases them, so none must be removed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kit::files::FileLock;

use super::check::{Check, Id, or_ok};
use super::scene::Scene;
use engine::supervisor::operation::AtWork;
use engine::supervisor::ours;

/// How long others wait for a running command; one that takes longer probably hangs.
const PATIENCE: Duration = Duration::from_mins(10);

/// A lock other than the operation lock, and the holder in its file: pids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) name: String,
    pub(super) pids: Vec<i32>,
}

/// All held locks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Locks {
    pub(super) operation: Option<AtWork>,
    /// Binaries that are being installed.
    pub(super) binaries: Vec<Held>,
    /// Data directories in use by processes that are not part of the running stack.
    pub(super) data: Vec<Held>,
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    judge(&look(scene))
}

fn look(scene: &Scene<'_>) -> Locks {
    let paths = scene.paths();
    // A stack may be starting or stopping: our processes are listed before and after.
    let mut own = ours::all(paths);
    let mut data = held(&paths.data(), Some(".lock"));
    own.extend(ours::all(paths));
    let is_own = |pid: &i32| own.iter().any(|own| own.pid == *pid);
    data.retain(|held| !held.pids.iter().any(is_own));
    Locks {
        operation: scene.at_work.clone(),
        binaries: held(&paths.dep().join(".locks"), None),
        data,
    }
}

/// Returns the entries of a directory that are locked, or whose file `inside` is.
fn held(folder: &Path, inside: Option<&str>) -> Vec<Held> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let mut file = entry.path();
        file.extend(inside);
        if FileLock::is_held(&file).unwrap_or(false) {
            let text = fs::read_to_string(&file).unwrap_or_default();
            found.push(Held {
                name: entry.file_name().to_string_lossy().into_owned(),
                pids: text
                    .lines()
                    .filter_map(|line| line.trim().parse().ok())
                    .collect(),
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

pub(super) fn judge(locks: &Locks) -> Vec<Check> {
    let id = Id::Locks;
    let mut findings = Vec::new();
    if let Some(AtWork { who, since }) = &locks.operation {
        let since = since.unwrap_or_default();
        let found = format!("{who} has been at work here for {} s", since.as_secs());
        findings.push(if since > PATIENCE {
            Check::warning(id, found).fix("end it if it hangs; nothing has to be removed")
        } else {
            Check::info(id, found)
        });
    }
    for Held { name, pids } in &locks.binaries {
        let found = format!("`{name}` is being installed by {}", processes(pids));
        findings.push(Check::info(id, found));
    }
    for Held { name, pids } in &locks.data {
        let who = processes(pids);
        let found = format!("`.data/{name}` is in use by {who}, no part of a running stack");
        let fix = format!("end it, unless it is your `cargo xtask {name} run`");
        findings.push(Check::warning(id, found).fix(fix));
    }
    or_ok(findings, id, "no command is running here")
}

fn processes(pids: &[i32]) -> String {
    let pids: Vec<String> = pids.iter().map(i32::to_string).collect();
    match pids.as_slice() {
        [] => "a process".to_owned(),
        [pid] => format!("process {pid}"),
        many => format!("processes {}", many.join(" and ")),
    }
}
