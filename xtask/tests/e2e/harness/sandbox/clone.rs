//! A clone of the checkout, with cargo's builds, for tests of `cargo xtask` itself.
//!
//! Files keep their times, so that cargo rebuilds nothing. Files that are modified in place are
//! copied, files that are only replaced are hard links: a clone costs some 100 MB, not gigabytes.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{MANIFEST, OWN_SERVICES, Sandbox, binaries, list};
use crate::harness::command::{Run, Running};

/// Cargo replaces larger files and does not modify them in place.
const WRITTEN_BYTES_MAX: u64 = 128 << 10;

/// Files that belong to one checkout alone.
const NOT_CLONED: [&str; 8] = [
    ".git",
    ".env",
    ".core-stack",
    ".data",
    "target",
    ".dep",
    "node_modules",
    "dist",
];

/// How long a command may take that builds xtask or programs.
const BUILD_LIMIT: Duration = Duration::from_mins(15);

impl Sandbox {
    /// Creates a clone with Core's services alone.
    pub(crate) fn clone_of_checkout() -> Self {
        let mut clone = Self::empty();
        let checkout = binaries::checkout();
        fs::remove_dir_all(&clone.root).expect("the sandbox can be written to");
        copy_tree(&checkout, &clone.root, 0);
        // Services of a user are removed; their packages must stay members of the workspace.
        for name in list(&clone.path("services")) {
            let manifest = clone.path(&format!("services/{name}/{MANIFEST}"));
            if !OWN_SERVICES.contains(&name.as_str()) && manifest.exists() {
                fs::remove_file(manifest).expect("the sandbox can be written to");
            }
        }
        for folder in ["", ".records"] {
            let (from, to) = (
                checkout.join(".dep").join(folder),
                clone.path(".dep").join(folder),
            );
            fs::create_dir(&to).expect("the sandbox can be written to");
            for name in list(&from) {
                if from.join(&name).is_file() {
                    // With the same inode it is known to be intact.
                    link_or_copy(&from.join(&name), &to.join(&name));
                }
            }
        }
        clone.take_builds();
        for name in OWN_SERVICES {
            clone.declare_ports(name);
        }
        clone
    }

    /// Copies what cargo built for this test, if that is in the usual layout.
    fn take_builds(&self) {
        let profile = Path::new(env!("CARGO_BIN_EXE_xtask")).parent();
        let profile = profile.expect("a program lies in a folder");
        let target = profile.parent().expect("a profile lies in a folder");
        if !target.join(".rustc_info.json").is_file() {
            return;
        }
        let (own, name) = (self.path("target"), profile.file_name().unwrap_or_default());
        fs::create_dir_all(own.join(name)).expect("the sandbox can be written to");
        for file in ["CACHEDIR.TAG", ".rustc_info.json"] {
            copy(&target.join(file), &own.join(file));
        }
        for entry in list(profile) {
            let (from, to) = (profile.join(&entry), own.join(name).join(&entry));
            match entry.as_str() {
                // Only read to compile the same package again.
                "incremental" | "examples" => {}
                "deps" => link_tree(&from, &to, WRITTEN_BYTES_MAX),
                _ if from.is_dir() => link_tree(&from, &to, u64::MAX),
                _ => link_or_copy(&from, &to),
            }
        }
    }

    /// Starts `cargo LINE` in the clone, as a user calls it.
    #[track_caller]
    pub(crate) fn start_cargo(&self, line: &str) -> Running {
        let mut command = self.cargo_command();
        command.args(line.split_whitespace());
        Running::spawn(&format!("cargo {line}"), command)
    }

    fn cargo_command(&self) -> Command {
        let cargo = std::env::var("CARGO").expect("cargo runs the tests");
        let mut command = Command::new(cargo);
        self.environment(&mut command);
        command
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("CORE_ROOT");
        command
    }

    /// Runs `cargo LINE`.
    #[track_caller]
    pub(crate) fn cargo(&self, line: &str) -> Run {
        self.start_cargo(line).wait_for(BUILD_LIMIT)
    }

    /// Runs a program of the clone, by its path from the root, as a user calls it.
    #[track_caller]
    pub(crate) fn program_of_its_own(&self, line: &str) -> Run {
        let mut words = line.split_whitespace();
        let mut command = Command::new(self.path(words.next().unwrap_or_default()));
        command.args(words);
        self.environment(&mut command);
        command.env_remove("CORE_ROOT");
        Running::spawn(line, command).wait()
    }

    /// Moves the checkout with its content.
    pub(crate) fn move_to(&mut self, name: &str) {
        let to = self.root.with_file_name(name);
        fs::rename(&self.root, &to).expect("a checkout can be moved");
        self.root = to;
    }

    /// Runs `git WORDS` in the clone, with a separate user name.
    #[track_caller]
    pub(crate) fn git(&self, words: &[&str]) -> Run {
        let mut command = Command::new("git");
        let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        command
            .args(identity)
            .args(["-c", "commit.gpgsign=false"])
            .args(words);
        self.environment(&mut command);
        Running::spawn(&format!("git {}", words.join(" ")), command).wait()
    }
}

/// Copies a file with its times. Ignores a file that disappears meanwhile, as another build may run
/// beside us.
fn copy(from: &Path, to: &Path) {
    if fs::copy(from, to).is_err() {
        return;
    }
    let modified = fs::metadata(from).and_then(|meta| meta.modified());
    // Programs of cargo may be read-only.
    let file = File::options().read(true).open(to);
    if let (Ok(modified), Ok(file)) = (modified, file) {
        file.set_modified(modified).expect("times can be set");
    }
}

fn link_or_copy(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        copy(from, to);
    }
}

/// Copies everything except what belongs to one checkout alone; links stay links.
fn copy_tree(from: &Path, to: &Path, depth: usize) {
    fs::create_dir_all(to).expect("the sandbox can be written to");
    for name in list(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if NOT_CLONED.contains(&name.as_str()) && (depth == 0 || name == "node_modules") {
            continue;
        }
        if from.is_symlink() {
            let target = fs::read_link(&from).expect("a link can be read");
            std::os::unix::fs::symlink(target, to).expect("a link can be made");
        } else if from.is_dir() {
            copy_tree(&from, &to, depth + 1);
        } else {
            copy(&from, &to);
        }
    }
}

/// Makes hard links of files larger than `bytes`, and copies of the others, with their times.
fn link_tree(from: &Path, to: &Path, bytes: u64) {
    fs::create_dir_all(to).expect("the sandbox can be written to");
    for name in list(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        match fs::symlink_metadata(&from) {
            Ok(meta) if meta.is_dir() => link_tree(&from, &to, bytes),
            Ok(meta) if meta.len() > bytes => link_or_copy(&from, &to),
            Ok(_) => copy(&from, &to),
            Err(_) => {}
        }
    }
}
