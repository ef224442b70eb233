//! The progress of a backup or a restore, and whether the user interrupts it.

use crate::base::interrupt::Interrupt;
use crate::base::ui::{Bar, Ui};

/// The bar, if there is one, and the interrupt.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    bar: Option<Box<dyn Bar>>,
    interrupt: &'a Interrupt,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(ui: &Ui, interrupt: &'a Interrupt) -> Self {
        let bar = ui.bar();
        Self { bar, interrupt }
    }

    /// Begins another piece of work of about `total` bytes.
    pub(crate) fn stage(&self, doing: impl AsRef<str>, total: u64) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.begin(doing.as_ref(), total);
        }
        self.add(0)
    }

    /// Adds `bytes` to what is done. Fails if the user interrupts.
    pub(crate) fn add(&self, bytes: u64) -> anyhow::Result<()> {
        self.count(bytes);
        match self.interrupt.signal() {
            Some(interrupted) => Err(interrupted.into()),
            None => Ok(()),
        }
    }

    /// Adds `bytes` to what is done, for callers that check for an interrupt themselves.
    pub(crate) fn count(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.add(bytes);
        }
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        self.interrupt
    }
}
