//! The manifests that name a program, and its version there: the places to edit.

use std::fs;
use std::path::PathBuf;

use engine::checkout::paths::Paths;

/// Returns one line for each manifest that requires another version of a program.
pub(super) fn edits(paths: &Paths, name: &str, version: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for file in files(paths) {
        let Some(asked) = asked(&paths.root().join(&file), name) else {
            continue;
        };
        if asked != version {
            let file = file.display();
            lines.push(format!(
                "edit `{file}`: `{name}` is {asked} there, not {version}"
            ));
        }
    }
    lines
}

/// Returns the manifests, relative to the root, sorted.
fn files(paths: &Paths) -> Vec<PathBuf> {
    let entries = fs::read_dir(paths.services()).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path().join("service.json")))
        .filter(|file| file.is_file())
        .filter_map(|file| Some(file.strip_prefix(paths.root()).ok()?.to_path_buf()))
        .collect();
    files.push("xtask/engine/tools.json".into());
    files.sort();
    files
}

/// Returns the version that a manifest requires. Strict loading belongs to the stack: here a
/// manifest that cannot be read requires nothing.
fn asked(file: &std::path::Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
    let lists = ["binaries", "on_demand"].into_iter();
    let mut binaries = lists.filter_map(|list| manifest.get(list)?.as_array());
    let is_meant = |binary: &&serde_json::Value| binary["name"] == name;
    let binary = binaries.find_map(|list| list.iter().find(is_meant))?;
    Some(binary.get("version")?.as_str()?.to_owned())
}
