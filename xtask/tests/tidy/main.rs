//! Tidiness of the whole repository: sources, documents, generated files, licences.
//!
//! Owns checks that no compiler makes. Each test reports all its findings at once, as `path:line:
//! what`. Must not need a network or a running stack.

mod commands;
mod documents;
mod floors;
mod generated;
mod licences;
mod own;
mod promises;
mod sources;
mod words;
mod workflow;

use std::fs;
use std::path::{Path, PathBuf};

/// Directories without files of the repository.
const SKIPPED_DIRECTORIES: [&str; 7] = [
    ".git",
    "target",
    ".dep",
    ".core-stack",
    ".data",
    "node_modules",
    "dist",
];

/// Files that other tools write, in their own format.
const FOREIGN_FILES: [&str; 3] = ["Cargo.lock", "LICENSE-APACHE", ".env"];

/// A text file of the repository.
pub(crate) struct TextFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl TextFile {
    /// Returns the lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    /// Whether it is a source of what `cargo xtask` does.
    pub(crate) fn is_product(&self) -> bool {
        let folders = ["xtask/src/", "xtask/engine/src/"];
        let is_below = folders.iter().any(|folder| self.path.starts_with(folder));
        is_below && self.has_extension("rs")
    }

    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|own| own == extension)
    }
}

/// Findings, which are reported all at once.
#[derive(Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    pub(crate) fn add(&mut self, at: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.0.push(format!("{at}: {what}"));
    }

    /// Fails the test if there are findings.
    pub(crate) fn finish(self) {
        assert!(
            self.0.is_empty(),
            "{} findings:\n{}",
            self.0.len(),
            self.0.join("\n")
        );
    }
}

/// Returns the root of the repository.
pub(crate) fn root() -> PathBuf {
    // From cargo's variable at run time, as a checkout may have been moved since it was built.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().expect("xtask lies below the root").into()
}

/// Returns a file of the repository that must exist.
pub(crate) fn read(path: &str) -> TextFile {
    let text = fs::read_to_string(root().join(path));
    TextFile {
        path: path.to_owned(),
        text: text.unwrap_or_else(|error| panic!("cannot read `{path}`: {error}")),
    }
}

/// Returns every text file of Core except those that other tools write. Other files of a repository
/// belong to its user.
pub(crate) fn text_files() -> Vec<TextFile> {
    let mut files = Vec::new();
    for path in own::places() {
        if root().join(&path).is_dir() {
            collect(&root().join(&path), &format!("{path}/"), &mut files);
        } else if root().join(&path).is_file() {
            files.push(read(&path));
        }
    }
    assert!(
        files.len() > 50,
        "only {} files: is this the root?",
        files.len()
    );
    files
}

fn collect(directory: &Path, prefix: &str, files: &mut Vec<TextFile>) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .and_then(Iterator::collect)
        .unwrap_or_else(|error| panic!("cannot list `{}`: {error}", directory.display()));
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("entries have a type");
        if kind.is_dir() && !SKIPPED_DIRECTORIES.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file()
            && !FOREIGN_FILES.contains(&name.as_str())
            && own::is_cores(&path)
            // A file that is no text is an image or similar.
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            files.push(TextFile { path, text });
        }
    }
}
