//! Calls cargo from a program that cargo runs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::Command;

/// Variables that cargo sets for the programs it runs. With them, a nested call would rebuild every
/// package whose build script reads them (ring's does), and its dependents.
const GIVEN_BY_CARGO: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];

/// Returns the cargo that runs us, else the one on PATH.
pub fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Returns a call of the cargo at `program`, with the environment of the user's shell.
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
