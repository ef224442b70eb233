//! Packages and directories use what is below them and nothing above.
//!
//! Owns the order of the floors; docs/ARCHITECTURE.md draws it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Findings, TextFile, read, text_files};

/// The directories of the engine, from the ground up.
const FLOORS: [&str; 7] = [
    "base",
    "plan",
    "checkout",
    "supervisor",
    "instances",
    "topology",
    "operations",
];

/// Their parent.
const ENGINE: &str = "xtask/engine/src/";

/// The pure floor, and what it may not name: files, processes, the clock, the network.
const PURE: &str = "plan";
const IMPURE: [&str; 11] = [
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "Instant",
    "SystemTime",
    "TcpStream",
    "UnixStream",
    "tokio::",
    "rustix::",
    "jiff::",
];

/// The packages of Core, from the ground up: each depends only on earlier ones.
const PACKAGES: [&str; 15] = [
    "services/kit",
    "xtask/lines",
    "services/nats",
    "services/pocketbase",
    "services/caddy",
    "xtask/engine",
    "services/controller",
    "cmd/wrapper",
    "cmd/nats",
    "cmd/pocketbase",
    "cmd/caddy",
    "cmd/controller",
    "cmd/probe",
    "xtask/launcher",
    "xtask",
];

/// Returns the lines of a product's source without comments, with their numbers.
fn code(file: &TextFile) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<(usize, &str)> = file.lines().collect();
    let is_test = |(index, (_, line)): &(usize, &(usize, &str))| {
        // A file with tests has them at its end.
        let next = lines.get(index + 1).map_or("", |(_, line)| *line);
        *line == "#[cfg(test)]" && next.ends_with('{')
    };
    let end = lines.iter().enumerate().find(is_test);
    let end = end.map_or(lines.len(), |(index, _)| index);
    let lines = lines.into_iter().take(end);
    lines.map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

/// Returns the sources of the engine without tests, by the path below its directory.
fn engine() -> Vec<(String, TextFile)> {
    let mut files = Vec::new();
    for file in text_files() {
        let Some(path) = file.path.strip_prefix(ENGINE).map(str::to_owned) else {
            continue;
        };
        let is_test =
            path.contains("/tests") || path.ends_with("tests.rs") || path.contains("/fake/");
        if file.has_extension("rs") && !is_test {
            files.push((path, file));
        }
    }
    assert!(files.len() > 100, "only {} files", files.len());
    files
}

/// Returns what a line names of the engine: `plan::stack`, `plan`.
fn named(line: &str) -> impl Iterator<Item = Vec<&str>> {
    line.split("crate::").skip(1).map(|rest| {
        let is_path = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
        let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
        rest[..end]
            .split("::")
            .filter(|part| !part.is_empty())
            .collect()
    })
}

fn rank(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|other| *other == floor)
}

#[test]
fn no_floor_uses_one_above_it() {
    let mut findings = Findings::default();
    for (path, file) in engine() {
        let Some((floor, _)) = path.split_once('/') else {
            continue;
        };
        let Some(own) = rank(floor) else {
            findings.add(&file.path, format!("`{floor}` is no floor"));
            continue;
        };
        for (number, line) in code(&file) {
            if line.contains("crate::{") {
                findings.add(
                    format!("{}:{number}", file.path),
                    "names several floors at once",
                );
            }
            for names in named(line) {
                let above = names.first().and_then(|name| rank(name));
                if above.is_some_and(|above| above > own) {
                    let message = format!("`{floor}` uses `{}`, which is above it", names[0]);
                    findings.add(format!("{}:{number}", file.path), message);
                }
            }
        }
    }
    findings.finish();
}

#[test]
fn what_is_pure_touches_nothing() {
    let mut findings = Findings::default();
    for (path, file) in engine() {
        if !path.starts_with(PURE) {
            continue;
        }
        for (number, line) in code(&file) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                findings.add(format!("{}:{number}", file.path), format!("names `{word}`"));
            }
        }
    }
    findings.finish();
}

#[test]
fn modules_of_a_floor_form_no_circle() {
    let files = engine();
    let modules: BTreeSet<String> = files.iter().filter_map(|(path, _)| module(path)).collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, file) in &files {
        let Some(own) = module(path) else { continue };
        let (floor, _) = own.split_once('/').expect("a module is on a floor");
        for (_, line) in code(file) {
            // A file right on the floor names its neighbours by `super`, too.
            let beside = path.matches('/').count() == 1;
            let by_super = line.split("super::").skip(1).filter(|_| beside);
            let by_super = by_super.filter_map(|rest| rest.split(|c: char| !is_word(c)).next());
            let by_name = named(line).filter(|names| names[..1] == [floor]);
            let by_name = by_name.filter_map(|names| names.get(1).copied());
            let others = by_super
                .chain(by_name)
                .map(|name| format!("{floor}/{name}"));
            let others = others.filter(|other| modules.contains(other) && *other != own);
            uses.entry(own.clone()).or_default().extend(others);
        }
    }
    let mut findings = Findings::default();
    // Removes modules without remaining uses, until only cycles are left.
    while let Some(free) = uses.iter().find(|(_, used)| used.is_empty()) {
        let free = free.0.clone();
        uses.remove(&free);
        for used in uses.values_mut() {
            used.remove(&free);
        }
        let known: BTreeSet<String> = uses.keys().cloned().collect();
        for used in uses.values_mut() {
            used.retain(|other| known.contains(other));
        }
    }
    for (module, used) in uses {
        findings.add(module, format!("is in a circle, or uses one: {used:?}"));
    }
    findings.finish();
}

/// Returns the module of a file: its floor and the name below it. None for the floor's own file.
fn module(path: &str) -> Option<String> {
    let (floor, rest) = path.split_once('/')?;
    let name = rest.split('/').next()?.trim_end_matches(".rs");
    (name != "mod").then(|| format!("{floor}/{name}"))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[test]
fn no_package_stands_on_one_above_it() {
    let root = read("Cargo.toml");
    let is_member = |line: &str, package: &str| line.contains(&format!("path = \"{package}\""));
    let names: BTreeMap<&str, usize> = root
        .text
        .lines()
        .filter_map(|line| {
            let rank = PACKAGES
                .iter()
                .position(|package| is_member(line, package))?;
            Some((line.split_once(" = ")?.0, rank))
        })
        .collect();
    assert!(names.len() > 5, "{names:?}");
    let mut findings = Findings::default();
    for (own, package) in PACKAGES.iter().enumerate() {
        let manifest = read(&format!("{package}/Cargo.toml"));
        for (number, line) in manifest.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if names.get(name).is_some_and(|other| *other >= own) {
                findings.add(
                    format!("{}:{number}", manifest.path),
                    format!("stands on `{name}`"),
                );
            }
        }
    }
    findings.finish();
}
