//! Calling cargo from a program that cargo runs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::Command;

/// Variables that cargo gives the programs it runs. Build scripts that look at them (ring's does)
/// would take a nested call for a changed build and compile everything above them anew.
const GIVEN_BY_CARGO: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];

/// The cargo that runs us, else the one on PATH.
pub fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The cargo at `program`, called as if from the user's shell.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
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
    command
}
