//! Which manifests name a program at which version: to say what has to be edited.

use std::fs;
use std::path::PathBuf;

use engine::checkout::paths::Paths;

/// One line for each manifest that asks for another version of a program.
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

/// Manifests, relative to the root, sorted.
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

/// The version that a manifest asks for. Strict loading is the stack's: here a manifest that
/// cannot be read asks for nothing.
fn asked(file: &std::path::Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let manifest: serde_json::Value = serde_json::from_str(&text).ok()?;
    let binaries = manifest.get("binaries")?.as_array()?;
    let binary = binaries.iter().find(|binary| binary["name"] == name)?;
    Some(binary.get("version")?.as_str()?.to_owned())
}
