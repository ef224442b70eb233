//! The output of `up --ci` around its work: sections, and annotations when it fails.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::Ctx;
use engine::base::ui::Ui;
use engine::checkout::logs;
use engine::operations::inputs::Inputs;
use engine::plan::env::Env;
use kit::{Exit, failure};
use xtask::ci::{Annotation, System, clean};

use crate::code_of;

/// Lines of the log of a failed service.
const LOG_LINES: usize = 50;

/// Runs `work` in a section. An error is printed here, so that no foreign text is outside of a
/// section; the exit code is the usual one.
pub(crate) fn run(
    context: impl FnOnce() -> anyhow::Result<Ctx>,
    work: impl FnOnce(&Ctx) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut output = Output {
        ui: Ui::new(),
        system: System::of(&Env::of_process()),
        sections: 0,
    };
    let ctx = context();
    let result = output.section("cargo xtask up", |_| match &ctx {
        Ok(ctx) => work(ctx),
        Err(_) => Ok(()),
    })?;
    let error = match (ctx, result) {
        (Ok(_), Ok(())) => return Ok(ExitCode::SUCCESS),
        (Ok(ctx), Err(error)) => {
            output.failed(Some(&ctx), &error)?;
            error
        }
        (Err(error), _) => {
            output.failed(None, &error)?;
            error
        }
    };
    Ok(code_of(&error))
}

struct Output {
    ui: Ui,
    system: System,
    sections: u32,
}

impl Output {
    /// Puts the output of `work` into a section. Foreign text in it is no command.
    fn section<T>(&mut self, title: &str, work: impl FnOnce(&Ui) -> T) -> anyhow::Result<T> {
        self.sections += 1;
        let now = || SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = || now().map_or(0, |since| since.as_secs());
        let token = kit::secret::generate()?;
        let begun = seconds();
        let id = format!("{begun}_{}", self.sections);
        let section = |at| self.system.section(title, &id, at, &token);
        self.ui.line(section(begun).begin);
        let result = work(&self.ui);
        let end = section(seconds()).end;
        if !end.is_empty() {
            self.ui.line(end);
        }
        Ok(result)
    }

    fn failed(&mut self, ctx: Option<&Ctx>, error: &anyhow::Error) -> anyhow::Result<()> {
        let text = clean(&engine::checkout::hints::describe(error));
        let subject = failure::subject_of(error);
        if let (Some(ctx), Some(name)) = (ctx, subject) {
            let log = logs::last(&ctx.paths.process_log(name), LOG_LINES);
            let log = log.trim_start_matches('\n').to_owned();
            self.section(&format!("the log of `{name}`"), |ui| ui.line(log))?;
        }
        self.section("why it failed", |ui| ui.line(text))?;
        if self.system == System::GitHub {
            for annotation in annotations(ctx, error) {
                self.ui.line(annotation.github());
            }
        }
        Ok(())
    }
}

/// Returns one annotation per error in the inputs, else one for the error.
fn annotations(ctx: Option<&Ctx>, error: &anyhow::Error) -> Vec<Annotation> {
    let invalid = failure::exit_of(error) == Exit::Invalid;
    let findings = ctx.filter(|_| invalid).map(Inputs::findings);
    let findings = findings.unwrap_or_default().into_iter();
    let found: Vec<Annotation> = findings
        .map(|finding| {
            let in_file = finding.problem.line > 0;
            let path = &finding.problem.path;
            let message = if path.is_empty() {
                finding.problem.message.clone()
            } else {
                format!("`{path}` {}", finding.problem.message)
            };
            Annotation {
                file: in_file.then(|| finding.file.clone()),
                line: in_file.then_some(finding.problem.line),
                title: finding.file,
                message,
            }
        })
        .collect();
    if !found.is_empty() {
        return found;
    }
    let subject = failure::subject_of(error);
    let service = ctx.zip(subject).and_then(|(ctx, name)| {
        let file = engine::plan::stack::manifest_file(name);
        ctx.paths.root().join(&file).is_file().then_some(file)
    });
    vec![Annotation {
        file: service,
        line: None,
        title: subject.unwrap_or("cargo xtask up").to_owned(),
        message: format!("{error:#}"),
    }]
}
