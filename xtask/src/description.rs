//! What a running stack is described by, as files below `.core-stack/`.
//!
//! Owns which files these are. Must not tell anybody that they have changed.

use std::fs;

use kit::files;

use crate::context::Ctx;
use crate::inputs::Inputs;
use crate::recorded::Recorded;
use crate::render::compose::{self, Secrets};
use crate::render::difference::{Difference, difference};
use crate::settings::Settings;
use crate::supervisor::state::States;

/// What a running stack is described by: the file that the supervisor reads, the settings that
/// processes take while they run, and the inputs it was made from.
pub(crate) struct Description {
    compose: Vec<u8>,
    settings: Settings,
    recorded: Vec<u8>,
}

impl Description {
    /// What is wanted.
    pub(crate) fn of(ctx: &Ctx, inputs: &Inputs) -> anyhow::Result<Self> {
        let compose = compose::render(&inputs.stack, &inputs.places, Secrets::Plain)?;
        Ok(Self {
            compose: compose.into_bytes(),
            settings: Settings::of(&inputs.stack)?,
            recorded: Recorded::of(&inputs.services, &ctx.env).to_bytes()?,
        })
    }

    /// What the files say, if there are any.
    pub(crate) fn read(&self, ctx: &Ctx) -> Option<Self> {
        Some(Self {
            compose: fs::read(ctx.paths.compose_file()).ok()?,
            settings: self.settings.read(&ctx.paths),
            recorded: fs::read(ctx.paths.recorded()).ok()?,
        })
    }

    /// Whether the two describe the same processes.
    pub(crate) fn runs_as(&self, other: &Self) -> bool {
        self.compose == other.compose && self.settings == other.settings
    }

    /// Which processes would be told to take their settings while they run: those whose settings
    /// alone differ. Others begin with the new ones.
    pub(crate) fn reloads(
        &self,
        ctx: &Ctx,
        before: &Self,
        states: &States,
    ) -> anyhow::Result<Vec<String>> {
        let stale = self.settings.stale(&ctx.paths, &before.settings, states);
        if stale.is_empty() {
            return Ok(Vec::new());
        }
        let text = |description: &Self| String::from_utf8_lossy(&description.compose).into_owned();
        let entries = difference(&text(before), &text(self))?;
        let same = |name: &String| entries.get(name) == Some(&Difference::None);
        Ok(stale.into_keys().filter(same).collect())
    }

    pub(crate) fn write(&self, ctx: &Ctx) -> anyhow::Result<()> {
        self.settings.write(&ctx.paths)?;
        let files = [
            (ctx.paths.recorded(), &self.recorded),
            (ctx.paths.compose_file(), &self.compose),
        ];
        for (file, bytes) in files {
            files::write_if_changed(&file, bytes, files::PRIVATE_FILE_MODE)?;
        }
        Ok(())
    }
}
