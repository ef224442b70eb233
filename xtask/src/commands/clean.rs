//! `cargo xtask clean`.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use engine::Ctx;
use engine::SCHEMA_VERSION;
use engine::checkout::levels::{Content, Level};
use engine::operations::clean;
use kit::{Exit, Failure};
use serde_json::json;

use super::{lock_wait, print_json};
use crate::cli::Clean;

/// The word to type before data is deleted.
const WORD: &str = "delete";

pub(crate) fn run(instance: Option<&str>, args: &Clean) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    let asked = [
        (Level::State, args.state),
        (Level::Dep, args.dep),
        (Level::Data, args.data),
    ];
    let levels: Vec<Level> = asked
        .into_iter()
        .filter_map(|(level, asked)| asked.then_some(level))
        .collect();
    if levels.is_empty() {
        let contents = Level::ALL.map(|level| level.content(&ctx.paths));
        let contents: Vec<Content> = contents.into_iter().collect::<anyhow::Result<_>>()?;
        return tell(&ctx, &contents, args, false);
    }
    clean::check(&ctx, &levels)?;
    if args.data && !args.yes {
        ask(&ctx)?;
    }
    let deleted = clean::clean(&ctx, &levels, lock_wait(args.lock.no_wait))?;
    tell(&ctx, &deleted, args, true)
}

/// Asks the user to type the word; any other input ends the command.
fn ask(ctx: &Ctx) -> anyhow::Result<()> {
    let content = Level::Data.content(&ctx.paths)?;
    if !io::stdin().is_terminal() {
        let message = "cannot ask whether the data is to be deleted: there is no terminal";
        let hint = "say `--yes` to delete it without being asked";
        return Err(Failure::new(Exit::Usage, message).hint(hint).into());
    }
    let total = format!("{} bytes in `{}`:", content.bytes, content.path);
    ctx.ui.line(format!("this deletes for good {total}"));
    for line in entries(&content) {
        ctx.ui.line(line);
    }
    ctx.ui.line(format!("type `{WORD}` to go on"));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.context("cannot read the answer")?;
    if answer.trim() == WORD {
        return Ok(());
    }
    let failure = Failure::new(
        Exit::Usage,
        "nothing was deleted: the answer was another one",
    );
    Err(failure.into())
}

fn tell(ctx: &Ctx, contents: &[Content], args: &Clean, deleted: bool) -> anyhow::Result<ExitCode> {
    if args.json {
        let document = json!({
            "schema_version": SCHEMA_VERSION,
            "deleted": deleted,
            "levels": contents,
        });
        print_json(ctx, &document)?;
        return Ok(ExitCode::SUCCESS);
    }
    for content in contents {
        let Content { path, bytes, .. } = content;
        if deleted {
            ctx.ui.line(format!("deleted {bytes} bytes of {path}"));
            continue;
        }
        let (option, what) = match content.level {
            Level::State => ("--state", "generated files and logs; made again by `up`"),
            Level::Dep => ("--dep", "binaries; fetched and built again by `up`"),
            Level::Data => ("--data", "your data; lost for good"),
        };
        let line = format!("{option:8} {bytes:>12} bytes  {path}: {what}");
        ctx.ui.data(line)?;
        if content.level == Level::Data {
            for line in entries(content) {
                ctx.ui.data(line)?;
            }
        }
    }
    if !deleted {
        ctx.ui.line("nothing was deleted: name a level");
    }
    Ok(ExitCode::SUCCESS)
}

fn entries(content: &Content) -> impl Iterator<Item = String> {
    let entries = content.entries.iter();
    entries.map(|(name, bytes)| format!("         {bytes:>12} bytes  {}/{name}", content.path))
}
