//! The files that describe a running stack.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::Context as _;
use kit::files;

use crate::checkout::context::Ctx;
use crate::checkout::paths::Paths;
use crate::checkout::recorded::Recorded;
use crate::operations::inputs::Inputs;
use crate::plan::render::compose::{self, Secrets};
use crate::plan::render::difference::{Difference, difference};
use crate::supervisor::settings::Settings;
use crate::supervisor::state::States;

/// The description of a running stack: the file that the supervisor reads, the settings that
/// processes reload while they run, and the inputs it was made from.
#[derive(Clone)]
pub(crate) struct Description {
    compose: Vec<u8>,
    settings: Settings,
    recorded: Vec<u8>,
}

impl Description {
    /// Returns the description of the wanted stack. The present files are only read.
    pub(crate) fn of(paths: &Paths, inputs: &Inputs) -> anyhow::Result<Self> {
        let (env, chosen) = (&inputs.env, inputs.chosen.as_ref());
        let recorded = Recorded::of(&inputs.services, env, &inputs.leased, &inputs.ports, chosen);
        let last = fs::read_to_string(paths.compose_file()).ok();
        let (stack, places) = (&inputs.stack, &inputs.places);
        let compose = compose::render_after(last.as_deref(), stack, places, Secrets::Plain)?;
        Ok(Self {
            compose: compose.into_bytes(),
            settings: Settings::of(&inputs.stack)?,
            recorded: recorded.to_bytes()?,
        })
    }

    /// Reads the present files, if they exist, with the settings of these processes.
    pub(super) fn read_running(&self, ctx: &Ctx) -> Option<Self> {
        Some(Self {
            compose: fs::read(ctx.paths.compose_file()).ok()?,
            settings: self.settings.read(&ctx.paths),
            recorded: fs::read(ctx.paths.recorded()).ok()?,
        })
    }

    pub(crate) fn write(&self, ctx: &Ctx) -> anyhow::Result<()> {
        self.write_settings(ctx)?;
        self.write_file(ctx)
    }

    /// Writes only the settings that processes reload while they run.
    pub(super) fn write_settings(&self, ctx: &Ctx) -> anyhow::Result<()> {
        self.settings.write(&ctx.paths)
    }

    /// Writes only the file of the supervisor, and the inputs it was made from.
    pub(super) fn write_file(&self, ctx: &Ctx) -> anyhow::Result<()> {
        let files = [
            (ctx.paths.recorded(), &self.recorded),
            (ctx.paths.compose_file(), &self.compose),
        ];
        for (file, bytes) in files {
            files::write_for_this_run(&file, bytes, files::PRIVATE_FILE_MODE)?;
        }
        Ok(())
    }

    /// Whether both describe the same processes.
    pub(super) fn runs_as(&self, other: &Self) -> bool {
        self.compose == other.compose && self.settings == other.settings
    }

    /// Returns the processes that have to reload their settings while they run: only their settings
    /// differ. Other processes start with the new ones.
    pub(super) fn reloads(
        &self,
        ctx: &Ctx,
        old: &Self,
        states: &States,
    ) -> anyhow::Result<Vec<String>> {
        let stale = self.settings.stale(&ctx.paths, &old.settings, states);
        if stale.is_empty() {
            return Ok(Vec::new());
        }
        let entries = self.since(old)?;
        let same = |name: &String| entries.get(name) == Some(&Difference::None);
        Ok(stale.into_keys().filter(same).collect())
    }

    /// Returns the differences of each process from `old` to this.
    pub(super) fn since(&self, old: &Self) -> anyhow::Result<BTreeMap<String, Difference>> {
        difference(old.text()?, self.text()?)
    }

    /// Returns the differences of each process from the present file to this. Without a file they
    /// are unknown.
    pub(super) fn differences(&self, ctx: &Ctx) -> anyhow::Result<BTreeMap<String, Difference>> {
        match fs::read_to_string(ctx.paths.compose_file()) {
            Ok(old) => difference(&old, self.text()?),
            Err(_) => Ok(BTreeMap::new()),
        }
    }

    /// Returns this description with the entries of `kept` taken from `old`.
    pub(super) fn with_kept(&self, old: &Self, kept: &BTreeSet<String>) -> anyhow::Result<Self> {
        let compose = compose::with_kept(old.text()?, self.text()?, kept)?;
        Ok(Self {
            compose: compose.into_bytes(),
            settings: self.settings.clone(),
            recorded: self.recorded.clone(),
        })
    }

    fn text(&self) -> anyhow::Result<&str> {
        std::str::from_utf8(&self.compose).context("the file of the supervisor is not text")
    }
}
