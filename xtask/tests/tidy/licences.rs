//! Licences of everything that is compiled in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{Findings, own, root};

/// Licences that hold no surprise for a user of `MIT OR Apache-2.0` code.
const ALLOWED: [&str; 9] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_dependency_has_an_allowed_licence() {
    let mut findings = Findings::default();
    let packages = packages();
    assert!(packages.len() > 50, "only {} packages", packages.len());
    for package in packages {
        let name = format!("{} {}", text(&package, "name"), text(&package, "version"));
        let licence = text(&package, "license");
        match allowed(&licence) {
            Ok(true) => {}
            Ok(false) => findings.add(name, format!("`{licence}` is not allowed")),
            Err(problem) => findings.add(name, format!("`{licence}`: {problem}")),
        }
    }
    findings.finish();
}

/// Returns the packages of this machine's dependency tree: cargo has them, without a network.
fn packages() -> Vec<Value> {
    let platform = run("rustc", &["--version", "--verbose"]);
    let platform = platform
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host");
    let cargo = std::env::var("CARGO").expect("cargo runs the tests");
    let metadata = run(
        &cargo,
        &[
            "metadata",
            "--offline",
            "--format-version=1",
            "--filter-platform",
            platform,
        ],
    );
    let metadata: Value = serde_json::from_str(&metadata).expect("the metadata is JSON");
    let packages = metadata["packages"].as_array();
    let needed = needed(&metadata);
    let packages = packages.expect("the metadata lists packages").iter();
    packages
        .filter(|package| needed.contains(&text(package, "id")))
        .cloned()
        .collect()
}

/// Returns the ids of all dependencies of Core's own packages. Those of a user's packages are the
/// user's business.
fn needed(metadata: &Value) -> BTreeSet<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (text(&node, "id"), node))
        .collect();
    let places = own::places();
    let is_own = |package: &Value| {
        let manifest = text(package, "manifest_path");
        let folder = Path::new(&manifest).parent().map(Path::to_path_buf);
        let folder = folder.and_then(|folder| Some(folder.strip_prefix(root()).ok()?.to_owned()));
        folder.is_some_and(|folder| places.iter().any(|place| folder.starts_with(place)))
    };
    let packages = list(&metadata["packages"]);
    let own = packages.iter().filter(|package| is_own(package));
    let mut open: Vec<String> = own.map(|package| text(package, "id")).collect();
    let mut needed = BTreeSet::new();
    while let Some(id) = open.pop() {
        if needed.insert(id.clone()) {
            let dependencies = nodes.get(&id).map(|node| list(&node["dependencies"]));
            let dependencies = dependencies.into_iter().flatten();
            open.extend(dependencies.filter_map(|id| id.as_str().map(str::to_owned)));
        }
    }
    needed
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("cannot run `{program}`: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`{program} {}`: {errors}",
        arguments.join(" ")
    );
    String::from_utf8(output.stdout).expect("the output is UTF-8")
}

fn text(package: &Value, key: &str) -> String {
    package[key].as_str().unwrap_or_default().to_owned()
}

/// Whether an SPDX expression leaves a choice of allowed licences only. `/` is an old `OR`.
fn allowed(expression: &str) -> Result<bool, String> {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let result = any_of(&mut words)?;
    match words.pop() {
        None => Ok(result),
        Some(word) => Err(format!("cannot read it from `{word}` on")),
    }
}

/// Parses `A OR B ...`; the next word is the last one.
fn any_of(words: &mut Vec<&str>) -> Result<bool, String> {
    let mut result = all_of(words)?;
    while words.last() == Some(&"OR") {
        words.pop();
        result |= all_of(words)?;
    }
    Ok(result)
}

/// Parses `A AND B ...`.
fn all_of(words: &mut Vec<&str>) -> Result<bool, String> {
    let mut result = one(words)?;
    while words.last() == Some(&"AND") {
        words.pop();
        result &= one(words)?;
    }
    Ok(result)
}

/// Parses a licence, perhaps with an exception, which only permits more; or a group in brackets.
fn one(words: &mut Vec<&str>) -> Result<bool, String> {
    let word = words.pop().ok_or("it ends too soon")?;
    if word == "(" {
        let result = any_of(words)?;
        return match words.pop() {
            Some(")") => Ok(result),
            _ => Err("a bracket is not closed".to_owned()),
        };
    }
    if words.last() == Some(&"WITH") {
        words.pop();
        words.pop();
    }
    Ok(ALLOWED.contains(&word))
}

#[test]
fn expressions() {
    for (expression, expected) in [
        ("MIT", Ok(true)),
        ("GPL-3.0-only", Ok(false)),
        ("MIT OR GPL-3.0-only", Ok(true)),
        ("MIT AND GPL-3.0-only", Ok(false)),
        ("MIT/Apache-2.0", Ok(true)),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", Ok(true)),
        ("(MIT OR Apache-2.0) AND MPL-2.0", Ok(false)),
        ("MPL-2.0 OR MIT AND ISC", Ok(true)),
        ("Apache-2.0 WITH LLVM-exception OR MPL-2.0", Ok(true)),
    ] {
        assert_eq!(allowed(expression), expected, "{expression}");
    }
    for broken in ["", "(MIT", "MIT MIT", "MIT OR"] {
        assert!(allowed(broken).is_err(), "{broken}");
    }
}
