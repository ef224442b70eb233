//! `ensure`: checks what is installed, then obtains everything that is missing, in parallel.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use kit::{Exit, Failure};

use super::cargo::{self, Wrapper};
use super::context::Context;
use super::fetch;
use super::freshness::Freshness;
use super::got::Wanted;
use super::lock::Lock;
use super::record::Record;
use super::{Installed, Kind, Options, Request, is_cancelled, update_hint};
use engine::Ctx;
use engine::base::threads::{Task, side_by_side};

/// Makes sure that every requested binary is in `.dep/`, verified. An unchanged one costs a few
/// reads; the others are obtained in parallel. A failure does not remove those that were installed.
pub fn ensure(
    ctx: &Ctx,
    requests: &[Request],
    options: &Options,
) -> anyhow::Result<BTreeMap<String, Installed>> {
    ensure_in(&Context::new(ctx, options), requests)
}

/// The binaries to obtain.
#[derive(Default)]
struct Missing<'a> {
    wrappers: Vec<Wrapper<'a>>,
    fetches: Vec<Wanted<'a>>,
}

/// The result of one thread: records, or a line for each binary that no source provided.
#[derive(Default)]
struct Done {
    records: BTreeMap<String, Record>,
    unavailable: Vec<String>,
}

pub(super) fn ensure_in(
    context: &Context<'_>,
    requests: &[Request],
) -> anyhow::Result<BTreeMap<String, Installed>> {
    let requests = distinct(requests)?;
    let lock = Lock::load(&context.paths.dep_lock())?;
    let mut records = BTreeMap::new();
    let missing = look(context, &requests, &lock, &mut records)?;
    if !missing.wrappers.is_empty() || !missing.fetches.is_empty() {
        records.extend(get(context, &missing)?);
    }
    let installed = |(name, record): (String, Record)| {
        let installed = Installed {
            path: context.store.binary(&name),
            version: record.version,
            sha256: record.sha256,
            source: record.source.to_string(),
        };
        (name, installed)
    };
    Ok(records.into_iter().map(installed).collect())
}

/// Returns the requests by name; two manifests may request the same binary in the same way.
fn distinct(requests: &[Request]) -> anyhow::Result<BTreeMap<&str, &Kind>> {
    let mut distinct = BTreeMap::new();
    for Request { name, kind } in requests {
        if distinct
            .insert(name.as_str(), kind)
            .is_some_and(|other| other != kind)
        {
            let message = format!("the binary `{name}` is declared in two ways");
            return Err(Failure::new(Exit::Invalid, message)
                .hint("give the two binaries two names")
                .into());
        }
    }
    Ok(distinct)
}

/// Adds what is installed to `records` and returns the rest.
fn look<'a>(
    context: &Context<'_>,
    requests: &BTreeMap<&'a str, &'a Kind>,
    lock: &'a Lock,
    records: &mut BTreeMap<String, Record>,
) -> anyhow::Result<Missing<'a>> {
    let freshness = context.freshness();
    let mut missing = Missing::default();
    for (name, kind) in requests {
        let record = match kind {
            Kind::CargoBuild { path } => {
                let path = path.to_str().unwrap_or_default();
                let path = path.trim_start_matches("./").trim_end_matches('/');
                let wrapper = Wrapper { name, path };
                let record = context.built(&freshness, wrapper, false)?;
                if record.is_none() {
                    missing.wrappers.push(wrapper);
                }
                record
            }
            Kind::Fetch { version } => {
                let wanted = pinned(lock, name, version)?;
                let record = context.installed(name, Some(wanted), false)?;
                if record.is_none() {
                    missing.fetches.push(wanted);
                }
                record
            }
        };
        records.extend(record.map(|record| ((*name).to_owned(), record)));
    }
    Ok(missing)
}

fn pinned<'a>(lock: &'a Lock, name: &'a str, version: &'a str) -> anyhow::Result<Wanted<'a>> {
    let message = match lock.programs.get(name) {
        Some(program) if program.version == version => {
            return Ok(Wanted {
                name,
                version,
                program,
            });
        }
        Some(program) => format!(
            "the manifest asks for `{name}` {version}, `dep.lock` pins {}",
            program.version
        ),
        None => format!("`dep.lock` pins nothing of `{name}`"),
    };
    Err(Failure::new(Exit::Binary, message)
        .hint(update_hint(name))
        .into())
}

/// Obtains everything that is missing, in parallel. The first fatal failure cancels the rest.
fn get(context: &Context<'_>, missing: &Missing<'_>) -> anyhow::Result<BTreeMap<String, Record>> {
    let mut tasks: Vec<Task<'_, anyhow::Result<Done>>> = Vec::new();
    for wanted in &missing.fetches {
        tasks.push(Box::new(|| {
            cancelling(context, fetch_one(context, *wanted))
        }));
    }
    if !missing.wrappers.is_empty() {
        tasks.push(Box::new(|| {
            let built = cargo::build(context, &missing.wrappers);
            cancelling(context, built).map(|records| Done {
                records,
                ..Done::default()
            })
        }));
    }
    collect(side_by_side(tasks))
}

fn fetch_one(context: &Context<'_>, wanted: Wanted<'_>) -> anyhow::Result<Done> {
    let name = wanted.name.to_owned();
    Ok(match fetch::fetch(context, wanted)? {
        Ok(record) => Done {
            records: BTreeMap::from([(name, record)]),
            ..Done::default()
        },
        Err(lines) => Done {
            unavailable: lines
                .into_iter()
                .map(|line| format!("{name} {}: {line}", wanted.version))
                .collect(),
            ..Done::default()
        },
    })
}

/// Cancels all other work if `result` is an error.
fn cancelling<T>(context: &Context<'_>, result: anyhow::Result<T>) -> anyhow::Result<T> {
    if result.is_err() {
        context.cancel.store(true, Ordering::Relaxed);
    }
    result
}

fn collect(results: Vec<anyhow::Result<Done>>) -> anyhow::Result<BTreeMap<String, Record>> {
    let mut records = BTreeMap::new();
    let mut unavailable = Vec::new();
    let mut failed = None;
    for result in results {
        match result {
            Ok(done) => {
                records.extend(done.records);
                unavailable.extend(done.unavailable);
            }
            Err(error) if is_cancelled(&error) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if unavailable.is_empty() {
        return Ok(records);
    }
    let message = format!(
        "no source gives these binaries:\n  {}",
        unavailable.join("\n  ")
    );
    Err(Failure::new(Exit::Binary, message)
        .hint("make one source of each work, then run the command again")
        .into())
}

impl Context<'_> {
    /// Returns the freshness checks of this checkout.
    pub(super) fn freshness(&self) -> Freshness<'_> {
        Freshness::new(self.paths.root(), self.place.as_ref(), self.env)
    }

    /// Returns the record of a wrapper whose file is intact and whose sources are unchanged.
    pub(super) fn built(
        &self,
        freshness: &Freshness<'_>,
        wrapper: Wrapper<'_>,
        tell: bool,
    ) -> anyhow::Result<Option<Record>> {
        let record = self.installed(wrapper.name, None, tell)?;
        Ok(record.filter(|record| {
            let build = record.build.as_ref();
            build.is_some_and(|build| freshness.is_fresh(wrapper.path, build))
        }))
    }
}
