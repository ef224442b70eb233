//! Whether a built binary still matches its sources, without a call of cargo.
//!
//! Owns the digest over all inputs of a wrapper: contents, not times, because a cache restores
//! files with new times. It runs on every `up`: files are read once for all wrappers.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use sha2::{Digest as _, Sha256};

use super::place::Place;
use super::record::Build;
use engine::base::digest::hex;
use engine::plan::env::{Env, Origin};

/// Files of the workspace that affect every package.
const WORKSPACE_FILES: [&str; 5] = [
    ".cargo/config.toml",
    "Cargo.lock",
    "Cargo.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
];
/// Variables that change what cargo builds.
const VARIABLES: [&str; 5] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];
/// Prefixes of further ones.
const VARIABLE_PREFIXES: [&str; 4] = [
    "CARGO_BUILD_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
];
/// Exceptions: output directories, and what cargo sets for tests.
const VARIABLES_LEFT_OUT: [&str; 4] = [
    "CARGO_BUILD_JOBS",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_TARGET_TMPDIR",
];

/// Computes digests of builds; caches the files it read.
pub(super) struct Freshness<'a> {
    root: &'a Path,
    /// Where our own program was built.
    own: Option<&'a Place>,
    /// The flags.
    flags: String,
    /// Toolchain, profile and flags, by place; `None` when the toolchain is unknown.
    bases: RefCell<HashMap<PathBuf, Option<String>>>,
    files: RefCell<HashMap<String, Option<[u8; 32]>>>,
}

/// The result of a build of a package.
#[derive(Debug, Clone, Copy)]
pub(super) struct Built<'a> {
    /// Directory of the package, relative to the root.
    pub(super) path: &'a str,
    /// The program.
    pub(super) program: &'a Path,
    /// Where it was built.
    pub(super) place: &'a Place,
    /// When cargo was started.
    pub(super) started: SystemTime,
}

impl<'a> Freshness<'a> {
    pub(super) fn new(root: &'a Path, own: Option<&'a Place>, env: &Env) -> Self {
        let of_process = env
            .iter()
            .filter(|(name, _)| counts(name) && env.origin(name) == Some(Origin::Process));
        Self {
            root,
            own,
            flags: of_process
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect(),
            bases: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// Whether a build of the package at `path` still matches its inputs.
    pub(super) fn is_fresh(&self, path: &str, build: &Build) -> bool {
        let place = build.place.as_ref().map(|place| place.below(self.root));
        build.path == path
            && build.digest.is_some()
            && build.digest == self.digest(&build.inputs, place.as_ref())
    }

    /// Returns toolchain, profile and flags of a build in a place. Our own place tells more about
    /// the layout than a recorded one, but not where the build directory is.
    fn base(&self, built: Option<&Place>) -> Option<String> {
        let place = match (self.own, built) {
            (Some(own), Some(built)) if own.target == built.target => Place {
                build: built.build.clone(),
                ..own.clone()
            },
            (Some(own), _) => own.clone(),
            (None, built) => built?.clone(),
        };
        let mut bases = self.bases.borrow_mut();
        let base = || {
            let triple = place.triple.as_deref().unwrap_or_default();
            let toolchain = place.toolchain()?;
            let (profile, flags) = (&place.profile, &self.flags);
            Some(format!("{toolchain}\n{profile}\n{triple}\n{flags}"))
        };
        let known = bases.entry(place.build.clone());
        known.or_insert_with(base).clone()
    }

    /// Returns the digest over inputs; `None` when the toolchain is unknown.
    fn digest(&self, inputs: &[String], place: Option<&Place>) -> Option<String> {
        let mut hasher = Sha256::new();
        hasher.update(self.base(place)?);
        let mut files = self.files.borrow_mut();
        for input in inputs {
            if !files.contains_key(input) {
                let content = fs::read(self.root.join(input)).ok();
                let digest = content.map(|bytes| Sha256::digest(&bytes).into());
                files.insert(input.clone(), digest);
            }
            hasher.update(input);
            match files.get(input) {
                Some(Some(digest)) => {
                    hasher.update([1]);
                    hasher.update(digest);
                }
                _ => hasher.update([0]),
            }
        }
        Some(hex(&hasher.finalize()))
    }

    /// Returns what a binary was built from, after cargo built it.
    pub(super) fn describe(&self, built: Built<'_>) -> anyhow::Result<Build> {
        let Built {
            path,
            program,
            place,
            started,
        } = built;
        let file = program.with_extension("d");
        let text = fs::read_to_string(&file)
            .with_context(|| format!("cannot read `{}`", file.display()))?;
        let sources = launcher::parse_dep_info(&text)
            .ok_or_else(|| anyhow!("cannot understand `{}`", file.display()))?;
        let inputs = self.inputs(path, place, &sources);
        // The build may or may not have read a file that changed meanwhile.
        let changed = inputs.iter().any(|input| {
            let modified = fs::metadata(self.root.join(input)).and_then(|meta| meta.modified());
            modified.is_ok_and(|modified| modified >= started)
        });
        let digest = if changed {
            None
        } else {
            self.digest(&inputs, Some(place))
        };
        Ok(Build {
            path: path.to_owned(),
            inputs,
            digest,
            place: Some(place.relative_to(self.root)),
        })
    }

    /// Returns the relevant files of the workspace, relative to the root, sorted. Absent files are
    /// included: creating one is a change.
    fn inputs(&self, path: &str, place: &Place, sources: &[PathBuf]) -> Vec<String> {
        let mut inputs: BTreeSet<String> = WORKSPACE_FILES.map(str::to_owned).into();
        let mut packages = BTreeSet::from([PathBuf::from(path)]);
        for source in sources {
            // Files that a build script generated follow from the others.
            if source.starts_with(&place.target) || source.starts_with(&place.build) {
                continue;
            }
            let source = self.root.join(source);
            let Ok(relative) = source.strip_prefix(self.root) else {
                continue;
            };
            if let Some(text) = relative.to_str() {
                inputs.insert(text.to_owned());
            }
            let package = relative
                .ancestors()
                .skip(1)
                .find(|dir| self.root.join(dir).join("Cargo.toml").is_file());
            packages.extend(package.map(Path::to_path_buf));
        }
        for package in &packages {
            let files = ["Cargo.toml", "build.rs"].map(|name| package.join(name));
            inputs.extend(
                files
                    .iter()
                    .filter_map(|file| Some(file.to_str()?.to_owned())),
            );
        }
        inputs.into_iter().collect()
    }
}

/// Whether a variable changes what cargo builds.
pub(super) fn counts(name: &str) -> bool {
    if VARIABLES_LEFT_OUT.contains(&name) {
        return false;
    }
    VARIABLES.contains(&name)
        || VARIABLE_PREFIXES
            .iter()
            .any(|start| name.starts_with(start))
}

/// Returns the names of the package and of its binary from a `Cargo.toml`.
pub(super) fn package_names(root: &Path, path: &str) -> anyhow::Result<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        package: Named,
        #[serde(default)]
        bin: Vec<Named>,
    }
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let file = root.join(path).join("Cargo.toml");
    let read = |file: &Path| -> anyhow::Result<Manifest> {
        let text = fs::read_to_string(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow!("there is no such file"),
            _ => error.into(),
        })?;
        Ok(toml::from_str(&text)?)
    };
    let manifest = read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let package = manifest.package.name;
    let binary = match manifest.bin.as_slice() {
        [only] => only.name.clone(),
        _ => package.clone(),
    };
    Ok((package, binary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_count_and_places_do_not() {
        for (name, expected) in [
            ("RUSTFLAGS", true),
            ("CARGO_BUILD_RUSTFLAGS", true),
            ("CARGO_PROFILE_DEV_OPT_LEVEL", true),
            ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", true),
            ("CARGO_TARGET_DIR", false),
            ("CARGO_TARGET_TMPDIR", false),
            ("CARGO_MANIFEST_DIR", false),
            ("PATH", false),
        ] {
            assert_eq!(counts(name), expected, "{name}");
        }
    }

    #[test]
    fn names_of_package_and_binary() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(dir.path().join("Cargo.toml"), text).unwrap();
        let names = || package_names(dir.path(), "").unwrap();
        write("[package]\nname = 'a'\n");
        assert_eq!(names(), ("a".into(), "a".into()));
        write("[package]\nname = 'a'\n[[bin]]\nname = 'b'\npath = 'b.rs'\n");
        assert_eq!(names(), ("a".into(), "b".into()));
        assert!(package_names(dir.path(), "absent").is_err());
    }
}
