//! A separate topology of NATS in the foreground: a hub and leaf nodes beside the stack, with their
//! own ports, data and state.
//!
//! The wrappers are our children, as they would be the supervisor's: they stop when we are gone.
//! Must not touch the stack or its data.

mod contexts;
mod node;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kit::files::{self, FileLock};
use kit::manifest::Condition;
use kit::{Exit, Failure};
use serde_json::json;
use service_nats::credentials;
use service_nats::topology::{Origin, Role, Spec, spec};

use crate::dep;
use crate::service::Resolved;
use engine::base::interrupt::{Interrupt, Interrupted};
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
/// How long a wrapper may take to exit once it has closed its output: it does both at once.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
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
        ..ctx.clone()
    };
    let requests = requests_of(resolved.service);
    dep::ensure(ctx, &requests, &options.dep)?;
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
        one_ended: Arc::default(),
        running: BTreeMap::new(),
    };
    let lived = nodes.live(&interrupt.or_flag(nodes.one_ended.clone()));
    contexts::remove(&ctx.paths);
    let ended = match interrupt.signal() {
        Some(_) => Ok(None),
        None => nodes.ended(),
    };
    // After any end, nothing is left behind.
    let stopped = nodes.stop();
    if let Some(ended) = ended? {
        ctx.ui.line(ended.description);
        return stopped.map(|()| ended.code);
    }
    match lived {
        Err(error) if !error.is::<Interrupted>() => Err(error),
        _ => stopped.map(|()| 0),
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

/// The running nodes.
struct Nodes<'a> {
    ctx: &'a Ctx,
    stack: &'a Stack,
    topology: &'a Topology,
    /// Set when a node has exited, which ends every wait as a signal does.
    one_ended: Arc<AtomicBool>,
    running: BTreeMap<String, Running>,
}

impl Nodes<'_> {
    /// Starts all nodes and waits until the interrupt ends it.
    fn live(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        for name in &self.stack.order {
            let process = &self.stack.processes[name];
            let depends_on = process.depends_on.iter();
            let healthy =
                depends_on.filter(|(_, condition)| **condition == Condition::ProcessHealthy);
            self.wait_until_ready(healthy.map(|(name, _)| name), interrupt)?;
            let running = Running::start(self.ctx, name, process, &self.one_ended)?;
            self.running.insert(name.clone(), running);
        }
        self.wait_until_ready(self.stack.order.iter(), interrupt)?;
        let facts = &self.topology.now;
        Link::new(&self.ctx.paths, self.stack, facts).wait_until_joined(interrupt)?;
        contexts::write(self.ctx, self.stack, facts)?;
        let leaves = facts.nodes().len() - facts.staying().len();
        let (hub, ui) = (facts.staying().len(), &self.ctx.ui);
        ui.data(format!("JOINED: {hub} hub nodes, {leaves} leaf nodes"))?;
        ui.line(contexts::how_to_use(&self.ctx.paths));
        // Repeated below all previous output of the servers.
        for name in &self.stack.order {
            ui.line(self.running[name].ready_line().unwrap_or_default());
        }
        while interrupt.signal().is_none() {
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn wait_until_ready<'n>(
        &self,
        mut names: impl Iterator<Item = &'n String> + Clone,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let is_ready = |name: &String| self.running[name].ready_line().is_some();
        let waited = wait_until(deadline, POLL, interrupt, || {
            Ok::<_, anyhow::Error>(names.clone().all(is_ready).then_some(()))
        })?;
        match waited {
            Waited::Done(()) => Ok(()),
            Waited::Interrupted(interrupted) => Err(interrupted.into()),
            Waited::Deadline => {
                let waiting = names.find(|name| !is_ready(name));
                let waiting = waiting.map(String::as_str).unwrap_or_default();
                let seconds = READY_TIMEOUT.as_secs();
                let message = format!("`{waiting}` was not ready within {seconds} s");
                Err(Failure::new(Exit::Timeout, message).into())
            }
        }
    }

    /// Returns how the first node ended that has exited by itself, if one has.
    fn ended(&mut self) -> anyhow::Result<Option<Ended>> {
        if !self.one_ended.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let waited = wait_until(
            Instant::now() + EXIT_TIMEOUT,
            POLL,
            &Interrupt::default(),
            || {
                let mut ended = self.running.values_mut().map(Running::ended);
                ended.find_map(Result::transpose).transpose()
            },
        )?;
        Ok(waited.done())
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
