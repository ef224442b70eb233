//! The inputs that all work of one call shares.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use super::limits::Limits;
use super::net::Net;
use super::place::Place;
use super::shared::Shared;
use super::store::Store;
use super::upstreams::Upstreams;
use super::{Options, platform};
use engine::Ctx;
use engine::base::ui::Ui;
use engine::checkout::paths::Paths;
use engine::plan::env::Env;

/// The variable that names a mirror of `https://github.com`.
const MIRROR_VAR: &str = "CORE_DEP_MIRROR";

/// The inputs of the parts of this module.
pub(super) struct Context<'a> {
    pub(super) paths: &'a Paths,
    pub(super) env: &'a Env,
    pub(super) ui: &'a Ui,
    pub(super) options: &'a Options,
    pub(super) platform: String,
    pub(super) store: Store,
    /// What the user has from other checkouts.
    pub(super) shared: Option<Shared>,
    /// Our own executable.
    pub(super) program: PathBuf,
    /// Where it was built, if it is in a target directory.
    pub(super) place: Option<Place>,
    pub(super) limits: Limits,
    pub(super) net: Net,
    /// Set after a fatal failure: all other work stops.
    pub(super) cancel: AtomicBool,
    upstreams: OnceLock<Upstreams>,
}

impl<'a> Context<'a> {
    pub(super) fn new(ctx: &'a Ctx, options: &'a Options) -> Self {
        Self::with_limits(ctx, options, Limits::default())
    }

    /// Returns the same context with other limits.
    pub(super) fn with_limits(ctx: &'a Ctx, options: &'a Options, limits: Limits) -> Self {
        let Ctx { paths, env, ui } = ctx;
        let program = std::env::current_exe().unwrap_or_default();
        Self {
            paths,
            env,
            ui,
            options,
            platform: platform::current(),
            store: Store::new(paths.dep()),
            shared: Shared::of(env),
            place: Place::of_program(&program),
            program,
            net: Net::new(limits.clone(), env.non_empty(MIRROR_VAR)),
            limits,
            cancel: AtomicBool::new(false),
            upstreams: OnceLock::new(),
        }
    }

    /// Returns the table of upstreams, read once.
    pub(super) fn upstreams(&self) -> anyhow::Result<&Upstreams> {
        if let Some(table) = self.upstreams.get() {
            return Ok(table);
        }
        let table = Upstreams::embedded()?;
        Ok(self.upstreams.get_or_init(|| table))
    }

    /// Returns the same context with another table of upstreams.
    #[cfg(test)]
    pub(super) fn with_upstreams(self, table: Upstreams) -> Self {
        Self {
            upstreams: OnceLock::from(table),
            ..self
        }
    }

    /// Returns the address that replaces `https://github.com`.
    pub(super) fn mirror(&self) -> Option<&str> {
        self.env.non_empty(MIRROR_VAR)
    }

    /// Returns PATH, empty if unset.
    pub(super) fn path(&self) -> &str {
        self.env.get("PATH").unwrap_or_default()
    }

    /// Returns a program on PATH.
    pub(super) fn find(&self, program: &str) -> Option<PathBuf> {
        which::which_in(program, Some(self.path()), self.paths.root()).ok()
    }

    /// Returns all places of a program on PATH.
    pub(super) fn find_all(&self, program: &str) -> Vec<PathBuf> {
        which::which_in_all(program, Some(self.path()), self.paths.root())
            .map(Iterator::collect)
            .unwrap_or_default()
    }
}
