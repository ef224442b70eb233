//! Where `xtask` is, whether it is fresh, and the call of cargo that builds it.
//!
//! Owns the stamp: a file beside the program with the state of everything that it was built from,
//! compared for equality. No clock is asked, because a file may change while cargo reads it.

use std::env;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{self, Command, ExitCode};

use crate::inputs;

/// A build that changes nothing follows one that does, and its inputs are then known beforehand.
const ROUNDS: usize = 2;

/// The checkout and the program.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    pub(crate) program: PathBuf,
    /// This program: the rules of the stamp are its own.
    own: PathBuf,
}

impl Place {
    /// Finds the checkout as `cargo run` names it, and the program beside our own: cargo puts both
    /// in the same directory, whatever its configuration says.
    pub(crate) fn find() -> Result<Self, String> {
        let own = env::current_exe().map_err(|error| format!("cannot find `launcher`: {error}"))?;
        // `xtask/launcher`, two directories below the root.
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = package.as_deref().and_then(|path| path.ancestors().nth(2));
        let root = root.ok_or("`launcher` is no command\nhint: cargo xtask")?;
        Ok(Self {
            root: root.to_owned(),
            program: own.with_file_name("xtask"),
            own,
        })
    }

    /// Whether nothing has changed since the stamp.
    pub(crate) fn is_fresh(&self) -> bool {
        let stamp = fs::read_to_string(self.stamp()).unwrap_or_default();
        let files = inputs::files_of(&stamp);
        !files.is_empty() && self.observe(&files).as_deref() == Some(&stamp)
    }

    /// Has cargo build the program and writes the stamp. Returns an exit code when cargo fails.
    pub(crate) fn build(&self) -> Result<Option<ExitCode>, String> {
        let mut before = self.state();
        for _ in 0..ROUNDS {
            if let Some(code) = self.call()? {
                return Ok(Some(code));
            }
            let after = self.state();
            let Some(text) = &after else { break };
            if before == after {
                // Without a stamp, cargo is called again.
                _ = self.write_stamp(text);
                break;
            }
            before = after;
        }
        Ok(None)
    }

    /// Returns the state of what the program was built from last; `None` when it is not known.
    fn state(&self) -> Option<String> {
        let files = inputs::of_build(&self.program.with_extension("d"), &self.root)?;
        self.observe(&files)
    }

    fn observe(&self, files: &[PathBuf]) -> Option<String> {
        inputs::observe(files, &[&self.own, &self.program])
    }

    fn stamp(&self) -> PathBuf {
        self.program.with_file_name(".xtask-inputs")
    }

    fn write_stamp(&self, text: &str) -> std::io::Result<()> {
        let stamp = self.stamp();
        let new = stamp.with_extension(process::id().to_string());
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, stamp));
        if written.is_err() {
            _ = fs::remove_file(new);
        }
        written
    }

    /// Calls cargo for the program alone, as `cargo run` would.
    fn call(&self) -> Result<Option<ExitCode>, String> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        launcher::forget_package(&mut cargo);
        cargo.args(["build", "--package", "xtask", "--bin", "xtask"]);
        cargo
            .arg("--manifest-path")
            .arg(self.root.join("Cargo.toml"));
        let is_first = !self.program.exists();
        if is_first && !std::io::stderr().is_terminal() {
            _ = writeln!(
                std::io::stderr(),
                "building xtask, which takes a minute or two"
            );
        }
        if !is_first || !std::io::stderr().is_terminal() {
            cargo.arg("--quiet");
        }
        let status = cargo
            .status()
            .map_err(|error| format!("cannot run `{}`: {error}", cargo.get_program().display()))?;
        if status.success() {
            return Ok(None);
        }
        let signal = status.signal().map(|number| 128 + number);
        let code = status.code().or(signal).unwrap_or(1);
        Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(1))))
    }
}
