//! What a build of `xtask` depends on, as a text that is equal only when nothing has changed.
//!
//! Owns what is looked at: sources, manifests, configuration files, toolchain, variables. A file is
//! recognised by its inode, its size, and the times of its content and its status. Must not write.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Starts the line of a file of the build.
const FILE: &str = "file ";
/// How the names of variables start by which cargo, rustc and build scripts choose what to build.
const VARIABLES: [&str; 19] = [
    "AR",
    "CARGO_BUILD_",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    "CC",
    "CFLAGS",
    "CXX",
    "HOST_",
    "MACOSX_DEPLOYMENT_TARGET",
    "RANLIB",
    "RING_",
    "RUSTC",
    "RUSTFLAGS",
    "RUSTUP_",
    "SDKROOT",
    "TARGET_",
];

/// Returns the files of the build that a dep-info file describes: sources, and manifests, which it
/// leaves out. `None` when the build may depend on more than files.
pub(crate) fn of_build(dep_info: &Path, root: &Path) -> Option<Vec<PathBuf>> {
    let sources = launcher::parse_dep_info(&fs::read_to_string(dep_info).ok()?)?;
    // A configuration file can make them relative.
    if !sources.iter().all(|source| source.is_absolute()) {
        return None;
    }
    let mut files = BTreeSet::from(["Cargo.toml", "Cargo.lock"].map(|name| root.join(name)));
    for source in sources {
        if source
            .extension()
            .is_some_and(|extension| extension == "rs")
            && reads_variables(&fs::read_to_string(&source).ok()?)
        {
            return None;
        }
        // Above the package may be its workspace.
        for directory in source.ancestors().skip(1) {
            let manifest = directory.join("Cargo.toml");
            if files.contains(&manifest) || !manifest.is_file() {
                continue;
            }
            if runs_code(&fs::read_to_string(&manifest).ok()?) {
                return None;
            }
            // Whoever creates one changes the build.
            files.insert(directory.join("build.rs"));
            files.insert(manifest);
        }
        files.insert(source);
    }
    let has_script = |file: &PathBuf| file.ends_with("build.rs") && is_script(file);
    let is_clear = !files.iter().any(has_script);
    is_clear.then(|| files.into_iter().collect())
}

/// Whether a `build.rs` lies where cargo looks for a build script.
fn is_script(file: &Path) -> bool {
    file.is_file() && file.with_file_name("Cargo.toml").is_file()
}

/// Whether a source takes in a variable that cargo does not set itself.
fn reads_variables(source: &str) -> bool {
    let mut calls = source.match_indices("env!(");
    calls.any(|(at, call)| {
        let argument = source.get(at + call.len()..).unwrap_or_default();
        !argument.trim_start().starts_with("\"CARGO_")
    })
}

/// Whether a package has code that runs during a build, and may read anything.
fn runs_code(manifest: &str) -> bool {
    manifest.lines().any(|line| {
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        matches!(key, "build" | "proc-macro" | "proc_macro" | "package.build")
    })
}

/// Whether a configuration file of cargo names no file that would have to be looked at, too.
fn is_plain(configuration: &str) -> bool {
    let wrappers = ["rustc-wrapper", "rustc-workspace-wrapper"];
    let rest = wrappers
        .iter()
        .fold(configuration.to_owned(), |text, key| text.replace(key, ""));
    !["include", "rustc"].iter().any(|word| rest.contains(word))
}

/// Returns the files that a text of [`observe`] names as those of the build.
pub(crate) fn files_of(text: &str) -> Vec<PathBuf> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(FILE));
    let paths = lines.filter_map(|line| line.split_once('\t'));
    paths.map(|(path, _)| PathBuf::from(path)).collect()
}

/// Returns the state of the files of a build, of the `programs` it makes, and of all else that it
/// depends on; `None` when something among it is not understood.
pub(crate) fn observe(files: &[PathBuf], programs: &[&Path]) -> Option<String> {
    let mut text = String::new();
    for (name, value) in variables() {
        writeln!(text, "variable {name}={}", value.escape_debug()).ok()?;
    }
    for program in programs {
        let meta = fs::metadata(program).ok()?;
        // Without the time of its status: hard links to it come and go.
        let content = content(&meta);
        writeln!(text, "program {}\t{content}", program.display()).ok()?;
    }
    for tool in toolchain() {
        writeln!(text, "tool {}\t{}", tool.display(), state(&tool)).ok()?;
    }
    for file in configurations()? {
        if !is_plain(&fs::read_to_string(&file).ok()?) {
            return None;
        }
        writeln!(text, "configuration {}\t{}", file.display(), state(&file)).ok()?;
    }
    for file in files {
        let path = file.to_str().filter(|path| !path.contains(['\n', '\t']))?;
        writeln!(text, "{FILE}{path}\t{}", state(file)).ok()?;
    }
    Some(text)
}

fn variables() -> BTreeMap<String, String> {
    let all = env::vars_os().map(|(name, value)| {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        (text(name), text(value))
    });
    all.filter(|(name, _)| VARIABLES.iter().any(|start| name.starts_with(start)))
        .collect()
}

fn content(meta: &Metadata) -> String {
    let (inode, size) = (meta.ino(), meta.size());
    format!("{inode} {size} {}.{:09}", meta.mtime(), meta.mtime_nsec())
}

/// Returns the state of a file that may be absent.
fn state(file: &Path) -> String {
    fs::metadata(file).map_or_else(
        |_| "absent".to_owned(),
        |meta| {
            format!(
                "{} {}.{:09}",
                content(&meta),
                meta.ctime(),
                meta.ctime_nsec()
            )
        },
    )
}

/// Returns cargo, and the compilers that it may call.
fn toolchain() -> BTreeSet<PathBuf> {
    let cargo = env::var_os("CARGO").map(PathBuf::from);
    let beside = cargo.as_ref().map(|cargo| cargo.with_file_name("rustc"));
    let chosen = env::var_os("RUSTC").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|directory| directory.join("rustc"));
    let found = on_path.into_iter().find(|file| file.is_file());
    [cargo, beside, chosen, found]
        .into_iter()
        .flatten()
        .collect()
}

/// Returns the configuration files that cargo reads here:
/// <https://doc.rust-lang.org/cargo/reference/config.html#hierarchical-structure>.
fn configurations() -> Option<BTreeSet<PathBuf>> {
    let here = env::current_dir().ok()?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let places = here.ancestors().map(|directory| directory.join(".cargo"));
    let files = places
        .chain(home)
        .flat_map(|place| ["config", "config.toml"].map(|name| place.join(name)));
    Some(files.filter(|file| file.is_file()).collect())
}
