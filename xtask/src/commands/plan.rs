//! `cargo xtask plan`.

use std::process::ExitCode;

use xtask::Ctx;
use xtask::plan::{self, Action};

use super::print_json;
use crate::cli::Plan;

pub(crate) fn run(args: &Plan) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load()?;
    let plan = plan::plan(&ctx)?;
    if args.json {
        print_json(&ctx, &plan)?;
        return Ok(ExitCode::SUCCESS);
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
        ctx.ui
            .data(format!("{} {name}{because}", step.action.word()))?;
    }
    if !plan.changes {
        ctx.ui.line("nothing would be done");
    }
    Ok(ExitCode::SUCCESS)
}
