//! Calls cargo from a program that cargo runs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::Command;

/// Returns the cargo that runs us, else the one on PATH.
pub fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Returns a call of the cargo at `program`, with the environment of the user's shell.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    launcher::forget_package(&mut command);
    command
}
