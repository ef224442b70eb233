//! How far a backup or a restore is: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt::Interrupt;
use crate::ui::Ui;

/// The form of the bar.
const TEMPLATE: &str = "{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}";

/// The bar, and whether the user wants to end. The bar goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    bar: ProgressBar,
    interrupt: &'a Interrupt,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(ui: &Ui, interrupt: &'a Interrupt) -> Self {
        let bar = if ui.interactive() {
            ui.bars().add(ProgressBar::new(0))
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template(TEMPLATE);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, interrupt }
    }

    /// Begins another piece of work, of about `total` bytes.
    pub(crate) fn stage(&self, doing: impl Into<String>, total: u64) -> anyhow::Result<()> {
        self.bar.set_message(doing.into());
        self.bar.set_length(total);
        self.bar.set_position(0);
        self.bar.reset_elapsed();
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
        self.bar.inc(bytes);
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        self.interrupt
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
