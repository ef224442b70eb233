//! Whether the addresses in `dep.lock` answer, and the time of their servers. Downloads nothing.

use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{AGE, DATE, HeaderMap};

use super::context::Context;
use super::limits::Limits;
use super::lock::Lock;
use super::net::{Net, Problem};
use super::{Options, platform};
use engine::Ctx;
use engine::base::threads::{Task, side_by_side};

/// How long an address may take to be connected to, and then to answer. Short: only a person waits
/// for the answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The answer of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The binary that comes from there.
    pub name: String,
    /// Why it cannot be obtained from there.
    pub problem: Option<String>,
    /// By how many seconds our clock is ahead of the server's, if the server sends the time.
    pub ahead_seconds: Option<i64>,
}

/// Requests every release archive of this platform in parallel.
pub fn reach(ctx: &Ctx) -> anyhow::Result<Vec<Reached>> {
    let limits = Limits {
        connect: TIMEOUT,
        stall: TIMEOUT,
        ..Limits::default()
    };
    let options = Options::default();
    let context = Context::with_limits(ctx, &options, limits);
    let lock = Lock::load(&ctx.paths.dep_lock())?;
    Ok(reach_in(&context.net, &lock, &platform::current()))
}

pub(super) fn reach_in(net: &Net, lock: &Lock, platform: &str) -> Vec<Reached> {
    let archives = lock.programs.iter().filter_map(|(name, program)| {
        let archive = program.artefacts(platform).archive?;
        Some((name.clone(), archive.location))
    });
    let ask = |(name, url): (String, String)| Box::new(move || ask(net, name, &url)) as Task<'_, _>;
    side_by_side(archives.map(ask).collect())
}

fn ask(net: &Net, name: String, url: &str) -> Reached {
    match net.head(url) {
        Ok(headers) => Reached {
            name,
            problem: None,
            ahead_seconds: ahead(&headers, SystemTime::now()),
        },
        Err(problem) => Reached {
            name,
            problem: Some(match problem {
                Problem::Unreachable(text) | Problem::Failed(text) => text,
                Problem::Cancelled => "the question was cancelled".to_owned(),
            }),
            ahead_seconds: None,
        },
    }
}

/// Returns by how many seconds `now` is ahead of the time in an answer that is not cached.
fn ahead(headers: &HeaderMap, now: SystemTime) -> Option<i64> {
    if headers.contains_key(AGE) {
        return None;
    }
    let date = headers.get(DATE)?.to_str().ok()?;
    let there = DateTimeParser::new().parse_timestamp(date).ok()?;
    let now = jiff::Timestamp::try_from(now).ok()?;
    Some(now.as_second() - there.as_second())
}
