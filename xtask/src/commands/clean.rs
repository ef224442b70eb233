//! `cargo xtask clean`.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use engine::Ctx;
use engine::SCHEMA_VERSION;
use engine::checkout::levels::{Content, Level};
use engine::operations::clean;
use kit::{Exit, Failure};
use serde_json::{Value, json};
use xtask::dep::Shared;

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
    let shared = Shared::of(&ctx.env);
    if levels.is_empty() && !args.store {
        let contents = Level::ALL.map(|level| level.content(&ctx.paths));
        let contents: Vec<Content> = contents.into_iter().collect::<anyhow::Result<_>>()?;
        let store = shared.as_ref().map(store).transpose()?;
        return tell(&ctx, &contents, store.as_ref(), args, false);
    }
    if !levels.is_empty() {
        clean::check(&ctx, &levels)?;
    }
    if args.data && !args.yes {
        ask(&ctx)?;
    }
    let mut deleted = Vec::new();
    if !levels.is_empty() {
        deleted = clean::clean(&ctx, &levels, lock_wait(args.lock.no_wait))?;
    }
    let mut gone = None;
    if args.store {
        let shared = shared.ok_or_else(|| {
            let message = "there is no store: `CORE_STORE_DIR` is empty, or there is no home";
            Failure::new(Exit::Usage, message)
        })?;
        gone = Some(store(&shared)?);
        shared.delete()?;
    }
    tell(&ctx, &deleted, gone.as_ref(), args, true)
}

/// The binaries that checkouts share.
#[derive(serde::Serialize)]
struct Store {
    level: &'static str,
    path: String,
    bytes: u64,
    entries: BTreeMap<String, u64>,
}

fn store(shared: &Shared) -> anyhow::Result<Store> {
    let entries = shared.sizes()?;
    Ok(Store {
        level: "store",
        path: shared.directory().display().to_string(),
        bytes: entries.values().sum(),
        entries,
    })
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

fn tell(
    ctx: &Ctx,
    contents: &[Content],
    store: Option<&Store>,
    args: &Clean,
    deleted: bool,
) -> anyhow::Result<ExitCode> {
    if args.json {
        let levels = contents.iter().map(|content| json!(content));
        let levels: Vec<Value> = levels.chain(store.map(|store| json!(store))).collect();
        let document = json!({
            "schema_version": SCHEMA_VERSION,
            "deleted": deleted,
            "levels": levels,
        });
        return print_json(ctx, &document);
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
    match store {
        Some(Store { path, bytes, .. }) if deleted => {
            ctx.ui.line(format!("deleted {bytes} bytes of {path}"));
        }
        Some(Store { path, bytes, .. }) => {
            let what = "binaries for all checkouts; fetched again when one needs them";
            let line = format!("{:8} {bytes:>12} bytes  {path}: {what}", "--store");
            ctx.ui.data(line)?;
        }
        None => {}
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
