//! Reports what `up` or `reload` would do now, without doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::Context as _;
use serde::Serialize;
use service_nats::topology::{Origin, SERVICE, Spec};

use crate::SCHEMA_VERSION;
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::checkout::manifests;
use crate::operations::converge::stopped;
use crate::operations::inputs::Inputs;
use crate::plan::render::compose::{self, Secrets};
use crate::plan::render::difference::{Difference, difference};
use crate::plan::stack::Stack;
use crate::supervisor::alive;
use crate::supervisor::settings::Settings;
use crate::supervisor::state::States;
use crate::topology::guard;
use crate::topology::link::Link;

/// The cause if the topology changes a process.
const TOPOLOGY: &str = "topology";

/// The cause if a user stopped a process.
const STOPPED: &str = "stopped";

/// The cause if a process ended by itself.
const ENDED: &str = "ended";

/// The cause if a user scaled a process.
const SCALED: &str = "scaled";

/// The report of `plan`.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Version of this document.
    pub schema_version: u32,
    /// The name of the instance.
    pub instance: String,
    /// Whether the stack is running; if not, everything would be started.
    pub running: bool,
    /// Whether anything would be changed.
    pub changes: bool,
    /// The topology of NATS that takes effect.
    pub topology: TopologyPlan,
    /// What would happen to each process.
    pub processes: BTreeMap<String, Step>,
    /// What would happen to each path of the front that leads to a service: `/app`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, RouteStep>,
    /// Keys of manifests that are accepted but have no effect: `` `scalable` of `web` ``.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_effect: Vec<String>,
}

/// The topology that takes effect, and why.
#[derive(Debug, Serialize)]
pub struct TopologyPlan {
    /// The topology that takes effect.
    pub spec: Spec,
    /// Who requested it.
    pub origin: Origin,
    /// The manifest's topology, which has no effect until the record returns to the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Spec>,
}

/// What would happen to one process.
#[derive(Debug, Serialize)]
pub struct Step {
    /// As one word.
    pub action: Action,
    /// The keys of the process's entry that are the cause: `environment.NATS_HOST`, `command`; or
    /// `topology`, `stopped`, `ended`, `scaled`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// Whether a failure rolls it back. Otherwise the next `reload` finishes it.
    #[serde(skip_serializing_if = "is_true")]
    pub reversible: bool,
}

/// What would happen to one route.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct RouteStep {
    /// `none`, `add` or `remove`.
    pub action: Action,
    /// The service it leads to.
    pub service: String,
    /// Its URL for users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Step {
    fn new(action: Action, because: Vec<String>) -> Self {
        Self {
            action,
            because,
            reversible: true,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_true(value: &bool) -> bool {
    *value
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It keeps running, with its process id.
    None,
    /// It is started: with the stack, or because it is not running.
    Start,
    /// It is added to a running stack.
    Add,
    /// Its server reloads its configuration, with its process id.
    Reload,
    /// It is stopped and started again.
    Restart,
    /// It is stopped.
    Remove,
}

/// Plans the change from the running stack to the inputs. Changes nothing.
pub fn preview(ctx: &Ctx) -> anyhow::Result<Plan> {
    let inputs = Inputs::load(ctx)?;
    let running = alive::is_held(&ctx.paths.alive_lock())?;
    let file = ctx.paths.compose_file();
    let old = fs::read_to_string(&file);
    let (last, stack, places) = (old.as_deref().ok(), &inputs.stack, &inputs.places);
    let new = compose::render_after(last, stack, places, Secrets::Plain)?;
    guard::check(ctx, &inputs.topology, running)?;
    let mut processes: BTreeMap<String, Step> = if running {
        let old =
            old.with_context(|| format!("cannot read what runs from `{}`", file.display()))?;
        let mut steps: BTreeMap<String, Step> = difference(&old, &new)?
            .into_iter()
            .map(|(name, found)| (name, step(found)))
            .collect();
        let states = ctx.client()?.processes().unwrap_or_default();
        for (name, because) in stale_settings(ctx, &inputs, &states)? {
            if let Some(step) = steps.get_mut(&name)
                && step.action == Action::None
            {
                *step = Step::new(Action::Reload, because);
            }
        }
        what_does_not_run(&mut steps, &inputs.stack, &stopped(&ctx.paths), &states);
        let link = Link::new(&ctx.paths, &inputs.stack, &inputs.topology.now);
        if let Some(step) = steps.get_mut(SERVICE)
            && step.action == Action::None
            && !link.is_current()
        {
            *step = Step::new(Action::Reload, vec![TOPOLOGY.to_owned()]);
        }
        steps
    } else {
        let start = |name: &String| (name.clone(), Step::new(Action::Start, Vec::new()));
        inputs.stack.order.iter().map(start).collect()
    };
    for node in inputs.topology.now.leaving() {
        let step = Step {
            reversible: false,
            ..Step::new(Action::Remove, vec![TOPOLOGY.to_owned()])
        };
        processes.insert(node.process, step);
    }
    let changes = processes.values().any(|step| step.action != Action::None);
    let applied = Applied::load(&ctx.paths).filter(|_| running);
    let routes = routes(applied.map(|applied| applied.stack).as_ref(), &inputs.stack);
    Ok(Plan {
        schema_version: SCHEMA_VERSION,
        instance: ctx.paths.instance().to_owned(),
        running,
        changes,
        topology: TopologyPlan {
            spec: inputs.topology.now.spec,
            origin: inputs.topology.now.origin,
            overridden: inputs.topology.overridden,
        },
        processes,
        routes,
        without_effect: manifests::without_effect(&inputs.services),
    })
}

/// Compares the routes of two stacks. One that leads to another service is added.
fn routes(old: Option<&Stack>, new: &Stack) -> BTreeMap<String, RouteStep> {
    let of = |stack: &Stack, action| {
        let processes = stack.processes.iter();
        let routes = processes.flat_map(|(name, process)| {
            process.routes.iter().map(|route| {
                let step = RouteStep {
                    action,
                    service: name.clone(),
                    url: route.url.clone(),
                };
                (route.to_string(), step)
            })
        });
        routes.collect::<BTreeMap<_, _>>()
    };
    let mut routes = old.map_or_else(BTreeMap::new, |old| of(old, Action::Remove));
    for (path, mut step) in of(new, Action::Add) {
        let stays = |old: &RouteStep| old.service == step.service && old.url == step.url;
        if routes.get(&path).is_some_and(stays) {
            step.action = Action::None;
        }
        routes.insert(path, step);
    }
    routes
}

/// Adds processes that do not run as described, although their description is the same: they were
/// stopped, have crashed, or were scaled in the view of the supervisor.
fn what_does_not_run(
    steps: &mut BTreeMap<String, Step>,
    stack: &Stack,
    stopped: &BTreeSet<String>,
    states: &States,
) {
    if states.is_empty() {
        // The supervisor does not answer.
        return;
    }
    let because = |cause: &str| vec![cause.to_owned()];
    let replicas = states
        .keys()
        .filter(|name| !stack.processes.contains_key(*name));
    let replicas = replicas.filter(|name| scaled_from(name, stack).is_some());
    for name in replicas {
        let step = Step::new(Action::Remove, because(SCALED));
        steps.entry(name.clone()).or_insert(step);
    }
    let wanted = stack
        .processes
        .iter()
        .filter(|(_, process)| !process.disabled);
    for (name, _) in wanted {
        let Some(step) = steps
            .get_mut(name)
            .filter(|step| step.action == Action::None)
        else {
            continue;
        };
        match states.get(name) {
            None => *step = Step::new(Action::Add, because(SCALED)),
            Some(state) if stopped.contains(name) && state.can_be_started() => {
                *step = Step::new(Action::Start, because(STOPPED));
            }
            Some(state) if state.has_crashed() => {
                *step = Step::new(Action::Start, because(ENDED));
            }
            Some(_) => {}
        }
    }
}

/// Returns the process of a replica: the supervisor numbers them, `worker-0`.
fn scaled_from<'a>(name: &'a str, stack: &Stack) -> Option<&'a str> {
    let (process, number) = name.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && stack.processes.contains_key(process)).then_some(process)
}

/// Returns processes whose settings differ from those of the inputs, and which settings differ.
fn stale_settings(
    ctx: &Ctx,
    inputs: &Inputs,
    states: &States,
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let wanted = Settings::of(&inputs.stack)?;
    Ok(wanted.stale(&ctx.paths, &wanted.read(&ctx.paths), states))
}

fn step(difference: Difference) -> Step {
    let (action, because) = match difference {
        Difference::None => (Action::None, Vec::new()),
        Difference::Added => (Action::Add, Vec::new()),
        Difference::Removed => (Action::Remove, Vec::new()),
        Difference::Changed(keys) => (Action::Restart, keys),
    };
    Step::new(action, because)
}
