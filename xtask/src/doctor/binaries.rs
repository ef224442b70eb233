//! Checks of `dep.lock` and of the content of `.dep/`.

use super::check::{Check, Id, or_ok};
use super::scene::Scene;
use crate::dep::Verified;
use crate::dep::lock::Lock;
use engine::plan::binaries::{Kind, Request};

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    let lock = Lock::load(&scene.paths().dep_lock());
    let requests = scene.requests();
    let (lock, requests) = match (lock, requests) {
        (Ok(lock), Ok(requests)) => (lock, requests),
        (Err(error), _) | (_, Err(error)) => {
            let why = "without `dep.lock` nothing can be compared";
            return vec![
                Check::failed(Id::DepLock, &error),
                Check::skipped(Id::DepBinaries, why),
            ];
        }
    };
    let mut checks = judge_lock(&lock, &requests);
    match scene.verified() {
        Ok(binaries) => checks.extend(judge_binaries(binaries)),
        Err(error) => checks.push(Check::failed(Id::DepBinaries, error)),
    }
    checks
}

pub(super) fn judge_lock(lock: &Lock, requests: &[Request]) -> Vec<Check> {
    let id = Id::DepLock;
    if lock.programs.is_empty() {
        let check = Check::error(id, "`dep.lock` is missing or pins nothing");
        return vec![check.fix("git checkout -- dep.lock")];
    }
    let mut findings = Vec::new();
    for Request { name, kind } in requests {
        let Kind::Fetch { version } = kind else {
            continue;
        };
        let pinned = lock.programs.get(name).map(|program| &program.version);
        if pinned != Some(version) {
            let pinned = pinned.map_or("nothing of it", String::as_str);
            let found =
                format!("the manifest asks for `{name}` {version}, `dep.lock` pins {pinned}");
            let fix = format!("cargo xtask dep update {name}");
            findings.push(Check::error(id, found).fix(fix));
        }
    }
    or_ok(findings, id, "pins what the manifests ask for")
}

pub(super) fn judge_binaries(binaries: &[Verified]) -> Vec<Check> {
    let id = Id::DepBinaries;
    let mut findings = Vec::new();
    for binary in binaries {
        if let Some(problem) = &binary.problem {
            let found = format!("`.dep/{}` {problem}", binary.name);
            findings.push(Check::error(id, found).fix("cargo xtask doctor --fix"));
        }
    }
    let absent = binaries.iter().filter(|binary| !binary.installed);
    let absent: Vec<&str> = absent.map(|binary| binary.name.as_str()).collect();
    if !absent.is_empty() {
        let found = format!("not installed yet: {}", absent.join(", "));
        findings.push(Check::info(id, found).fix("cargo xtask dep fetch"));
    }
    let count = binaries.len();
    or_ok(findings, id, format!("{count} binaries have their digests"))
}
