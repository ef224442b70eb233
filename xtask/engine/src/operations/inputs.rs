//! The inputs of a stack, read and resolved: the first step of every command.

use std::collections::{BTreeMap, BTreeSet};

use kit::{Exit, Failure, names};
use service_nats::topology::{Facts, Origin, SERVICE, Spec};

use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::checkout::manifests;
use crate::checkout::recorded::Recorded;
use crate::instances::Given;
use crate::instances::register::{Locked, Others, Register};
use crate::plan::binaries::{self, Request};
use crate::plan::doubts;
use crate::plan::env::Env;
use crate::plan::stack::{self, Finding, Places, Service, Stack};
use crate::supervisor::alive;
use crate::topology::{self, Topology, Wanted};

/// Everything that a stack is made from, and the stack.
#[derive(Debug)]
pub struct Inputs {
    /// The manifests.
    pub services: Vec<Service>,
    /// The directories of the instance.
    pub places: Places,
    /// The variables, including those for leased ports.
    pub env: Env,
    /// The requested numbers of leased ports, by `SERVICE.PORT`.
    pub leased: BTreeMap<String, u16>,
    /// The ports of other instances.
    pub others: Others,
    /// The services of the stack; `None` if it has all.
    pub chosen: Option<BTreeSet<String>>,
    /// The topology of NATS: the one applied last, and the requested one.
    pub topology: Topology,
    /// The resolved stack.
    pub stack: Stack,
    /// Every port that the instance has or may need later, by process and name.
    pub(crate) ports: BTreeMap<String, u16>,
}

/// The selection of services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// The running ones.
    Running,
    /// These, and the running ones.
    Some {
        /// Names of services.
        names: Vec<String>,
        /// Whether their dependencies are selected, too.
        dependencies: bool,
    },
}

impl Inputs {
    /// Reads the manifests and builds the stack of all services. Reports all problems of the inputs
    /// at once. If no stack is running, its ports are those of a start now.
    pub fn load(ctx: &Ctx) -> anyhow::Result<Self> {
        Self::load_for(ctx, &Selection::All)
    }

    /// Reads the manifests and builds the stack of the selected services.
    pub fn load_for(ctx: &Ctx, selection: &Selection) -> anyhow::Result<Self> {
        let services = manifests::load(&ctx.paths)?;
        doubts::refuse(&ctx.env, &services)?;
        let kept = topology::kept_ports(&ctx.paths)?;
        let given = Given::choose(ctx, &services, &Register::read(&ctx.env)?, kept)?;
        Self::build(ctx, services, given, None, selection)
    }

    /// Builds the stack of the selected services and leases its ports: no other instance receives
    /// them while this one is alive. The caller holds the operation lock, and has read the inputs
    /// `before` it waited for that.
    pub fn lease(ctx: &Ctx, selection: &Selection, before: &Self) -> anyhow::Result<Self> {
        let services = manifests::load_again(&ctx.paths, &before.services)?;
        doubts::refuse(&ctx.env, &services)?;
        let locked = Self::lock_register(ctx)?;
        let kept = topology::kept_ports(&ctx.paths)?;
        let given = Given::choose(ctx, &services, locked.register(), kept)?;
        let inputs = Self::build(ctx, services, given, None, selection)?;
        locked.remember(&ctx.paths, &inputs.ports)?;
        Ok(inputs)
    }

    /// Returns the recorded inputs of the running stack, with another topology, and leases its
    /// ports. `ctx` has the recorded variables, too: see [`Ctx::recorded`].
    pub fn recorded(ctx: &Ctx, spec: Spec, origin: Origin) -> anyhow::Result<Self> {
        let recorded = Recorded::load(&ctx.paths)?;
        let services = recorded.services()?;
        let locked = Self::lock_register(ctx)?;
        let given = Given::recorded(ctx, &recorded, locked.register());
        let change = Some((spec, origin));
        let inputs = Self::build(ctx, services, given, change, &Selection::Running)?;
        locked.remember(&ctx.paths, &inputs.ports)?;
        Ok(inputs)
    }

    fn lock_register(ctx: &Ctx) -> anyhow::Result<Locked> {
        let locked = Locked::take(&ctx.env)?;
        if let Some(why) = locked.register().damaged() {
            ctx.ui.line(format!("the register of instances: {why}"));
        }
        Ok(locked)
    }

    fn build(
        ctx: &Ctx,
        services: Vec<Service>,
        given: Given,
        change: Option<(Spec, Origin)>,
        selection: &Selection,
    ) -> anyhow::Result<Self> {
        let places = ctx.paths.places();
        let mut stack = stack::build(&services, &given.env, &places).map_err(manifests::invalid)?;
        let declared = stack::topology(&services, &given.env).map_err(manifests::invalid)?;
        let is_change = change.is_some();
        let wanted = Wanted { declared, change };
        let mut topology = Topology::prepare(&ctx.paths, &given, &services, wanted, &stack)?;
        let chosen = selection.resolve(ctx, &services, &stack)?;
        let has_nats = chosen.as_ref().is_none_or(|names| names.contains(SERVICE));
        if !has_nats && !is_change {
            // Without NATS among the selected services, its topology is not changed.
            topology.now = topology.before.clone();
        }
        stack = stack::with_nodes(stack, &services, &given.env, &places, &topology.now)
            .map_err(manifests::invalid)?;
        let ports = ports(&stack, &topology.now);
        if let Some(chosen) = &chosen {
            stack = stack::part(stack, chosen);
        }
        Ok(Self {
            services,
            places,
            env: given.env,
            leased: given.leased,
            others: given.others,
            chosen,
            topology,
            stack,
            ports,
        })
    }

    /// Removes a process, as the stack of a topology without its node would.
    pub(crate) fn forget(&mut self, process: &str) {
        self.stack.processes.remove(process);
        self.stack.order.retain(|name| name != process);
    }

    /// Returns all problems of the inputs with their places; empty if the cause is another one.
    pub fn findings(ctx: &Ctx) -> Vec<Finding> {
        let services = match manifests::read(&ctx.paths) {
            Ok(Ok(services)) => services,
            Ok(Err(findings)) => return findings,
            Err(_) => return Vec::new(),
        };
        let places = ctx.paths.places();
        let stack = stack::build(&services, &ctx.env, &places);
        stack.err().unwrap_or_default()
    }

    /// Returns warnings about `.env` that do not prevent a start, one per line.
    pub fn warnings(&self, ctx: &Ctx) -> Vec<String> {
        doubts::warnings(&ctx.env, &self.services)
    }

    /// Returns the binaries that the selected services and the orchestration need.
    pub fn requests(&self) -> anyhow::Result<Vec<Request>> {
        let mut requests = binaries::tools()?;
        requests.extend(self.chosen_services().flat_map(requests_of));
        // Two services may declare the same binary.
        requests.sort_by(|a, b| a.name.cmp(&b.name));
        requests.dedup();
        Ok(requests)
    }

    /// Returns the selected services.
    pub fn chosen_services(&self) -> impl Iterator<Item = &Service> {
        let is_chosen = |service: &&Service| {
            let chosen = self.chosen.as_ref();
            chosen.is_none_or(|names| names.contains(&service.name))
        };
        self.services.iter().filter(is_chosen)
    }
}

impl Applied {
    /// Returns the record of these inputs.
    pub fn of(inputs: &Inputs) -> Self {
        Self::from(inputs.chosen_services(), inputs.stack.clone())
    }

    /// Returns the running stack, or `None`. Reads the inputs only if there is no record of it.
    pub fn running(ctx: &Ctx) -> anyhow::Result<Option<Self>> {
        if !ctx.is_running()? {
            return Ok(None);
        }
        let applied = match Self::load(&ctx.paths) {
            Some(applied) => applied,
            None => Self::of(&Inputs::load(&ctx.with_dotenv()?)?),
        };
        Ok(Some(applied))
    }
}

/// Returns every port of a whole stack, including those of nodes that are away: `nats.client`.
fn ports(stack: &Stack, facts: &Facts) -> BTreeMap<String, u16> {
    let mut all = BTreeMap::new();
    for (process, ports) in &facts.ports {
        let ports = ports.iter();
        all.extend(ports.map(|(name, port)| (format!("{process}.{name}"), *port)));
    }
    for (process, model) in stack.processes.iter().filter(|(_, model)| !model.disabled) {
        let ports = model.ports.iter();
        all.extend(ports.map(|(name, port)| (format!("{process}.{name}"), port.port)));
    }
    all
}

impl Selection {
    /// Returns the selected services; `None` for all of them.
    fn resolve(
        &self,
        ctx: &Ctx,
        services: &[Service],
        stack: &Stack,
    ) -> anyhow::Result<Option<BTreeSet<String>>> {
        let running = || -> anyhow::Result<Option<BTreeSet<String>>> {
            Ok(Recorded::load(&ctx.paths)?.chosen().cloned())
        };
        let runs = alive::is_held(&ctx.paths.alive_lock())? && ctx.paths.recorded().exists();
        match self {
            Self::Running if runs => running(),
            Self::All | Self::Running => Ok(None),
            Self::Some {
                names,
                dependencies,
            } => {
                let mut chosen = check(names, services, stack)?;
                if *dependencies {
                    chosen = stack::with_dependencies(services, &chosen);
                }
                if runs {
                    // All running services keep running, even if that is everything.
                    return Ok(running()?.map(|running| &running | &chosen));
                }
                Ok(Some(chosen))
            }
        }
    }
}

/// Refuses names that are no service, or of a disabled one.
fn check(
    names: &[String],
    services: &[Service],
    stack: &Stack,
) -> anyhow::Result<BTreeSet<String>> {
    for name in names {
        if services.iter().all(|service| service.name != *name) {
            return Err(no_service(services, name));
        }
        if stack.processes.get(name).is_some_and(|p| p.disabled) {
            let message = format!("the service `{name}` is disabled in its manifest");
            let hint = format!("remove `disabled` from services/{name}/service.json");
            return Err(Failure::new(Exit::Usage, message).hint(hint).into());
        }
    }
    Ok(names.iter().cloned().collect())
}

/// Returns the error about the name of a service that does not exist.
pub fn no_service(services: &[Service], name: &str) -> anyhow::Error {
    let known = services.iter().map(|service| service.name.as_str());
    let hint = names::hint(name, "services here", known);
    let failure = Failure::new(Exit::Usage, format!("there is no service `{name}`"));
    failure.hint(hint).into()
}

/// Returns the binaries that one service declares, by name.
pub fn requests_of(service: &Service) -> Vec<Request> {
    let declared = &service.document.manifest.binaries;
    let mut requests: Vec<Request> = declared.iter().filter_map(Request::of).collect();
    requests.sort_by(|a, b| a.name.cmp(&b.name));
    requests
}
