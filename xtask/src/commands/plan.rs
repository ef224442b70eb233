//! `cargo xtask plan`.

use std::process::ExitCode;

use engine::Ctx;
use engine::operations::preview::{self, Action};
use kit::names::word;

use super::print_json;
use crate::cli::Plan;

/// Returns the note that the manifest's topology is overridden.
pub(crate) fn overridden(ctx: &Ctx) -> String {
    let reset = ctx.paths.command("topology reset");
    format!(
        "note: the topology of the record counts, not the manifest's; \
         `{reset}` gives it back to the manifest"
    )
}

pub(crate) fn run(instance: Option<&str>, args: &Plan) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load_for(instance, args.profile.profile.as_deref())?;
    let plan = preview::preview(&ctx)?;
    if args.json {
        return print_json(&ctx, &plan);
    }
    if plan.topology.overridden.is_some() {
        ctx.ui.line(overridden(&ctx));
    }
    if !plan.without_effect.is_empty() {
        let keys = plan.without_effect.join(", ");
        ctx.ui
            .line(format!("note: {keys}: does nothing, and can go"));
    }
    for (name, step) in plan
        .processes
        .iter()
        .filter(|(_, step)| step.action != Action::None)
    {
        let because = if step.because.is_empty() {
            String::new()
        } else {
            format!(" because of {}", step.because.join(", "))
        };
        let is_final = if step.reversible {
            String::new()
        } else {
            let reload = ctx.paths.command("reload");
            format!(" (cannot be rolled back; `{reload}` finishes it)")
        };
        ctx.ui
            .data(format!("{} {name}{because}{is_final}", word(step.action)))?;
    }
    let routes = plan.routes.iter();
    for (path, step) in routes.filter(|(_, step)| step.action != Action::None) {
        let action = word(step.action);
        ctx.ui
            .data(format!("{action} route {path} of {}", step.service))?;
    }
    if !plan.changes {
        ctx.ui.line("nothing would be done");
    }
    Ok(ExitCode::SUCCESS)
}
