//! How far a backup or a restore is, and whether the user wants to end it.

use crate::base::interrupt::Interrupt;
use crate::base::ui::{Bar, Ui};

/// The bar, where one is drawn, and what ends the work.
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

    /// Begins another piece of work, of about `total` bytes.
    pub(crate) fn stage(&self, doing: impl AsRef<str>, total: u64) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.begin(doing.as_ref(), total);
        }
        self.add(0)
    }

    /// So many bytes more are done. An error when the user wants to end.
    pub(crate) fn add(&self, bytes: u64) -> anyhow::Result<()> {
        self.count(bytes);
        match self.interrupt.signal() {
            Some(interrupted) => Err(interrupted.into()),
            None => Ok(()),
        }
    }

    /// The same where somebody else looks whether the user wants to end.
    pub(crate) fn count(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.add(bytes);
        }
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        self.interrupt
    }
}
