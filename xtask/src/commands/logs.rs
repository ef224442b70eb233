//! `cargo xtask logs`.

use std::process::ExitCode;

use engine::Ctx;
use engine::SCHEMA_VERSION;
use engine::base::interrupt::{Interrupt, Interrupted};
use engine::checkout::applied::Applied;
use engine::instances::known;
use engine::operations::follow::{self, Follow};
use engine::operations::inputs::Inputs;
use engine::plan::select;
use engine::plan::stack::Stack;
use engine::supervisor::alive;
use log_lines::{Filter, Format};
use signal_hook::consts::SIGINT;

use crate::cli::Logs;

pub(crate) fn run(instance: Option<&str>, args: Logs) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    if let Some(unknown) = known::unknown(&ctx, "logs")? {
        return Err(unknown.into());
    }
    let processes = processes(&ctx, &args.services)?;
    let options = follow::Options {
        processes,
        filter: Filter {
            since: args.since,
            level: args.level,
            grep: args.grep,
        },
        tail: args.tail,
        format: format(&ctx, args.json),
    };
    if let Some(note) = nothing_of(&ctx, &options.processes)? {
        ctx.ui.line(note);
    }
    let mut follow = Follow::whole(&ctx.paths, options)?;
    if !args.follow {
        follow.once(&ctx.ui)?;
        return Ok(ExitCode::SUCCESS);
    }
    let interrupt = Interrupt::watch()?;
    follow.until(&ctx.ui, || interrupt.signal().is_some())?;
    match interrupt.signal() {
        // The usual way to end it.
        None | Some(Interrupted(SIGINT)) => Ok(ExitCode::SUCCESS),
        Some(interrupted) => Err(interrupted.into()),
    }
}

/// Returns which selected processes have no log yet, and what to do about it.
fn nothing_of(ctx: &Ctx, wanted: &[String]) -> anyhow::Result<Option<String>> {
    let logged = follow::processes(&ctx.paths);
    let silent = wanted.iter().filter(|name| !logged.contains(*name));
    let silent: Vec<String> = silent.map(|name| format!("`{name}`")).collect();
    let nothing = match (logged.is_empty(), silent.as_slice()) {
        (true, []) => "no logs yet".to_owned(),
        (false, []) => return Ok(None),
        (_, silent) => format!("no log yet of {}", silent.join(", ")),
    };
    Ok(Some(if alive::is_held(&ctx.paths.alive_lock())? {
        format!("{nothing}: the stack runs, and nothing was written")
    } else {
        let up = ctx.paths.command("up");
        format!("{nothing}; start the stack with `{up}`")
    }))
}

/// Returns the format of lines: for machines, or for people, with colours if supported.
pub(super) fn format(ctx: &Ctx, json: bool) -> Format {
    if json {
        Format::Json {
            schema_version: SCHEMA_VERSION,
        }
    } else {
        Format::Plain {
            colours: ctx.ui.has_colours(),
        }
    }
}

/// Returns the selected processes; none for all. Those with a log are known even if their manifests
/// changed.
fn processes(ctx: &Ctx, words: &[String]) -> anyhow::Result<Vec<String>> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let logged = follow::processes(&ctx.paths);
    let inputs = || Inputs::load(&ctx.with_dotenv()?).map(|inputs| inputs.stack);
    let stack = match Applied::load(&ctx.paths) {
        Some(applied) => Ok(applied.stack),
        None => inputs(),
    };
    let none = || Stack {
        processes: [].into(),
        order: Vec::new(),
    };
    match stack {
        Ok(stack) => select::processes(&stack, &logged, words),
        // Broken manifests hide no log, but may be why a name is unknown.
        Err(error) => select::processes(&none(), &logged, words).map_err(|_| error),
    }
}
