//! A key for the content of `.dep/`, so that a CI system can cache it between jobs.
//!
//! Owns the list of inputs. Contents only, never times: two clones of one commit have the same key
//! on machines of one platform with one toolchain.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::freshness;
use engine::base::digest::hex;
use engine::base::tool;
use engine::checkout::paths::Paths;
use engine::plan::env::{Env, Origin};

/// Input files and directories, relative to the root. Directories that do not exist are no error: a
/// checkout need not have a service with code.
const INPUTS: [&str; 9] = [
    ".cargo/config.toml",
    "Cargo.lock",
    "Cargo.toml",
    "cmd",
    "dep.lock",
    "rust-toolchain",
    "rust-toolchain.toml",
    "services",
    "xtask/go",
];
/// Names in those directories that are no input of a binary.
const LEFT_OUT: [&str; 2] = ["tests", "target"];
/// Greatest depth of directories: a link to a parent directory must not loop for ever.
const DEPTH_MAX: usize = 12;
/// How long rustc may take to print its version: milliseconds, or a download by a rustup proxy.
const RUSTC_TIMEOUT: Duration = Duration::from_mins(5);
/// Number of digits of the digest that are shown.
const DIGITS: usize = 16;

/// Returns the key: `core-linux-amd64-0123456789abcdef`.
pub fn cache_key(paths: &Paths, env: &Env) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    let mut enter = |name: &str, content: &[u8]| {
        hasher.update(name);
        hasher.update([0]);
        hasher.update(Sha256::digest(content));
    };
    enter("rustc", toolchain(paths, env)?.as_bytes());
    enter(
        "xtask/engine/tools.json",
        engine::plan::binaries::TOOLS.as_bytes(),
    );
    let variables = env
        .iter()
        .filter(|(name, _)| freshness::counts(name) && env.origin(name) == Some(Origin::Process));
    for (name, value) in variables {
        enter(name, value.as_bytes());
    }
    for input in INPUTS {
        visit(paths.root(), input, DEPTH_MAX, &mut enter)?;
    }
    let digest = hex(&hasher.finalize());
    Ok(format!("core-{}-{}", super::platform(), &digest[..DIGITS]))
}

/// Adds a file, or all files of a directory in the order of their names.
fn visit(
    root: &Path,
    input: &str,
    depth: usize,
    enter: &mut impl FnMut(&str, &[u8]),
) -> anyhow::Result<()> {
    let path = root.join(input);
    if path.is_file() {
        let content = fs::read(&path);
        enter(
            input,
            &content.with_context(|| format!("cannot read `{input}`"))?,
        );
        return Ok(());
    }
    if !path.is_dir() || depth == 0 {
        return Ok(());
    }
    let mut names = Vec::new();
    let context = || format!("cannot list `{input}`");
    for entry in fs::read_dir(&path).with_context(context)? {
        let name = entry.with_context(context)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    let goes_in = |name: &&String| {
        let name = name.as_str();
        let is_document = Path::new(name).extension().is_some_and(|end| end == "md");
        !name.starts_with('.') && !is_document && !LEFT_OUT.contains(&name)
    };
    for name in names.iter().filter(goes_in) {
        visit(root, &format!("{input}/{name}"), depth - 1, enter)?;
    }
    Ok(())
}

/// Returns the version output of rustc. Uses the one beside the cargo that runs us: a rustup proxy
/// would have to select it again.
fn toolchain(paths: &Paths, env: &Env) -> anyhow::Result<String> {
    let beside = env.non_empty("CARGO").map(Path::new);
    let beside = beside.map(|cargo| cargo.with_file_name("rustc"));
    let program = env
        .non_empty("RUSTC")
        .map(Into::into)
        .or(beside.filter(|rustc| rustc.is_file()))
        .unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(&program);
    command.arg("-vV").current_dir(paths.root());
    let cancel = AtomicBool::new(false);
    let finished = tool::run(&mut command, RUSTC_TIMEOUT, &cancel, &|_| {})?;
    anyhow::ensure!(
        finished.success(),
        "cannot ask for the version of rustc: {}",
        finished.report()
    );
    Ok(finished.tail.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(root: &Path, env: &Env) -> String {
        cache_key(&Paths::new(root.to_path_buf()), env).unwrap()
    }

    #[test]
    fn the_key_follows_what_goes_in_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("dep.lock", "{}");
        write("services/a/src/lib.rs", "1");
        let path = std::env::var("PATH").unwrap_or_default();
        let env = Env::from_pairs([("PATH", path.as_str())]);
        let first = key(dir.path(), &env);
        let start = format!("core-{}-", super::super::platform());
        let digest = first.strip_prefix(&start).unwrap();
        assert_eq!(digest.len(), DIGITS);
        assert!(digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        for name in [
            "README.md",
            "services/a/README.md",
            "services/a/tests/x.rs",
            "services/a/.hidden",
            ".env",
            ".dep/x",
        ] {
            write(name, "x");
            assert_eq!(key(dir.path(), &env), first, "{name}");
        }
        let mut seen = vec![first];
        for name in ["dep.lock", "services/a/src/lib.rs", "cmd/a/x", "Cargo.lock"] {
            write(name, "other");
            let next = key(dir.path(), &env);
            assert!(!seen.contains(&next), "{name}");
            seen.push(next);
        }
        let flags = Env::from_pairs([("PATH", path.as_str()), ("RUSTFLAGS", "-g")]);
        assert!(!seen.contains(&key(dir.path(), &flags)));
    }
}
