//! A separate topology of NATS in the foreground: a hub and leaf nodes beside the stack, with their
//! own ports, data and state.
//!
//! The wrappers are our children, as they would be the supervisor's: they stop when we are gone.
//! Must not touch the stack or its data.

mod contexts;
mod node;

use std::collections::BTreeMap;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::files::{self, FileLock};
use kit::manifest::Condition;
use kit::{Exit, Failure};
use serde_json::json;
use service_nats::credentials;
use service_nats::topology::{Origin, Role, Spec, spec};

use crate::dep;
use crate::service::Resolved;
use engine::base::interrupt::Interrupt;
use engine::base::poll::{Waited, wait_until};
use engine::checkout::context::Ctx;
use engine::instances::Given;
use engine::operations::inputs::{Inputs, requests_of};
use engine::operations::preflight;
use engine::plan::stack::{self, Stack};
use engine::topology::link::Link;
use engine::topology::{NATS_RUN, Topology, Wanted};
use node::{Ended, Running};

/// The file in its state directory that is locked while it runs.
const LOCK_FILE: &str = "run.lock";
/// How long a node may take to become ready. A store of a million messages takes 0.3 to 1.2 s.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long all nodes may take to stop. A wrapper gives its server 8 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Poll interval of the nodes.
const POLL: Duration = Duration::from_millis(20);

/// Options of the user.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nodes of the hub.
    pub nodes: u32,
    /// Regions with a leaf node.
    pub regions: Vec<String>,
    /// Where binaries come from.
    pub dep: dep::Options,
}

/// Runs it until a signal comes or a server exits by itself. Returns the exit code: 0, or that of
/// the server.
pub fn run(
    ctx: &Ctx,
    inputs: &Inputs,
    resolved: Resolved<'_>,
    options: &Options,
) -> anyhow::Result<u8> {
    if resolved.service.name != service_nats::topology::SERVICE {
        let message = format!("`{}` has no nodes", resolved.service.name);
        let hint = format!("cargo xtask {} run", resolved.service.name);
        return Err(Failure::new(Exit::Usage, message).hint(hint).into());
    }
    let spec = spec_of(options)?;
    let ctx = &Ctx {
        paths: ctx.paths.beside(NATS_RUN),
        env: ctx.env.clone(),
        ui: ctx.ui.clone(),
    };
    let mut requests = requests_of(resolved.service);
    requests.sort_by(|a, b| a.name.cmp(&b.name));
    dep::ensure(&ctx.paths, &ctx.env, &ctx.ui, &requests, &options.dep)?;
    preflight::check_settings(ctx, &stack::single(&inputs.stack, &resolved.service.name))?;
    let _lock = lock(ctx)?;
    let topology = topology(ctx, inputs, spec)?;
    let stack = nodes(inputs, &topology)?;
    preflight::check_ports(&stack, &inputs.others)?;
    topology.write(&ctx.paths)?;
    share_credentials(ctx, &topology)?;
    let interrupt = Interrupt::watch()?;
    let mut nodes = Nodes {
        ctx,
        stack: &stack,
        topology: &topology,
        running: BTreeMap::new(),
    };
    let ended = nodes.live(&interrupt);
    contexts::remove(&ctx.paths);
    // After any end, nothing is left behind.
    let stopped = nodes.stop();
    match ended? {
        Some(ended) => {
            ctx.ui.line(ended.describe());
            stopped?;
            Ok(ended.code())
        }
        None => stopped.map(|()| 0),
    }
}

fn spec_of(options: &Options) -> anyhow::Result<Spec> {
    let text = json!({
        "topology": "hub-spoke",
        "hub_nodes": options.nodes,
        "leaf_regions": options.regions,
    });
    spec::from_json(&text.to_string(), "--nodes").map_err(|problems| {
        let problems = problems.iter().map(|problem| {
            let flag = problem.path.replace("--nodes.hub_nodes", "--nodes");
            let flag = flag.replace("--nodes.leaf_regions", "--leaf");
            format!("`{flag}` {}", problem.message)
        });
        let message = problems.collect::<Vec<_>>().join("\n");
        Failure::new(Exit::Invalid, message)
            .hint("cargo xtask nats run --nodes 3 --leaf REGION")
            .into()
    })
}

fn lock(ctx: &Ctx) -> anyhow::Result<FileLock> {
    files::create_private_dir(&ctx.paths.state())?;
    let lock = FileLock::try_exclusive(&ctx.paths.state().join(LOCK_FILE))?;
    lock.ok_or_else(|| {
        let message = "another `cargo xtask nats run --nodes` runs in this checkout";
        let hint = "end it with Ctrl-C, or use another checkout";
        Failure::new(Exit::Locked, message).hint(hint).into()
    })
}

fn topology(ctx: &Ctx, inputs: &Inputs, spec: Spec) -> anyhow::Result<Topology> {
    let wanted = Wanted {
        declared: spec.clone(),
        change: Some((spec, Origin::Manifest)),
    };
    let given = Given {
        env: inputs.env.clone(),
        others: inputs.others.clone(),
        ..Given::default()
    };
    let stack = &inputs.stack;
    let mut topology = Topology::prepare(&ctx.paths, &given, &inputs.services, wanted, stack)?;
    if let Some(nodes) = Some(topology.now.hub_held).filter(|nodes| *nodes > 0) {
        let message = format!("the hub in `.data/{NATS_RUN}` has {nodes} nodes");
        let hint = format!("use `--nodes {nodes}`, or delete `.data/{NATS_RUN}`");
        return Err(Failure::new(Exit::Invalid, message).hint(hint).into());
    }
    topology.complete()?;
    Ok(topology)
}

/// Returns a stack of the nodes alone: other parts of the manifests belong to the stack.
fn nodes(inputs: &Inputs, topology: &Topology) -> anyhow::Result<Stack> {
    let places = inputs.places.beside(NATS_RUN);
    let (services, env) = (&inputs.services, &inputs.env);
    let stack = stack::build(services, env, &places)
        .and_then(|stack| stack::with_nodes(stack, services, env, &places, &topology.now));
    let mut stack = stack.map_err(engine::checkout::manifests::invalid)?;
    let nodes = topology.now.nodes();
    let is_node = |name: &String| nodes.iter().any(|node| node.process == *name);
    stack.processes.retain(|name, _| is_node(name));
    stack.order.retain(is_node);
    Ok(stack)
}

/// Shares one login among all nodes, so that one context of the `nats` CLI works everywhere.
fn share_credentials(ctx: &Ctx, topology: &Topology) -> anyhow::Result<()> {
    let mut first = None;
    for node in topology.now.nodes() {
        let data = ctx.paths.data().join(&node.directory);
        files::create_private_dir(&data)?;
        match &first {
            None => first = Some(credentials::load_or_create(&data)?),
            Some(first) => credentials::share(first, &data)?,
        }
    }
    Ok(())
}

/// Whether to continue; otherwise the reason: a node that exited, or a signal.
type Next = ControlFlow<Option<Ended>>;

/// The running nodes.
struct Nodes<'a> {
    ctx: &'a Ctx,
    stack: &'a Stack,
    topology: &'a Topology,
    running: BTreeMap<String, Running>,
}

impl Nodes<'_> {
    /// Starts all nodes and waits for an end. Returns `None` after a signal.
    fn live(&mut self, interrupt: &Interrupt) -> anyhow::Result<Option<Ended>> {
        for name in &self.stack.order {
            if let Break(end) = self.wait_for_dependencies(name, interrupt)? {
                return Ok(end);
            }
            let process = &self.stack.processes[name];
            let running = Running::start(self.ctx, name, process)?;
            self.running.insert(name.clone(), running);
        }
        let all: Vec<String> = self.stack.order.clone();
        if let Break(end) = self.wait_until_ready(&all, interrupt)? {
            return Ok(end);
        }
        if let Break(end) = self.join(interrupt)? {
            return Ok(end);
        }
        let facts = &self.topology.now;
        contexts::write(self.ctx, self.stack, facts)?;
        let leaves = facts.nodes().len() - facts.staying().len();
        let (hub, ui) = (facts.staying().len(), &self.ctx.ui);
        ui.data(format!("JOINED: {hub} hub nodes, {leaves} leaf nodes"))?;
        ui.line(contexts::how_to_use(&self.ctx.paths));
        // Repeated below all previous output of the servers.
        for name in &self.stack.order {
            ui.line(self.running[name].ready_line().unwrap_or_default());
        }
        loop {
            if interrupt.signal().is_some() {
                return Ok(None);
            }
            if let Some(ended) = self.ended()? {
                return Ok(Some(ended));
            }
            thread::sleep(POLL);
        }
    }

    fn wait_for_dependencies(&mut self, name: &str, interrupt: &Interrupt) -> anyhow::Result<Next> {
        let depends_on = self.stack.processes[name].depends_on.iter();
        let healthy = depends_on.filter(|(_, condition)| **condition == Condition::ProcessHealthy);
        let healthy: Vec<String> = healthy.map(|(name, _)| name.clone()).collect();
        self.wait_until_ready(&healthy, interrupt)
    }

    /// Waits until these nodes are ready. Returns the end if it came first.
    fn wait_until_ready(
        &mut self,
        names: &[String],
        interrupt: &Interrupt,
    ) -> anyhow::Result<Next> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut waiting = None;
        let waited = wait_until(deadline, POLL, interrupt, || {
            if let Some(ended) = self.ended()? {
                return Ok(Some(Break(Some(ended))));
            }
            let is_ready = |name: &&String| self.running.get(*name).is_some_and(Running::is_ready);
            waiting = names.iter().find(|name| !is_ready(name));
            Ok::<_, anyhow::Error>(waiting.is_none().then_some(Continue(())))
        })?;
        match (waited, waiting) {
            (Waited::Done(next), _) => Ok(next),
            (Waited::Interrupted(_), _) => Ok(Break(None)),
            (Waited::Deadline, waiting) => {
                let waiting = waiting.map(String::as_str).unwrap_or_default();
                let seconds = READY_TIMEOUT.as_secs();
                let message = format!("`{waiting}` was not ready within {seconds} s");
                Err(Failure::new(Exit::Timeout, message).into())
            }
        }
    }

    /// Waits until all have found each other. Returns the end if it came first.
    fn join(&mut self, interrupt: &Interrupt) -> anyhow::Result<Next> {
        let over = Arc::new(AtomicBool::new(false));
        let either = interrupt.or_flag(over.clone());
        let (paths, stack, facts) = (&self.ctx.paths, self.stack, &self.topology.now);
        let joined = thread::scope(|scope| {
            let waiting = thread::Builder::new().spawn_scoped(scope, || {
                let link = Link::new(paths, stack, facts);
                link.wait_until_joined(&either)
            });
            let waiting = waiting.context("cannot start a thread that waits for the hub")?;
            while !waiting.is_finished() {
                if matches!(self.ended(), Ok(Some(_)) | Err(_)) {
                    over.store(true, Ordering::Relaxed);
                }
                thread::sleep(POLL);
            }
            waiting
                .join()
                .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        });
        if let Some(ended) = self.ended()? {
            return Ok(Break(Some(ended)));
        }
        if interrupt.signal().is_some() {
            return Ok(Break(None));
        }
        joined.map(|()| Continue(()))
    }

    /// Returns the first node that has exited, if any.
    fn ended(&mut self) -> anyhow::Result<Option<Ended>> {
        for running in self.running.values_mut() {
            if let Some(ended) = running.ended()? {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// Stops all nodes, leaf nodes first, with a deadline.
    fn stop(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let mut killed = Vec::new();
        for role in [Role::Leaf, Role::Hub] {
            let nodes = self.topology.now.nodes().into_iter();
            let names: Vec<String> = nodes
                .filter(|node| node.role == role)
                .map(|node| node.process)
                .collect();
            let mut running: Vec<(String, Running)> = names
                .into_iter()
                .filter_map(|name| self.running.remove_entry(&name))
                .collect();
            for (_, node) in &mut running {
                node.ask_to_stop()?;
            }
            for (name, node) in running {
                if node.wait_until(deadline)? {
                    killed.push(name);
                }
            }
        }
        if killed.is_empty() {
            return Ok(());
        }
        let seconds = STOP_TIMEOUT.as_secs();
        let message = format!("killed after {seconds} s: `{}`", killed.join("`, `"));
        Err(Failure::new(Exit::Survivors, message).into())
    }
}
