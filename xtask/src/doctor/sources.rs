//! Whether the sources of binaries answer, and the difference of their clocks.

use std::time::Duration;

use super::check::{Check, Id};
use super::scene::Scene;
use crate::dep::{self, Reached};
use engine::plan::binaries::{Kind, Request};

/// How far the clock may be off: HTTP sends whole seconds, and an answer may take some.
/// Certificates and tokens tolerate minutes.
const SKEW_MAX: Duration = Duration::from_secs(10);

/// The use of wheels and Go modules when an archive cannot be obtained.
const OTHERS: &str = "wheels and Go modules stand in, see binary-sources";

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    if scene.options.offline {
        return [Id::SourcesReachable, Id::Clock]
            .map(|id| Check::skipped(id, "not asked, because of --offline"))
            .into();
    }
    match dep::reach(&scene.some_ctx()) {
        Ok(reached) => {
            let missing = missing(scene);
            [judge_reach(&reached, &missing), vec![judge_clock(&reached)]].concat()
        }
        Err(_) => [Id::SourcesReachable, Id::Clock]
            .map(|id| Check::skipped(id, "`dep.lock` cannot be read"))
            .into(),
    }
}

/// Returns the fetched binaries that are not in `.dep`.
fn missing(scene: &Scene<'_>) -> Vec<String> {
    let fetched = |request: &Request| matches!(request.kind, Kind::Fetch { .. });
    let absent = |request: &Request| !scene.paths().dep().join(&request.name).exists();
    let requests = scene.requests().unwrap_or_default();
    let missing = requests.into_iter().filter(fetched).filter(absent);
    missing.map(|request| request.name).collect()
}

pub(super) fn judge_reach(reached: &[Reached], missing: &[String]) -> Vec<Check> {
    let id = Id::SourcesReachable;
    let mut findings: Vec<Check> = Vec::new();
    for source in reached {
        let Some(problem) = &source.problem else {
            continue;
        };
        // Installed binaries are not fetched again.
        let check = if missing.contains(&source.name) {
            Check::warning(id, format!("{problem}: {OTHERS}"))
                .fix("set CORE_DEP_MIRROR or a proxy, see docs/troubleshooting.md")
        } else {
            Check::info(id, format!("{problem}; nothing is needed from there now"))
        };
        if !findings.contains(&check) {
            findings.push(check);
        }
    }
    super::check::or_ok(findings, id, format!("{} archives answer", reached.len()))
}

pub(super) fn judge_clock(reached: &[Reached]) -> Check {
    let id = Id::Clock;
    // The smallest difference: a slow answer makes it larger, never smaller.
    let ahead = reached.iter().filter_map(|source| source.ahead_seconds);
    let Some(ahead) = ahead.min_by_key(|ahead| ahead.unsigned_abs()) else {
        return Check::skipped(id, "no source tells the time");
    };
    let off = ahead.unsigned_abs();
    if off <= SKEW_MAX.as_secs() {
        return Check::ok(id, format!("within {off} s of that of the sources"));
    }
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    let found = format!("this machine's clock is {off} s {way} that of the sources");
    Check::warning(id, found).fix("set the clock, for example by NTP: timedatectl set-ntp true")
}
