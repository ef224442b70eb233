//! What the launcher and `xtask` both know of cargo.
//!
//! Must not depend on any package, as cargo checks each of them on every command.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Variables that cargo sets for the programs it runs. With them, a nested call would rebuild every
/// package whose build script reads them (ring's does), and its dependents.
const GIVEN_BY_CARGO: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];

/// Gives a command the environment of the user's shell, without what cargo sets for us.
pub fn forget_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if GIVEN_BY_CARGO.iter().any(|prefix| text.starts_with(prefix))
            || matches!(
                &*text,
                "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR"
            )
        {
            command.env_remove(&name);
        }
    }
}

/// Returns the files after the colon of a dep-info file, in make syntax: a space in a path is
/// written `\ `. Format: <https://doc.rust-lang.org/cargo/reference/build-cache.html>.
pub fn parse_dep_info(text: &str) -> Option<Vec<PathBuf>> {
    let (_, files) = text.lines().next()?.split_once(": ")?;
    let mut paths = Vec::new();
    let mut path = String::new();
    let mut chars = files.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if chars.peek() == Some(&' ') => path.extend(chars.next()),
            ' ' => paths.push(std::mem::take(&mut path)),
            other => path.push(other),
        }
    }
    paths.push(path);
    paths.retain(|path| !path.is_empty());
    Some(paths.into_iter().map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dep_info_with_spaces() {
        let text = "/t/a\\ b/x: /w/a\\ b/main.rs /w/c\\d.rs rel.rs\n\n/other: /no\n";
        let expected = ["/w/a b/main.rs", "/w/c\\d.rs", "rel.rs"].map(PathBuf::from);
        assert_eq!(parse_dep_info(text).unwrap(), expected);
        assert_eq!(parse_dep_info(""), None);
    }
}
