//! `cargo xtask explain`.

use std::process::ExitCode;

use engine::Ctx;
use engine::SCHEMA_VERSION;
use engine::operations::inputs::Inputs;
use engine::plan::stack::{self, Entry, Provenance};
use serde_json::json;
use xtask::service;

use super::columns::width;
use super::print_json;
use crate::cli::Explain;

pub(crate) fn run(instance: Option<&str>, args: &Explain) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load(instance)?;
    let inputs = Inputs::load(&ctx)?;
    let resolved = service::known(&inputs, &args.service)?;
    let entries = stack::explain(
        &inputs.services,
        resolved.service,
        &inputs.env,
        &inputs.places,
    );
    if args.json {
        let document = json!({
            "schema_version": SCHEMA_VERSION,
            "service": args.service,
            "file": resolved.service.file,
            "entries": entries,
        });
        print_json(&ctx, &document)?;
    } else {
        let file = &resolved.service.file;
        ctx.ui.data(format!("lines are those of {file}"))?;
        let width = width(entries.iter().map(|entry| &entry.key));
        for entry in &entries {
            let value = entry.value.replace('\n', "\\n");
            let from = origins(entry, file);
            let line = format!("{:width$}  {value}  <- {from}", entry.key);
            ctx.ui.data(line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Describes the origins; the service's own manifest is named once for all.
fn origins(entry: &Entry, own: &str) -> String {
    let origin = |from: &Provenance| match from {
        Provenance::Manifest { file, line } if file == own => format!("line {line}"),
        other => other.to_string(),
    };
    let origins: Vec<String> = entry.from.iter().map(origin).collect();
    origins.join("; ")
}
