//! `cargo xtask env`.

use std::path::Path;
use std::process::ExitCode;

use engine::Ctx;
use engine::SCHEMA_VERSION;
use engine::operations::exports;
use engine::plan::render::variables;
use serde_json::json;

use super::print_json;
use crate::cli::{Env, EnvFormat};

/// The variable with the file from which GitHub Actions reads variables for later steps.
const GITHUB_FILE: &str = "GITHUB_ENV";

pub(crate) fn run(instance: Option<&str>, args: &Env) -> anyhow::Result<ExitCode> {
    let ctx = if args.declared {
        Ctx::load(instance)?
    } else {
        Ctx::without_dotenv(instance)?
    };
    let variables = exports::exports(&ctx, args.declared)?;
    let format = if args.json {
        EnvFormat::Json
    } else {
        args.format
    };
    let text = match format {
        EnvFormat::Json => {
            let document = json!({"schema_version": SCHEMA_VERSION, "variables": variables});
            return print_json(&ctx, &document);
        }
        EnvFormat::Sh => variables::shell(&variables),
        EnvFormat::Dotenv => variables::dotenv(&variables),
        EnvFormat::Github => variables::github(&variables),
    };
    let file = ctx.env.non_empty(GITHUB_FILE).map(Path::new);
    let file = file.filter(|_| format == EnvFormat::Github);
    if let Some(file) = file {
        exports::append(file, &text)?;
        let count = variables.len();
        ctx.ui.line(format!("added {count} variables to the job"));
    } else if !text.is_empty() {
        ctx.ui.data(text.trim_end_matches('\n'))?;
    }
    Ok(ExitCode::SUCCESS)
}
