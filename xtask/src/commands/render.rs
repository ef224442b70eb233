//! `cargo xtask render`.

use std::process::ExitCode;

use engine::Ctx;
use engine::operations::inputs::Inputs;
use engine::plan::render::compose::{self, Secrets};
use engine::supervisor::alive;
use kit::{Exit, Failure};

use super::{begin, lock_wait};
use crate::cli::Render;

pub(crate) fn run(instance: Option<&str>, args: &Render) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load_for(instance, args.profile.profile.as_deref())?;
    let inputs = Inputs::load(&ctx)?;
    let secrets = if args.stdout {
        Secrets::Masked
    } else {
        Secrets::Plain
    };
    let text = compose::render(&inputs.stack, &inputs.places, secrets)?;
    if args.check {
        for warning in inputs.warnings(&ctx) {
            ctx.ui.line(format!("warning: {warning}"));
        }
        ctx.ui
            .line(format!("{} services are valid", inputs.services.len()));
    } else if args.stdout {
        ctx.ui.data(text.trim_end())?;
    } else {
        // A running `up` would start this file instead of the one it has checked.
        let _operation = begin(&ctx, "render", lock_wait(false))?;
        if alive::is_held(&ctx.paths.alive_lock())? {
            return Err(runs(&ctx));
        }
        let file = ctx.paths.compose_file();
        kit::files::write_if_changed(&file, text.as_bytes(), kit::files::PRIVATE_FILE_MODE)?;
        ctx.ui.line(format!("wrote {}", ctx.paths.shown(&file)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The file of a running stack is restored after a failed change, and `plan` compares with it.
fn runs(ctx: &Ctx) -> anyhow::Error {
    let file = ctx.paths.shown(&ctx.paths.compose_file());
    let message = format!("cannot write `{file}`: the running stack is that file");
    let (see, up) = (
        ctx.paths.command("render --stdout"),
        ctx.paths.command("up"),
    );
    let hint = format!("see it with `{see}`, apply it with `{up}`");
    Failure::new(Exit::Locked, message).hint(hint).into()
}
