//! Documents agree with the tree and with each other.

use std::collections::BTreeSet;
use std::path::Path;

use xtask::stages::STAGES;

use crate::{Findings, TextFile, own, read, root, text_files};

#[test]
fn every_relative_link_resolves() {
    let mut findings = Findings::default();
    let documents: Vec<TextFile> = text_files()
        .into_iter()
        .filter(|file| file.has_extension("md"))
        .collect();
    for file in &documents {
        let folder = root().join(&file.path);
        let folder = folder.parent().expect("a file lies in a folder");
        for (number, link) in links(file) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let at = format!("{}:{number}", file.path);
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                root().join(&file.path)
            } else {
                folder.join(path)
            };
            if !target.exists() {
                findings.add(&at, format!("`{path}` is not there"));
            } else if !anchor.is_empty() && !anchors(&target).contains(anchor) {
                findings.add(&at, format!("`{link}` names no heading"));
            }
        }
    }
    findings.finish();
}

/// Returns the targets of `[text](target)` outside code, with their lines.
fn links(file: &TextFile) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            links.push((number, target.to_owned()));
        }
    }
    links
}

/// Returns the anchors of a document's headings, as GitHub makes them.
fn anchors(document: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(document).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn the_changelog_has_this_version() {
    if !own::is_cores("CHANGELOG.md") {
        return;
    }
    let heading = format!("\n## [{}]", env!("CARGO_PKG_VERSION"));
    let text = read("CHANGELOG.md").text;
    assert!(
        text.contains(&heading),
        "CHANGELOG.md has no `{}`",
        heading.trim()
    );
}

/// Returns the test command: the only line of a code block in README.md that begins with it.
fn readme_test_command() -> String {
    let text = read("README.md").text;
    let mut lines = text.lines().filter(|line| line.starts_with("cargo test"));
    let command = lines.next().expect("README.md has a test command");
    assert!(
        lines.all(|other| other == command),
        "README.md has more than one test command"
    );
    command.to_owned()
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    if !own::is_cores("README.md") {
        return;
    }
    let command = readme_test_command();
    let tests = STAGES.iter().filter(|stage| stage.has_tests);
    let tests: Vec<&str> = tests.map(|stage| stage.command).collect();
    assert_eq!(
        tests,
        [command],
        "`cargo xtask ci` tests otherwise than README.md says"
    );
    let script = read(".ci/run").text;
    let stages = script.lines().filter(|line| line.contains("xtask ci"));
    assert_eq!(
        stages.filter(|line| line.starts_with("exec ")).count(),
        1,
        ".ci/run does not run `cargo xtask ci`"
    );
}

#[test]
fn the_code_map_is_the_tree() {
    let mut findings = Findings::default();
    let document = read("docs/ARCHITECTURE.md");
    for (number, line) in document.lines() {
        // Every second piece is between backticks.
        for name in line.split('`').skip(1).step_by(2) {
            let tracked = ["xtask/", "services/", "cmd/", "docs/", ".ci/", ".github/"]
                .iter()
                .any(|folder| name.starts_with(folder));
            // `services/*/service.json` and `cmd/NAME` are patterns.
            let concrete = !name.contains(['*', ' ', '{']) && !name.contains("NAME");
            if tracked && concrete && !root().join(name).exists() {
                findings.add(
                    format!("docs/ARCHITECTURE.md:{number}"),
                    format!("`{name}` is not there"),
                );
            }
        }
    }
    let mut folders = BTreeSet::new();
    for file in text_files() {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let is_source = file.is_product();
        if name == "Cargo.toml" && !folder.is_empty() || is_source {
            folders.insert(folder.to_owned());
        }
    }
    for folder in folders {
        if !document.text.contains(&format!("`{folder}`"))
            && !document.text.contains(&format!("`{folder}/`"))
        {
            findings.add(
                "docs/ARCHITECTURE.md",
                format!("does not mention `{folder}`"),
            );
        }
    }
    findings.finish();
}
