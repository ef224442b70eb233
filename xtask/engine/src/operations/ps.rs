//! The instances of a checkout, or all on this machine, and their states.

use std::collections::BTreeMap;
use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::SCHEMA_VERSION;
use crate::base::threads::{Task, side_by_side};
use crate::checkout::context::Ctx;
use crate::checkout::paths::Paths;
use crate::instances::known::of_checkout;
use crate::instances::register::{Entry, Register};
use crate::operations::status::{self, ProcessStatus, Status};

/// The report of `ps`.
#[derive(Debug, Serialize)]
pub struct Instances {
    /// Version of this document.
    pub schema_version: u32,
    /// One entry per instance, by checkout and name.
    pub instances: Vec<Instance>,
}

/// One instance.
#[derive(Debug, Serialize)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its checkout.
    pub checkout: String,
    /// Its state.
    pub state: State,
    /// The URLs of its services, by process.
    pub urls: BTreeMap<String, String>,
    /// Its process ids, by process.
    pub pids: BTreeMap<String, i32>,
    /// When the first of its running processes was started, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Seconds since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
}

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is running, and everything answers.
    Healthy,
    /// It is running, and something does not answer, or not yet.
    Running,
    /// It is not running.
    Stopped,
}

/// Returns the instances of the checkout of `ctx`, or all of this user, checked in parallel.
pub fn list(ctx: &Ctx, all: bool) -> anyhow::Result<Instances> {
    let found = if all {
        everywhere(ctx)?
    } else {
        of_checkout(&ctx.paths)
    };
    let looks = found
        .iter()
        .map(|paths| Box::new(move || look(ctx, paths)) as Task<'_, _>);
    let seen = side_by_side(looks.collect()).into_iter();
    let instances = seen.collect::<anyhow::Result<_>>()?;
    Ok(Instances {
        schema_version: SCHEMA_VERSION,
        instances,
    })
}

/// Returns the instances of all checkouts in the register, and those of this one.
fn everywhere(ctx: &Ctx) -> anyhow::Result<Vec<Paths>> {
    let register = Register::read(&ctx.env)?;
    if let Some(why) = register.damaged() {
        ctx.ui.line(format!("other checkouts are not known: {why}"));
    }
    let mut found: Vec<Paths> = register.existing().filter_map(Entry::paths).collect();
    found.extend(of_checkout(&ctx.paths));
    // Paths in the register are without links.
    let key = |paths: &Paths| {
        let root = fs::canonicalize(paths.root());
        let root = root.unwrap_or_else(|_| paths.root().to_path_buf());
        (root, paths.instance().to_owned())
    };
    found.sort_by_cached_key(key);
    found.dedup_by_key(|paths| key(paths));
    Ok(found)
}

fn look(ctx: &Ctx, paths: &Paths) -> anyhow::Result<Instance> {
    let ctx = Ctx {
        paths: paths.clone(),
        env: ctx.env.clone(),
        ui: ctx.ui.clone(),
    };
    let status = status::running(&ctx)?;
    let state = match &status {
        Some(status) if status.healthy => State::Healthy,
        Some(_) => State::Running,
        None => State::Stopped,
    };
    let processes = processes(status.as_ref());
    let uptimes = processes
        .values()
        .filter_map(|process| process.uptime_seconds);
    let uptime_seconds = uptimes.max_by(f64::total_cmp);
    let since = uptime_seconds.and_then(|seconds| {
        let ago = SignedDuration::try_from_secs_f64(seconds).ok()?;
        let since = Timestamp::now().checked_sub(ago).ok()?;
        Some(since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    });
    let by_name = |(name, process): (&&String, &&ProcessStatus)| {
        Some((
            (*name).clone(),
            process.url.clone().filter(|_| !process.disabled)?,
        ))
    };
    let pid = |(name, process): (&&String, &&ProcessStatus)| Some(((*name).clone(), process.pid?));
    Ok(Instance {
        name: paths.instance().to_owned(),
        checkout: paths.root().display().to_string(),
        state,
        urls: processes.iter().filter_map(by_name).collect(),
        pids: processes.iter().filter_map(pid).collect(),
        since,
        uptime_seconds,
    })
}

/// Returns all processes of all services.
fn processes(status: Option<&Status>) -> BTreeMap<&String, &ProcessStatus> {
    let services = status
        .into_iter()
        .flat_map(|status| status.services.values());
    services.flat_map(|service| &service.processes).collect()
}
