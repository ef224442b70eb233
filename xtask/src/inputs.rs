//! The inputs of a stack, read and resolved: what every command begins with.

use service_nats::topology::{Facts, Origin, Spec};

use crate::context::Ctx;
use crate::dep::{self, Request};
use crate::manifests;
use crate::recorded::Recorded;
use crate::stack::{self, Finding, Places, Service, Stack};
use crate::topology::{Topology, Wanted};

/// Everything that a stack is made from, and the stack.
#[derive(Debug)]
pub struct Inputs {
    /// The manifests.
    pub services: Vec<Service>,
    /// Where the instance's directories are.
    pub places: Places,
    /// The topology of NATS: the one applied last, and the one asked for.
    pub topology: Topology,
    /// The resolved stack.
    pub stack: Stack,
}

impl Inputs {
    /// Reads the manifests and builds the stack. Bad input is refused with all its problems.
    pub fn load(ctx: &Ctx) -> anyhow::Result<Self> {
        Self::build(ctx, manifests::load(&ctx.paths)?, None)
    }

    /// The inputs that the running stack was made from, with another topology. `ctx` has the
    /// variables of then, too: see [`Ctx::recorded`].
    pub fn recorded(ctx: &Ctx, spec: Spec, origin: Origin) -> anyhow::Result<Self> {
        let services = Recorded::load(&ctx.paths)?.services()?;
        Self::build(ctx, services, Some((spec, origin)))
    }

    fn build(
        ctx: &Ctx,
        services: Vec<Service>,
        change: Option<(Spec, Origin)>,
    ) -> anyhow::Result<Self> {
        let places = Places::new(ctx.paths.root().to_path_buf());
        let build = |facts: &Facts| {
            let stack = stack::build(&services, &ctx.env, &places, facts);
            stack.map_err(|findings| manifests::invalid(&findings))
        };
        // It has no node yet, but every problem of the inputs.
        let alone = build(&Facts::default())?;
        let declared = stack::topology(&services, &ctx.env)
            .map_err(|findings| manifests::invalid(&findings))?;
        let wanted = Wanted { declared, change };
        let topology = Topology::prepare(&ctx.paths, &ctx.env, &services, wanted, &alone)?;
        let stack = if topology.now.nodes().is_empty() {
            alone
        } else {
            build(&topology.now)?
        };
        Ok(Self {
            services,
            places,
            topology,
            stack,
        })
    }

    /// Leaves a process out, as the stack of a topology without its node would.
    pub(crate) fn forget(&mut self, process: &str) {
        self.stack.processes.remove(process);
        self.stack.order.retain(|name| name != process);
    }

    /// Everything that is wrong with the inputs, by its place; empty when something else is.
    pub fn findings(ctx: &Ctx) -> Vec<Finding> {
        let services = match manifests::read(&ctx.paths) {
            Ok(Ok(services)) => services,
            Ok(Err(findings)) => return findings,
            Err(_) => return Vec::new(),
        };
        let places = Places::new(ctx.paths.root().to_path_buf());
        let stack = stack::build(&services, &ctx.env, &places, &Facts::default());
        stack.err().unwrap_or_default()
    }

    /// The binaries that the services and the orchestration need.
    pub fn requests(&self) -> anyhow::Result<Vec<Request>> {
        let mut requests = dep::tools()?;
        requests.extend(self.services.iter().flat_map(requests_of));
        // Two services may declare the same binary.
        requests.sort_by(|a, b| a.name.cmp(&b.name));
        requests.dedup();
        Ok(requests)
    }
}

/// The binaries that one service declares.
pub fn requests_of(service: &Service) -> Vec<Request> {
    service
        .document
        .manifest
        .binaries
        .iter()
        .filter_map(Request::of)
        .collect()
}
