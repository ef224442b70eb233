//! Inputs that several checks share, read once. If one cannot be read, its error is stored, so that
//! a check that does not need it can run.

use engine::plan::binaries::{self, Request};
use std::path::Path;
use std::sync::OnceLock;

use super::Options;
use crate::dep::{self, Verified};
use engine::checkout::applied::Applied;
use engine::checkout::context::Ctx;
use engine::checkout::manifests;
use engine::checkout::paths::Paths;
use engine::operations::inputs::{Inputs, requests_of};
use engine::plan::env::Env;
use engine::plan::stack::{Service, Stack};
use engine::supervisor::alive;
use engine::supervisor::operation::{self, AtWork};

/// The checkout and its instance.
pub(super) struct Scene<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) options: Options,
    /// The environment over `.env`.
    pub(super) env: anyhow::Result<Env>,
    /// The manifests alone.
    pub(super) services: anyhow::Result<Vec<Service>>,
    /// The stack from both; `None` when one of the two cannot be read.
    pub(super) stack: Option<anyhow::Result<Stack>>,
    /// Whether a process of the instance is alive.
    pub(super) lives: anyhow::Result<bool>,
    /// The command that is changing the instance.
    pub(super) at_work: Option<AtWork>,
    verified: OnceLock<anyhow::Result<Vec<Verified>>>,
}

impl<'a> Scene<'a> {
    pub(super) fn look(ctx: &'a Ctx, options: Options) -> Self {
        let env = Env::load(&ctx.paths.dotenv());
        let services = manifests::load(&ctx.paths);
        let stack = match (&env, &services) {
            (Ok(env), Ok(_)) => Some(resolve(ctx, env)),
            _ => None,
        };
        Self {
            ctx,
            options,
            env,
            services,
            stack,
            lives: alive::is_held(&ctx.paths.alive_lock()),
            at_work: operation::at_work(&ctx.paths),
            verified: OnceLock::new(),
        }
    }

    pub(super) fn paths(&self) -> &Paths {
        &self.ctx.paths
    }

    /// Returns a path as it is shown: relative to the root.
    pub(super) fn shown(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.paths().root()).unwrap_or(path);
        path.display().to_string()
    }

    /// Returns the context with the best available environment: without `.env` when that cannot be
    /// read.
    pub(super) fn some_ctx(&self) -> Ctx {
        let env = self.env.as_ref().unwrap_or(&self.ctx.env).clone();
        Ctx {
            env,
            ..self.ctx.clone()
        }
    }

    /// Returns the running stack, else the one that `up` would start.
    pub(super) fn relevant_stack(&self) -> Option<Stack> {
        let lives = *self.lives.as_ref().unwrap_or(&false);
        let running = || Applied::load(self.paths()).map(|applied| applied.stack);
        let wanted = || self.stack.as_ref()?.as_ref().ok().cloned();
        lives.then(running).flatten().or_else(wanted)
    }

    /// Returns the required binaries, as far as the manifests can be read.
    pub(super) fn requests(&self) -> anyhow::Result<Vec<Request>> {
        let mut requests = binaries::tools()?;
        let services = self.services.as_deref().unwrap_or_default();
        requests.extend(services.iter().flat_map(requests_of));
        requests.sort_by(|a, b| a.name.cmp(&b.name));
        requests.dedup();
        Ok(requests)
    }

    /// Returns the verification of all installed binaries, computed once: it reads every byte.
    pub(super) fn verified(&self) -> &anyhow::Result<Vec<Verified>> {
        self.verified.get_or_init(|| {
            let requests = self.requests()?;
            Ok(dep::verify(&self.some_ctx(), &requests)?.binaries)
        })
    }

    /// Returns the names of binaries that differ from what was installed.
    pub(super) fn damaged(&self) -> Vec<&str> {
        let binaries = self.verified().as_deref().unwrap_or_default();
        let damaged = binaries.iter().filter(|binary| binary.problem.is_some());
        damaged.map(|binary| binary.name.as_str()).collect()
    }
}

fn resolve(ctx: &Ctx, env: &Env) -> anyhow::Result<Stack> {
    let env = env.clone();
    Ok(Inputs::load(&Ctx { env, ..ctx.clone() })?.stack)
}
