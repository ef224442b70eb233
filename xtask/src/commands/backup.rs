//! `cargo xtask backup` and `restore`.

use std::process::ExitCode;

use engine::Ctx;
use engine::base::interrupt::Interrupt;
use engine::operations::backup::{self, BackupOptions, Contents, RestoreOptions};

use super::{lock_wait, print_json};
use crate::cli::{Backup, Restore};

/// Bytes of a megabyte.
const MEGABYTE: f64 = 1e6;

pub(crate) fn run(instance: Option<&str>, args: &Backup) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    let options = BackupOptions {
        file: args.file.clone(),
        force: args.force,
        lock: lock_wait(args.report.lock.no_wait),
    };
    let report = backup::backup(&ctx, &options, &Interrupt::watch()?)?;
    tell_skipped(&ctx, &report.contents);
    if args.report.json {
        print_json(&ctx, &report)?;
    } else {
        let contents = describe(&report.contents, report.size);
        ctx.ui.line(format!("saved {contents}"));
        ctx.ui.data(report.file.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn restore(instance: Option<&str>, args: &Restore) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    let options = RestoreOptions {
        file: args.file.clone(),
        replace: args.replace,
        lock: lock_wait(args.report.lock.no_wait),
    };
    let report = backup::restore(&ctx, &options, &Interrupt::watch()?)?;
    tell_skipped(&ctx, &report.contents);
    let contents = describe(&report.contents, report.size);
    ctx.ui.line(format!("restored {contents}"));
    let replaced = report.replaced.display();
    ctx.ui
        .line(format!("what was there before is in `{replaced}`"));
    if args.report.json {
        print_json(&ctx, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reports what is not in the archive.
fn tell_skipped(ctx: &Ctx, contents: &Contents) {
    for skipped in &contents.skipped {
        let (name, reason) = (&skipped.name, &skipped.reason);
        ctx.ui.line(format!(
            "the stream `{name}` is not in the backup: {reason}"
        ));
    }
    if contents.files_elsewhere {
        ctx.ui
            .line("uploaded files are at S3, and not in the backup");
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn describe(contents: &Contents, size: u64) -> String {
    let messages: u64 = contents.streams.iter().map(|stream| stream.messages).sum();
    format!(
        "{} rows and {} streams with {messages} messages, {:.1} MB",
        contents.rows,
        contents.streams.len(),
        size as f64 / MEGABYTE
    )
}
