//! The inputs of a stack, read and resolved: what every command begins with.

use kit::manifest::Source;

use crate::context::Ctx;
use crate::dep::{Kind, Request};
use crate::manifests;
use crate::stack::{self, Places, Service, Stack};

/// Everything that a stack is made from, and the stack.
#[derive(Debug)]
pub struct Inputs {
    /// The manifests.
    pub services: Vec<Service>,
    /// Where the instance's directories are.
    pub places: Places,
    /// The resolved stack.
    pub stack: Stack,
}

impl Inputs {
    /// Reads the manifests and builds the stack. Bad input is refused with all its problems.
    pub fn load(ctx: &Ctx) -> anyhow::Result<Self> {
        let services = manifests::load(&ctx.paths)?;
        let places = Places::new(ctx.paths.root().to_path_buf());
        let stack = stack::build(&services, &ctx.env, &places)
            .map_err(|findings| manifests::invalid(&findings))?;
        Ok(Self {
            services,
            places,
            stack,
        })
    }

    /// The binaries that the services and the orchestration need.
    pub fn requests(&self) -> Vec<Request> {
        let mut requests = crate::dep::tools();
        for service in &self.services {
            requests.extend(requests_of(service));
        }
        requests.sort_by(|a, b| a.name.cmp(&b.name));
        requests.dedup_by(|a, b| a.name == b.name);
        requests
    }
}

/// The binaries that one service declares.
pub fn requests_of(service: &Service) -> Vec<Request> {
    let binaries = service.document.manifest.binaries.iter();
    let request = |binary: &kit::manifest::Binary| {
        let kind = match (binary.source, &binary.path, &binary.version) {
            (Source::CargoBuild, Some(path), _) => Kind::CargoBuild { path: path.into() },
            (Source::Fetch, _, Some(version)) => Kind::Fetch {
                version: version.clone(),
            },
            _ => return None,
        };
        Some(Request {
            name: binary.name.clone(),
            kind,
        })
    };
    binaries.filter_map(request).collect()
}
