//! `cargo xtask doctor`.

use std::process::ExitCode;

use engine::Ctx;
use engine::checkout::hints;
use kit::failure::bounded;
use kit::names::word;
use xtask::doctor::{self, Check, Severity};

use super::print_json;
use crate::cli::Doctor;

/// Width of the longest word for a severity.
const SEVERITY_WIDTH: usize = 8;

pub(crate) fn run(instance: Option<&str>, args: &Doctor) -> anyhow::Result<ExitCode> {
    // Does not need `.env`: it is one of the checks.
    let ctx = Ctx::without_dotenv(instance)?;
    let options = doctor::Options {
        fix: args.fix,
        offline: args.offline,
    };
    let mut report = doctor::examine(&ctx, options);
    for fix in report
        .checks
        .iter_mut()
        .filter_map(|check| check.fix.as_mut())
    {
        *fix = hints::complete(fix);
    }
    for fix in &report.fixes {
        let outcome = if fix.done { "fixed" } else { "not fixed" };
        ctx.ui.line(format!("{outcome}: {}: {}", fix.id, fix.what));
    }
    if args.json {
        print_json(&ctx, &report)?;
    } else {
        for check in &report.checks {
            ctx.ui.data(lines(check))?;
        }
        ctx.ui.line(summary(&report));
    }
    Ok(report.exit().map_or(ExitCode::SUCCESS, Into::into))
}

/// Returns the lines of a finding, and the fix.
fn lines(check: &Check) -> String {
    let word = word(check.severity);
    let found = bounded(&check.found).replace('\n', "\n  ");
    let mut text = format!("{word:SEVERITY_WIDTH$} {}: {found}", check.id);
    if let Some(fix) = &check.fix {
        text.push_str("\n  fix: ");
        text.push_str(&fix.replace('\n', "\n  "));
    }
    text
}

fn summary(report: &doctor::Report) -> String {
    let counted = [
        (Severity::Error, "error", "errors"),
        (Severity::Warning, "warning", "warnings"),
    ];
    let told = counted.map(|(severity, one, many)| match report.count(severity) {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    });
    told.join(", ")
}
