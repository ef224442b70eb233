//! `--probe`: the effect of a change on clients of the running stack.

use engine::Ctx;
use engine::supervisor::alive;
use kit::{Exit, Failure};
use xtask::load::{Client, Load, LoadReport, Targets};

use super::columns::width;

/// Puts the running stack under load. `None` when nothing runs.
pub(crate) fn begin(ctx: &Ctx) -> anyhow::Result<Option<Load>> {
    if !alive::is_held(&ctx.paths.alive_lock())? {
        return Ok(None);
    }
    Load::begin(Targets::of_running(&ctx.paths)?).map(Some)
}

/// Prints one line per client.
pub(crate) fn tell(ctx: &Ctx, report: &LoadReport) {
    let width = width(report.clients.keys());
    for (name, client) in &report.clients {
        let Client {
            operations,
            longest_gap_ms,
            retried,
            errors,
            disconnected,
            lost,
            duplicated,
            ..
        } = client;
        ctx.ui.line(format!(
            "  {name:width$}  {operations:>6} done, longest gap {longest_gap_ms:>6.1} ms, \
             {retried} retried, {errors} errors, {disconnected} disconnected, {lost} lost, \
             {duplicated} twice"
        ));
        if let Some(error) = &client.first_error {
            ctx.ui.line(format!("  {:width$}  first: {error}", ""));
        }
    }
}

/// Returns an error if the report has faults.
pub(crate) fn faultless(report: &LoadReport) -> anyhow::Result<()> {
    if report.is_faultless() {
        return Ok(());
    }
    let faults = report.clients.iter().filter(|(_, c)| !c.is_faultless());
    let names: Vec<String> = faults.map(|(name, _)| format!("`{name}`")).collect();
    let message = format!(
        "the change was made, and clients noticed it: {}",
        names.join(", ")
    );
    let hint = "the figures above say what; `cargo xtask status` says whether all is healthy now";
    Err(Failure::new(Exit::Unhealthy, message).hint(hint).into())
}
