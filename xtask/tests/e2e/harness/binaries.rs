//! The real servers: installed once, before the first test that needs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use kit::files::FileLock;

use super::{command, eventually};

/// How long downloads and builds may take on a fresh clone.
const FETCH_LIMIT: Duration = Duration::from_mins(30);

/// Returns the checkout that the tests were built from.
pub(super) fn checkout() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("the package lies in the checkout")
        .to_path_buf()
}

/// Installs every binary into the checkout's `.dep/`. Test processes wait for one another.
pub(super) fn ensure() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| install(&[]));
}

/// Installs a binary that no stack needs. What is built from a Go module is kept in the checkout's
/// `.dep/` and in the store, so it is built once.
pub(crate) fn fetch(name: &str) {
    install(&[name]);
}

fn install(names: &[&str]) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e-fetch.lock");
    let _lock = eventually(
        "the binaries that another test process fetches",
        FETCH_LIMIT,
        || FileLock::try_exclusive(&path).expect("the lock of the fetch can be used"),
    );
    let mut fetch = Command::new(env!("CARGO_BIN_EXE_xtask"));
    fetch.args(["dep", "fetch"]).args(names);
    fetch.env("CORE_ROOT", checkout());
    // Keeps proxies and mirrors of the environment, but no settings of a stack.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let is_setting = name.starts_with("CORE_PORT_") || name.starts_with("CORE_POCKETBASE_");
        if is_setting {
            fetch.env_remove(&*name);
        }
    }
    let run = command::Running::spawn("xtask dep fetch", fetch).wait_for(FETCH_LIMIT);
    assert_eq!(run.code, 0, "cannot fetch the binaries: {}", run.stderr);
}
