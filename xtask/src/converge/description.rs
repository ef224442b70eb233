//! What a running stack is described by, on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::Context as _;
use kit::files;

use crate::context::Ctx;
use crate::inputs::Inputs;
use crate::recorded::Recorded;
use crate::render::compose::{self, Secrets};
use crate::render::difference::{Difference, difference};

/// What a running stack is described by: the file that the supervisor reads, and the inputs it was
/// made from.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    compose: Vec<u8>,
    recorded: Vec<u8>,
}

impl Description {
    /// What is wanted.
    pub(crate) fn of(ctx: &Ctx, inputs: &Inputs) -> anyhow::Result<Self> {
        let compose = compose::render(&inputs.stack, &inputs.places, Secrets::Plain)?;
        Ok(Self {
            compose: compose.into_bytes(),
            recorded: Recorded::of(&inputs.services, &ctx.env).to_bytes()?,
        })
    }

    /// What the files say, if there are any.
    pub(super) fn read(ctx: &Ctx) -> Option<Self> {
        Some(Self {
            compose: fs::read(ctx.paths.compose_file()).ok()?,
            recorded: fs::read(ctx.paths.recorded()).ok()?,
        })
    }

    pub(crate) fn write(&self, ctx: &Ctx) -> anyhow::Result<()> {
        let files = [
            (ctx.paths.recorded(), &self.recorded),
            (ctx.paths.compose_file(), &self.compose),
        ];
        for (file, bytes) in files {
            files::write_if_changed(&file, bytes, files::PRIVATE_FILE_MODE)?;
        }
        Ok(())
    }

    /// Whether the supervisor would read the same.
    pub(super) fn has_file_of(&self, other: &Self) -> bool {
        self.compose == other.compose
    }

    /// What differs for each process from `old` to this.
    pub(super) fn since(&self, old: &Self) -> anyhow::Result<BTreeMap<String, Difference>> {
        difference(old.text()?, self.text()?)
    }

    /// The same, but with the entries of `kept` as `old` has them.
    pub(super) fn with_kept(&self, old: &Self, kept: &BTreeSet<String>) -> anyhow::Result<Self> {
        let compose = compose::with_kept(old.text()?, self.text()?, kept)?;
        Ok(Self {
            compose: compose.into_bytes(),
            recorded: self.recorded.clone(),
        })
    }

    fn text(&self) -> anyhow::Result<&str> {
        std::str::from_utf8(&self.compose).context("the file of the supervisor is not text")
    }
}
