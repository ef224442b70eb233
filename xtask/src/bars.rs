//! Progress bars on the user's terminal.
//!
//! The only module that draws. Where stderr is no terminal, or `CI` is set, nothing is drawn.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use engine::base::ui::{self, Bar, Screen};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The template of a bar for work on many bytes.
const TEMPLATE: &str = "{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}";

/// All bars, if any are drawn.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Draws from now on, if there is a terminal.
pub fn begin() {
    let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
    if io::stderr().is_terminal() && !ci {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        ui::draw_on(Box::new(Terminal(bars.clone())));
        // There is one terminal.
        let _ = BARS.set(bars);
    }
}

/// Returns the place for bars; `None` where nothing is drawn.
pub fn bars() -> Option<&'static MultiProgress> {
    BARS.get()
}

/// Animates a bar. Its library starts a thread for that and panics if it cannot, so this is tried
/// first: without a thread the bar stands still.
pub fn spin(bar: &ProgressBar, period: Duration) {
    if thread::Builder::new().spawn(|| {}).is_ok() {
        bar.enable_steady_tick(period);
    }
}

/// The terminal with all bars.
#[derive(Debug)]
struct Terminal(MultiProgress);

impl Screen for Terminal {
    // Not by `suspend`, which panics when the terminal was closed.
    fn line(&self, text: &str) -> io::Result<()> {
        self.0.println(text)
    }

    fn apart(&self, write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.0.suspend(write)
    }

    fn bar(&self) -> Box<dyn Bar> {
        let bar = self.0.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template(TEMPLATE);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Box::new(Bytes(bar))
    }
}

/// A bar for work on many bytes.
#[derive(Debug)]
struct Bytes(ProgressBar);

impl Bar for Bytes {
    fn begin(&self, doing: &str, total: u64) {
        self.0.set_message(doing.to_owned());
        self.0.set_length(total);
        self.0.set_position(0);
        self.0.reset_elapsed();
    }

    fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.0.finish_and_clear();
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
