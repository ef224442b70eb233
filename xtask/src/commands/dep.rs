//! `cargo xtask dep list|fetch|verify|update`.

use std::process::ExitCode;

use engine::Ctx;
use engine::operations::inputs::Inputs;
use engine::plan::binaries::{self, Request};
use kit::names;
use kit::{Exit, Failure};
use xtask::dep::{self, Row, Updated};

use super::print_json;
use crate::cli::{Dep, FetchOptions};

pub(crate) fn run(args: Dep) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load(None)?;
    let needed = Inputs::load(&ctx)?.requests()?;
    let all = [needed.clone(), binaries::on_demand()?].concat();
    match args {
        Dep::List { json } => list(&ctx, &all, json)?,
        Dep::Fetch { names, options } if names.is_empty() => fetch(&ctx, &needed, &options)?,
        Dep::Fetch { names, options } => fetch(&ctx, &named(all, &names)?, &options)?,
        Dep::Verify { json } => verify(&ctx, &all, json)?,
        Dep::Update { targets } => update(&ctx, &all, &targets)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(ctx: &Ctx, requests: &[Request], json: bool) -> anyhow::Result<()> {
    let listing = dep::list(ctx, requests)?;
    if json {
        return print_json(ctx, &listing).map(drop);
    }
    for row in &listing.binaries {
        ctx.ui.data(line(row))?;
    }
    Ok(())
}

fn line(row: &Row) -> String {
    let version = row.version.as_deref().unwrap_or("workspace");
    let installed = match (&row.source, row.size_bytes) {
        (Some(source), Some(size)) => format!("{:.1} MB, {source}", megabytes(size)),
        _ => "not installed".to_owned(),
    };
    let platforms = row.platforms.join(" ");
    let line = format!("{:<18} {version:<10} {installed:<22} {platforms}", row.name);
    line.trim_end().to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "a size to be read by people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Returns the requests of these names.
fn named(mut requests: Vec<Request>, names: &[String]) -> anyhow::Result<Vec<Request>> {
    for name in names {
        must_know(&requests, name)?;
    }
    requests.retain(|request| names.contains(&request.name));
    Ok(requests)
}

fn fetch(ctx: &Ctx, requests: &[Request], options: &FetchOptions) -> anyhow::Result<()> {
    let installed = dep::ensure(ctx, requests, &dep::Options::from(options))?;
    let count = installed.len();
    let (noun, verb) = if count == 1 {
        ("binary", "is")
    } else {
        ("binaries", "are")
    };
    ctx.ui.line(format!("{count} {noun} {verb} in .dep/"));
    Ok(())
}

fn verify(ctx: &Ctx, requests: &[Request], json: bool) -> anyhow::Result<()> {
    let verification = dep::verify(ctx, requests)?;
    if json {
        print_json(ctx, &verification)?;
    } else {
        for binary in verification
            .binaries
            .iter()
            .filter(|binary| binary.problem.is_none())
        {
            let state = if binary.installed {
                "is as installed"
            } else {
                "is not installed"
            };
            ctx.ui.line(format!("{} {state}", binary.name));
        }
    }
    verification.failure().map_or(Ok(()), Err)
}

fn update(ctx: &Ctx, requests: &[Request], targets: &[String]) -> anyhow::Result<()> {
    let update = dep::update(ctx, requests, targets)?;
    for program in &update.programs {
        let from = program
            .previous
            .as_deref()
            .filter(|previous| *previous != program.version);
        let from = from.map_or_else(String::new, |previous| format!(" (was {previous})"));
        let Updated {
            name,
            version,
            pins,
            notes,
            ..
        } = program;
        ctx.ui.line(format!(
            "{name} {version}{from}: pinned for {}",
            pins.join(", ")
        ));
        for note in notes {
            ctx.ui.line(format!("  {note}"));
        }
    }
    ctx.ui.line(if update.changed {
        "wrote dep.lock"
    } else {
        "nothing has changed"
    });
    Ok(())
}

fn must_know(requests: &[Request], name: &str) -> anyhow::Result<()> {
    let known = requests.iter().map(|request| request.name.as_str());
    if known.clone().any(|known| known == name) {
        return Ok(());
    }
    let message = format!("no service needs the binary `{name}`");
    let hint = names::hint(name, "there are", known);
    Err(Failure::new(Exit::Usage, message).hint(hint).into())
}
