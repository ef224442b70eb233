//! Starts commands and other programs in a sandbox, with only its environment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;

use super::Sandbox;
use crate::harness::command::{Run, Running};

/// Variables of ours that commands inherit; all others come from the test.
const PASSED_ON: [&str; 5] = [
    "PATH",
    "CARGO",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
];

impl Sandbox {
    /// Starts `cargo xtask LINE`. Arguments are separated by spaces.
    #[track_caller]
    pub(crate) fn start(&self, line: &str) -> Running {
        self.start_with(line, &[])
    }

    /// Starts `cargo xtask LINE` with further variables.
    #[track_caller]
    pub(crate) fn start_with(&self, line: &str, variables: &[(&str, &str)]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(line.split_whitespace());
        self.environment(&mut command);
        command.envs(variables.iter().copied());
        Running::spawn(&format!("xtask {line}"), command)
    }

    /// Starts `cargo xtask LINE` with a terminal as stdin; returns the file to type into, too.
    #[track_caller]
    pub(crate) fn start_at_terminal(&self, line: &str) -> (Running, File) {
        let keyboard = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)
            .expect("a terminal can be made");
        rustix::pty::grantpt(&keyboard).expect("the terminal is ours");
        rustix::pty::unlockpt(&keyboard).expect("the terminal can be used");
        let name = rustix::pty::ptsname(&keyboard, Vec::new()).expect("the terminal has a name");
        let name = name.to_str().expect("it is a path");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let terminal = rustix::fs::open(name, flags, Mode::empty());
        let terminal = terminal.expect("the terminal can be opened");
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(line.split_whitespace());
        self.environment(&mut command);
        let running = Running::spawn_with(line, command, Stdio::from(terminal));
        (running, File::from(keyboard))
    }

    /// Starts another program in the sandbox with further variables.
    #[track_caller]
    pub(crate) fn start_program(&self, program: &Path, variables: &[(&str, String)]) -> Running {
        let mut command = Command::new(program);
        self.environment(&mut command);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Running::spawn(&program.display().to_string(), command)
    }

    /// Runs another program in the sandbox.
    #[track_caller]
    pub(crate) fn program(&self, program: &Path, arguments: &[&str]) -> Run {
        let mut command = Command::new(program);
        command.args(arguments);
        self.environment(&mut command);
        Running::spawn(
            &format!("{} {}", program.display(), arguments.join(" ")),
            command,
        )
        .wait()
    }

    /// Runs a script of the shell, which stops at the first command that fails. Unlike all else it
    /// has the environment of the tests, for programs that fetch packages.
    #[track_caller]
    pub(crate) fn shell(&self, script: &str, variables: &[(&str, &str)], limit: Duration) -> Run {
        let dir = self
            .root
            .parent()
            .expect("the checkout lies in the sandbox");
        let mut command = Command::new("sh");
        command
            .args(["-ec", script])
            .current_dir(&self.root)
            .env("CORE_ROOT", &self.root)
            .env("CORE_STORE_DIR", "")
            .env("XDG_RUNTIME_DIR", dir.join("run"))
            .env("CORE_REGISTER_DIR", self.register())
            .envs(variables.iter().copied());
        Running::spawn(script, command).wait_for(limit)
    }

    /// Starts `cargo xtask LINE` on a separate terminal, with 40 lines of 120 columns.
    #[track_caller]
    pub(crate) fn on_terminal(&self, line: &str, variables: &[(&str, &str)]) -> Running {
        let program = env!("CARGO_BIN_EXE_xtask");
        // Restores SIGHUP: under `nohup` the tests would ignore a terminal that hangs up.
        let heard = if cfg!(target_os = "linux") {
            "env --default-signal"
        } else {
            ""
        };
        let inner = format!("stty rows 40 cols 120; exec {heard} '{program}' {line}");
        let mut command = Command::new("script");
        if cfg!(target_os = "linux") {
            command.args(["-q", "-e", "-f", "-c", &inner, "/dev/null"]);
        } else {
            command.args(["-q", "/dev/null", "/bin/sh", "-c", &inner]);
        }
        self.environment(&mut command);
        command
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh");
        command.envs(variables.iter().copied());
        Running::spawn_with(&format!("xtask {line}"), command, Stdio::piped())
    }

    /// Returns the variables of a command in it.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        self.environment(&mut command);
        let text = |word: &OsStr| word.to_string_lossy().into_owned();
        let variables = command.get_envs();
        variables
            .filter_map(|(name, value)| Some((text(name), text(value?))))
            .collect()
    }

    pub(super) fn environment(&self, command: &mut Command) {
        let dir = self
            .root
            .parent()
            .expect("the checkout lies in the sandbox");
        command
            .current_dir(&self.root)
            .env_clear()
            .env("LANG", "C.UTF-8");
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .unwrap_or_default();
        for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            command.env(name, home.join(folder));
        }
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("CORE_ROOT", &self.root)
            .env("HOME", dir.join("home"));
        command.env("XDG_RUNTIME_DIR", dir.join("run"));
        command.env("CORE_REGISTER_DIR", self.register());
    }

    /// Runs `cargo xtask LINE`.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Run {
        self.start(line).wait()
    }

    /// Runs `cargo xtask LINE` with further variables.
    #[track_caller]
    pub(crate) fn run_with(&self, line: &str, variables: &[(&str, &str)]) -> Run {
        self.start_with(line, variables).wait()
    }
}
