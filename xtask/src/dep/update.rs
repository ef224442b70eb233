//! `dep update`: resolves pins and writes `dep.lock`.
//!
//! Owns the order: everything is resolved first, then written, so that a failure changes nothing.
//! Must not install anything.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use kit::{Exit, Failure};
use serde::Serialize;

use super::context::Context;
use super::lock::{Lock, Program};
use super::resolve::{self, Resolved};
use super::{Kind, Options, Request, is_cancelled, manifests};
use engine::base::threads::{Task, side_by_side};
use engine::{Ctx, SCHEMA_VERSION};

/// The lock name by which two updates exclude each other; no binary can have this name.
const LOCK_NAME: &str = "dep.lock";

/// The result of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// Version of this document's format.
    pub schema_version: u32,
    /// Whether `dep.lock` or a `go.mod` changed.
    pub changed: bool,
    /// One entry per program, by name.
    pub programs: Vec<Updated>,
}

/// The result of an update for one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Updated {
    /// Its name in `.dep/`.
    pub name: String,
    /// The version that is pinned now.
    pub version: String,
    /// The version that was pinned before.
    pub previous: Option<String>,
    /// What is pinned: `linux-amd64 archive`.
    pub pins: Vec<String>,
    /// What could not be pinned, and what must be edited by hand.
    pub notes: Vec<String>,
}

/// A program to update, as an argument: `NAME` or `NAME@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: String,
    version: String,
}

/// Pins programs again: `targets` are `NAME` (the version of the manifest) or `NAME@VERSION`;
/// without targets, every fetched program. Writes nothing unless everything could be resolved.
pub fn update(ctx: &Ctx, requests: &[Request], targets: &[String]) -> anyhow::Result<Update> {
    let options = Options::default();
    update_in(&Context::new(ctx, &options), requests, targets)
}

pub(super) fn update_in(
    context: &Context<'_>,
    requests: &[Request],
    targets: &[String],
) -> anyhow::Result<Update> {
    let wait = |holder: &str| context.ui.line(format!("waiting for {holder} to update"));
    let guard = context
        .store
        .lock(LOCK_NAME, context.limits.lock_wait, &context.cancel, &wait)?;
    let lock_path = context.paths.dep_lock();
    let old = Lock::load(&lock_path)?;
    let targets = choose(requests, targets, &old)?;
    let resolved = resolve_all(context, &targets, &old, guard.work())?;
    let mut new = old.clone();
    let mut changed = false;
    let mut programs = Vec::new();
    for (target, mut found) in targets.into_iter().zip(resolved) {
        changed |= resolve::write_go(context, &target.name, &found)?;
        found.notes.extend(manifests::edits(
            context.paths,
            &target.name,
            &target.version,
        ));
        let previous = new
            .programs
            .insert(target.name.clone(), found.program.clone());
        programs.push(Updated {
            name: target.name,
            version: target.version,
            previous: previous.map(|program| program.version),
            pins: pins(&found.program),
            notes: found.notes,
        });
    }
    if new != old {
        new.store(&lock_path)?;
        changed = true;
    }
    Ok(Update {
        schema_version: SCHEMA_VERSION,
        changed,
        programs,
    })
}

/// Returns the requested programs, each once, by name.
fn choose(requests: &[Request], words: &[String], lock: &Lock) -> anyhow::Result<Vec<Target>> {
    let asked: BTreeMap<&str, &str> = requests
        .iter()
        .filter_map(|request| match &request.kind {
            Kind::Fetch { version } => Some((request.name.as_str(), version.as_str())),
            Kind::CargoBuild { .. } => None,
        })
        .collect();
    let usual = |name: &str| {
        let locked = lock.programs.get(name).map(|p| p.version.as_str());
        asked.get(name).copied().or(locked)
    };
    let mut chosen = BTreeMap::new();
    for word in words {
        let (name, version) = match word.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (word.as_str(), usual(word)),
        };
        let version = version.map(|v| v.strip_prefix('v').unwrap_or(v));
        match version.filter(|version| is_version(version)) {
            Some(version) => chosen.insert(name, version),
            None => return Err(unknown(word, asked.keys().copied())),
        };
    }
    if words.is_empty() {
        chosen = asked;
    }
    let target = |(name, version): (&str, &str)| Target {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    Ok(chosen.into_iter().map(target).collect())
}

/// A version is part of addresses and file names: only characters of versions are allowed.
fn is_version(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(allowed)
}

fn unknown<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> anyhow::Error {
    let known: Vec<&str> = known.collect();
    Failure::new(Exit::Usage, format!("cannot update `{word}`"))
        .hint(format!(
            "give NAME or NAME@VERSION; names: {}",
            known.join(", ")
        ))
        .into()
}

fn resolve_all(
    context: &Context<'_>,
    targets: &[Target],
    lock: &Lock,
    work: &std::path::Path,
) -> anyhow::Result<Vec<Resolved>> {
    let task = |target: &Target| {
        let name = target.name.clone();
        let version = target.version.clone();
        Box::new(move || {
            let known = lock.programs.get(&name);
            let result = resolve::program(context, &name, &version, known, &work.join(&name));
            if result.is_err() {
                context.cancel.store(true, Ordering::Relaxed);
            }
            result
        }) as Task<'_, _>
    };
    let results = side_by_side(targets.iter().map(task).collect());
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let mut errors: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
    errors.sort_by_key(is_cancelled);
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(good.into_iter().filter_map(Result::ok).collect()),
    }
}

fn pins(program: &Program) -> Vec<String> {
    let mut pins = Vec::new();
    for (platform, artefacts) in &program.platforms {
        let sources = [("archive", &artefacts.archive), ("wheel", &artefacts.wheel)];
        let pinned = sources.iter().filter(|(_, artefact)| artefact.is_some());
        pins.extend(pinned.map(|(source, _)| format!("{platform} {source}")));
    }
    pins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(name: &str, version: &str) -> Request {
        Request {
            name: name.into(),
            kind: Kind::Fetch {
                version: version.into(),
            },
        }
    }

    #[test]
    fn versions_come_from_the_command_line_then_the_manifest() {
        let requests = [fetch("a", "1"), fetch("b", "2")];
        let chosen = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.into()).collect();
            choose(&requests, &words, &Lock::empty()).map(|targets| {
                let word = |t: Target| format!("{}@{}", t.name, t.version);
                targets.into_iter().map(word).collect::<Vec<_>>()
            })
        };
        assert_eq!(chosen(&[]).unwrap(), ["a@1", "b@2"]);
        assert_eq!(chosen(&["b"]).unwrap(), ["b@2"]);
        assert_eq!(chosen(&["b@v3.0.0"]).unwrap(), ["b@3.0.0"]);
        for bad in ["c", "a@", "a@../x", "a@x"] {
            let error = chosen(&[bad]).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Usage, "{bad}");
        }
    }
}
