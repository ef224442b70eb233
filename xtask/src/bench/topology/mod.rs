//! Changes of the topology by its record: their duration against the bare servers, and their effect
//! on clients.

mod bare;
mod latency;
mod sequence;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use service_nats::topology::Origin;

use super::report::BenchReport;
use super::sandbox::Sandbox;
use super::servers::{self, Server};
use super::timing::{median, millis, run};
use engine::base::interrupt::Interrupt;
use engine::checkout::context::Ctx;
use engine::operations::inputs::Inputs;
use engine::supervisor::state::States;
use engine::topology::ask::Records;
use engine::topology::record::{Edit, Record};

/// How much longer a change may take than the bare servers started in parallel.
const CHANGE_FACTOR: f64 = 2.0;
/// Milliseconds by which the controller may notice a change later than a bare client.
const SEEN_MARGIN_MS: f64 = 50.0;
/// Milliseconds that a `reload` without a change may take beyond an empty run of cargo.
const RELOAD_MARGIN_MS: f64 = 100.0;
/// How long one change may take. The slowest waits 30 s for a hub to be complete.
const CHANGE_LIMIT: Duration = Duration::from_mins(2);
/// Regions of the largest topology.
const REGIONS: [&str; 2] = ["lhr", "nrt"];
/// The prefix of the processes of further nodes.
const NODES: &str = "nats-";

/// Adds the rows of a topology that changes.
pub(super) fn topology(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(ctx)?;
    run(&mut sandbox.xtask(&["up"]))?;
    unchanged(&sandbox, runs, report)?;
    grown(&sandbox, runs, report)?;
    latency::seen(&sandbox, report)?;
    sequence::under_load(&sandbox, report)?;
    run(&mut sandbox.xtask(&["down"])).map(drop)
}

/// Measures a `reload` without a change.
fn unchanged(sandbox: &Sandbox, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let before = states(sandbox)?;
    let (mut reload, mut empty) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        reload.push(run(&mut sandbox.xtask(&["reload"]))?);
        empty.push(run(&mut sandbox.xtask(&["--version"]))?);
    }
    let touched = touched(&before, &states(sandbox)?);
    report.compare(
        "`reload` with nothing changed",
        "an empty `cargo xtask`",
        (median(reload), median(empty)),
        (1.0, RELOAD_MARGIN_MS),
    );
    report.count("`reload` with nothing changed: processes touched", touched);
    Ok(())
}

/// Measures the way from one server to a hub and two regions, and the same servers bare.
fn grown(sandbox: &Sandbox, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let largest = hub(3, &REGIONS);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let begun = Instant::now();
        apply(sandbox, &largest)?;
        ours.push(millis(begun));
        let servers = nodes(sandbox)?;
        // The next hub will have other names.
        let joined = bare::Joined::of(sandbox.ctx(), &largest)?;
        apply(sandbox, &alone())?;
        forget_nodes(sandbox)?;
        bare.push(bare::at_once(&servers, &joined)?);
        forget_nodes(sandbox)?;
    }
    report.compare(
        "record saved to a hub of 3 and 2 regions, healthy and joined",
        "the same servers started by hand at once",
        (median(ours), median(bare)),
        (CHANGE_FACTOR, 0.0),
    );
    Ok(())
}

/// Returns the topology of one server.
fn alone() -> Value {
    json!({"topology": "single-node"})
}

fn hub(nodes: u32, regions: &[&str]) -> Value {
    json!({"topology": "hub-spoke", "hub_region": "iad", "hub_nodes": nodes,
        "leaf_regions": regions, "leaf_nodes_per_region": 1})
}

/// Saves the record and waits until the controller reports that it is applied.
fn apply(sandbox: &Sandbox, spec: &Value) -> anyhow::Result<Record> {
    let mut records = Records::open(sandbox.ctx(), "cargo xtask up")?;
    let asked = save(&mut records, spec)?;
    let applied = records.wait(&asked, CHANGE_LIMIT, &Interrupt::default());
    applied.with_context(|| format!("`{spec}` was not applied"))
}

fn save(records: &mut Records, spec: &Value) -> anyhow::Result<Record> {
    records.change(|_| {
        Ok(Edit {
            spec: Some(spec.clone()),
            origin: Some(Origin::User),
            ..Edit::default()
        })
    })
}

/// Returns the running servers of the further nodes, with copies of their files: those of nodes
/// that leave are rewritten.
fn nodes(sandbox: &Sandbox) -> anyhow::Result<Vec<Server>> {
    let servers = servers::read(sandbox.ctx())?.into_iter();
    let mut nodes: Vec<Server> = servers
        .filter(|server| server.name.starts_with(NODES))
        .collect();
    for node in &mut nodes {
        // `nats-server -c FILE`.
        let file = node.command.last_mut();
        let file = file.context("a node runs without a configuration file")?;
        let copy = format!("{file}.bench");
        fs::copy(node.directory.join(&*file), node.directory.join(&copy))
            .context("cannot copy the configuration of a node")?;
        *file = copy;
    }
    Ok(nodes)
}

/// Removes the data of nodes that have left, which belongs to the benchmark: the next ones must
/// start empty, too.
fn forget_nodes(sandbox: &Sandbox) -> anyhow::Result<()> {
    let data = sandbox.ctx().paths.data();
    for entry in fs::read_dir(&data).context("cannot list the data")? {
        let entry = entry.context("cannot list the data")?;
        if entry.file_name().to_string_lossy().starts_with(NODES) {
            fs::remove_dir_all(entry.path()).context("cannot remove the data of a node")?;
        }
    }
    Ok(())
}

fn states(sandbox: &Sandbox) -> anyhow::Result<States> {
    Ok(sandbox.ctx().client()?.processes()?)
}

/// Returns how many processes of `before` were stopped or restarted.
fn touched(before: &States, after: &States) -> usize {
    let same = |name: &String| {
        let (Some(old), Some(new)) = (before.get(name), after.get(name)) else {
            return false;
        };
        old.pid == new.pid && old.restarts == new.restarts
    };
    before.keys().filter(|name| !same(name)).count()
}

/// Returns the inputs for a topology.
fn inputs_of(ctx: &Ctx, spec: &Value) -> anyhow::Result<Inputs> {
    let spec = serde_json::from_value(spec.clone()).context("no topology")?;
    Inputs::recorded(ctx, spec, Origin::User)
}
