//! What `cargo xtask` runs: starts the `xtask` program beside it, which cargo builds first unless
//! nothing that it was built from has changed.
//!
//! The alias in `.cargo/config.toml` names this package because it depends on no other: cargo
//! checks one package instead of two hundred. Owns the decision whether to call cargo, nothing
//! about Core. Whatever it does not understand is a reason to call cargo.

mod build;
mod inputs;

use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::build::Place;

/// Set to anything but an empty text: cargo is called every time.
const ALWAYS: &str = "CORE_ALWAYS_CARGO";
/// As `cargo run` exits when the build fails.
const BUILD_FAILED: u8 = 101;

fn main() -> ExitCode {
    match launch() {
        Ok(code) => code,
        Err(message) => {
            // If this fails, the exit code still says it.
            _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::from(BUILD_FAILED)
        }
    }
}

/// Starts `xtask`; returns only when that is impossible.
fn launch() -> Result<ExitCode, String> {
    let place = Place::find()?;
    let always = env::var_os(ALWAYS).is_some_and(|value| !value.is_empty());
    if !always && place.is_fresh() {
        // It may be gone since, because cargo replaces it: then cargo has the last word.
        _ = start(&place);
    }
    if let Some(code) = place.build()? {
        return Ok(code);
    }
    let error = start(&place);
    Err(format!(
        "cannot start `{}`: {error}",
        place.program.display()
    ))
}

/// Becomes `xtask`, with the environment that `cargo run --package xtask` gives it; returns only
/// when that fails.
fn start(place: &Place) -> std::io::Error {
    let package: PathBuf = place.root.join("xtask");
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let mut command = Command::new(&place.program);
    launcher::forget_package(&mut command);
    command
        .args(arguments)
        .env("CARGO_MANIFEST_PATH", package.join("Cargo.toml"))
        .env("CARGO_MANIFEST_DIR", package)
        .exec()
}
