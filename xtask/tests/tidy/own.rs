//! The files of Core. A repository that grew from Core has services, documents and dependencies of
//! its user, which follow their own rules or none.

use std::path::{Path, PathBuf};

use crate::root;

/// Services and shared source of Core: directories in `services/`.
pub(crate) const SERVICES: [&str; 5] = ["caddy", "controller", "kit", "nats", "pocketbase"];

/// Programs of Core: directories in `cmd/`.
const PROGRAMS: [&str; 6] = [
    "caddy",
    "controller",
    "nats",
    "pocketbase",
    "probe",
    "wrapper",
];

/// Other directories of Core. Documents are those that docs/README.md names.
const FOLDERS: [&str; 4] = [".cargo", ".ci", ".github/workflows", "xtask"];

/// Its files in the root.
const FILES: [&str; 12] = [
    ".editorconfig",
    ".github/deny.toml",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.toml",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "dep.lock",
    "rustfmt.toml",
    "docs/README.md",
    "docs/service.schema.json",
];

/// Files that a user's repository may replace, and the start of a line by which they are recognized
/// as Core's.
const REPLACED: [(&str, &str); 3] = [
    ("README.md", "Core runs [NATS]"),
    ("CHANGELOG.md", "Changes that users notice. The form is"),
    (".github/workflows/ci.yml", "name: ci"),
];

/// Whether the file is Core's, and not a user's replacement.
pub(crate) fn is_cores(path: &str) -> bool {
    let mark = REPLACED.iter().find(|(own, _)| *own == path);
    mark.is_none_or(|(_, mark)| {
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        text.lines().any(|line| line.starts_with(mark))
    })
}

/// Returns all paths with files of Core, relative to the root.
pub(crate) fn places() -> Vec<String> {
    let folders = |above: &str, names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{above}/{name}")).collect()
    };
    let mut places = folders("services", &SERVICES);
    places.extend(folders("cmd", &PROGRAMS));
    places.extend(FOLDERS.iter().chain(&FILES).map(ToString::to_string));
    places.extend(documents());
    places.retain(|path| is_cores(path));
    places
}

/// Returns the documents that docs/README.md names.
fn documents() -> Vec<String> {
    let index = std::fs::read_to_string(root().join("docs/README.md"));
    let index = index.expect("docs/README.md is there");
    let targets = index.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split(')').next());
    let own = targets.filter(|target| !target.contains('/') && is_document(target));
    own.map(|target| format!("docs/{target}")).collect()
}

fn is_document(target: &str) -> bool {
    Path::new(target).extension().is_some_and(|end| end == "md")
}

/// Returns the xtask of this build: beside the test, wherever the checkout was moved.
pub(crate) fn xtask_program() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a file");
    let profile = test.parent().and_then(Path::parent);
    let beside = profile.map(|folder| folder.join("xtask"));
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_xtask"));
    beside.filter(|path| path.is_file()).unwrap_or_else(built)
}
