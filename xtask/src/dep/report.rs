//! The reports of the commands `dep list` and `dep verify`.

use std::fs::File;
use std::time::SystemTime;

use anyhow::Context as _;
use serde::Serialize;

use super::context::Context;
use super::ensure::ensure_in;
use super::fetch;
use super::got::Wanted;
use super::lock::Lock;
use super::record::Stamp;
use super::{Kind, Options, Request};
use engine::base::digest;
use engine::{Ctx, SCHEMA_VERSION};
use kit::{Exit, Failure};

/// All binaries of a checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Version of this document's format.
    pub schema_version: u32,
    /// Our platform.
    pub platform: String,
    /// One row per binary, by name.
    pub binaries: Vec<Row>,
}

/// One binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name in `.dep/`.
    pub name: String,
    /// `cargo-build` or `fetch`.
    pub kind: &'static str,
    /// The required version of a fetched binary.
    pub version: Option<String>,
    /// Platforms that `dep.lock` pins at this version.
    pub platforms: Vec<String>,
    /// Whether an intact file of the right version is installed. A wrapper may still be older than
    /// its sources.
    pub installed: bool,
    /// Where the installed file came from.
    pub source: Option<String>,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
    /// Its SHA-256.
    pub sha256: Option<String>,
}

/// Reading what is installed: a binary that was copied from the system counts, too.
const IN_DEP: Options = Options {
    offline: false,
    locked: false,
    system: true,
};

/// Returns the state of every binary. Only reads.
pub fn list(ctx: &Ctx, requests: &[Request]) -> anyhow::Result<Listing> {
    list_in(&Context::new(ctx, &IN_DEP), requests)
}

pub(super) fn list_in(context: &Context<'_>, requests: &[Request]) -> anyhow::Result<Listing> {
    let lock = Lock::load(&context.paths.dep_lock())?;
    let rows = by_name(requests).map(|request| row(context, &lock, request));
    Ok(Listing {
        schema_version: SCHEMA_VERSION,
        platform: context.platform.clone(),
        binaries: rows.collect::<anyhow::Result<_>>()?,
    })
}

fn row(context: &Context<'_>, lock: &Lock, request: &Request) -> anyhow::Result<Row> {
    let name = &request.name;
    let (kind, version) = match &request.kind {
        Kind::CargoBuild { .. } => ("cargo-build", None),
        Kind::Fetch { version } => ("fetch", Some(version.as_str())),
    };
    let wanted = version.and_then(|version| wanted(lock, name, version));
    let unpinned = version.is_some() && wanted.is_none();
    let installed = if unpinned {
        None
    } else {
        context.installed(name, wanted, false)?
    };
    let platforms = wanted.map(|wanted| wanted.program.platforms.keys().cloned().collect());
    Ok(Row {
        name: name.clone(),
        kind,
        version: version.map(str::to_owned),
        platforms: platforms.unwrap_or_default(),
        installed: installed.is_some(),
        source: installed.as_ref().map(|r| r.source.to_string()),
        size_bytes: installed.as_ref().map(|r| r.stamp.size_bytes()),
        sha256: installed.map(|r| r.sha256),
    })
}

/// Returns the requests by name, each name once.
fn by_name(requests: &[Request]) -> impl Iterator<Item = &Request> {
    let mut by_name: Vec<&Request> = requests.iter().collect();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    by_name.dedup_by(|a, b| a.name == b.name);
    by_name.into_iter()
}

fn wanted<'a>(lock: &'a Lock, name: &'a str, version: &'a str) -> Option<Wanted<'a>> {
    let program = lock.programs.get(name).filter(|p| p.version == version)?;
    Some(Wanted {
        name,
        version,
        program,
    })
}

/// The full check of all installed binaries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Version of this document's format.
    pub schema_version: u32,
    /// One entry per binary, by name.
    pub binaries: Vec<Verified>,
}

/// The check of one binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Its name in `.dep/`.
    pub name: String,
    /// Whether it is installed.
    pub installed: bool,
    /// The difference.
    pub problem: Option<String>,
}

impl Verification {
    /// Returns an error that names every difference, if there is one.
    pub fn failure(&self) -> Option<anyhow::Error> {
        let problems: Vec<String> = self
            .binaries
            .iter()
            .filter_map(|b| Some(format!("`.dep/{}` {}", b.name, b.problem.as_ref()?)))
            .collect();
        if problems.is_empty() {
            return None;
        }
        let message = format!("not what was installed:\n  {}", problems.join("\n  "));
        let failure = Failure::new(Exit::Binary, message).hint("cargo xtask dep fetch");
        Some(failure.into())
    }
}

/// Computes the digest of every installed binary and compares it with its record and `dep.lock`.
pub fn verify(ctx: &Ctx, requests: &[Request]) -> anyhow::Result<Verification> {
    verify_in(&Context::new(ctx, &IN_DEP), requests)
}

pub(super) fn verify_in(
    context: &Context<'_>,
    requests: &[Request],
) -> anyhow::Result<Verification> {
    let lock = Lock::load(&context.paths.dep_lock())?;
    let checked = by_name(requests).map(|request| check(context, &lock, request));
    Ok(Verification {
        schema_version: SCHEMA_VERSION,
        binaries: checked.collect::<anyhow::Result<_>>()?,
    })
}

/// Obtains those binaries again for which [`verify`] finds a difference. Returns their names.
pub fn repair(ctx: &Ctx, requests: &[Request], options: &Options) -> anyhow::Result<Vec<String>> {
    repair_in(&Context::new(ctx, options), requests)
}

pub(super) fn repair_in(
    context: &Context<'_>,
    requests: &[Request],
) -> anyhow::Result<Vec<String>> {
    let found = verify_in(context, requests)?.binaries;
    let damaged = found.into_iter().filter(|binary| binary.problem.is_some());
    let names: Vec<String> = damaged.map(|binary| binary.name).collect();
    for name in &names {
        // A file that a disk corrupted keeps its times, by which it counts as unchanged.
        let file = File::open(context.store.binary(name));
        file.and_then(|file| file.set_modified(SystemTime::now()))
            .with_context(|| format!("cannot touch `.dep/{name}`"))?;
    }
    let wanted = |request: &&Request| names.contains(&request.name);
    let wanted: Vec<Request> = requests.iter().filter(wanted).cloned().collect();
    ensure_in(context, &wanted)?;
    Ok(names)
}

fn check(context: &Context<'_>, lock: &Lock, request: &Request) -> anyhow::Result<Verified> {
    let name = &request.name;
    let path = context.store.binary(name);
    let installed = Stamp::of(&path).is_ok();
    let problem = match (installed, context.store.record(name)) {
        (false, _) => None,
        (true, None) => Some("has no record".to_owned()),
        (true, Some(record)) => {
            let found = digest::of_file(&path)?;
            let version = match &request.kind {
                Kind::Fetch { version } => Some(version.as_str()),
                Kind::CargoBuild { .. } => None,
            };
            let allowed = version.is_none_or(|version| {
                wanted(lock, name, version)
                    .is_some_and(|wanted| fetch::allowed(context, wanted, &record))
            });
            if found != record.sha256 {
                let expected = record.sha256;
                Some(format!("has sha256 {found}, not {expected}"))
            } else if !allowed {
                Some("is not what `dep.lock` pins".to_owned())
            } else {
                None
            }
        }
    };
    Ok(Verified {
        name: name.clone(),
        installed,
        problem,
    })
}
