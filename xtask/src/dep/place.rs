//! Where cargo builds: from the path of our own program, and from cargo itself.
//!
//! The first costs nothing, and an `up` with nothing to build uses only that: it distinguishes two
//! layouts, and where cargo records its toolchain. The second is used only when something is built
//! anyway, as target and build directories can be moved in many ways.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file by which cargo marks a target directory, and a platform's directory in it.
const TARGET_MARK: &str = "CACHEDIR.TAG";
/// Cargo's cache of the toolchain, in the build directory.
const RUSTC_INFO: &str = ".rustc_info.json";
/// How many bytes of it are read: the fingerprint comes first.
const RUSTC_INFO_HEAD_BYTES: u64 = 256;

/// A target directory and the layout below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// The target directory.
    pub(super) target: PathBuf,
    /// The build directory: the same, unless cargo is configured with another one.
    pub(super) build: PathBuf,
    /// Name of the profile, as an argument of `--profile`.
    pub(super) profile: String,
    /// The platform, if the layout has a directory for it.
    pub(super) triple: Option<String>,
}

/// The answer of `cargo metadata`.
#[derive(Debug, Deserialize)]
pub(super) struct Layout {
    target_directory: PathBuf,
    /// Reported by cargo 1.91 and later.
    build_directory: Option<PathBuf>,
}

impl Place {
    fn new(target: PathBuf, dir: &str, triple: Option<&str>) -> Self {
        let profile = if dir == "debug" { "dev" } else { dir };
        Self {
            build: target.clone(),
            target,
            profile: profile.to_owned(),
            triple: triple.map(str::to_owned),
        }
    }

    /// Returns the place that cargo builds into by default.
    pub(super) fn usual(layout: &Layout) -> Self {
        Self::new(layout.target_directory.clone(), "debug", None).built_in(layout)
    }

    /// Returns the place in a target directory with the profile `dev`.
    #[cfg(test)]
    pub(super) fn dev(target: PathBuf) -> Self {
        Self::new(target, "debug", None)
    }

    /// Parses `TARGET/[TRIPLE/]PROFILE/[deps/|examples/]NAME`. A target directory inside another
    /// one looks like a platform's directory, but only in the former cargo records the toolchain.
    pub(super) fn of_program(program: &Path) -> Option<Self> {
        let dir = profile_directory(program)?;
        let profile = dir.file_name()?.to_str()?;
        let above = dir.parent()?;
        if !is_target(above) {
            return None;
        }
        let name = above.file_name().and_then(|name| name.to_str());
        let outer = above.parent().filter(|dir| is_target(dir));
        Some(match (outer, name) {
            (Some(target), Some(triple)) if !above.join(RUSTC_INFO).is_file() => {
                Self::new(target.to_path_buf(), profile, Some(triple))
            }
            _ => Self::new(above.to_path_buf(), profile, None),
        })
    }

    /// Returns this place as cargo reports it: the layout below a target directory that it knows,
    /// and the build directory.
    pub(super) fn corrected(&self, program: &Path, layout: &Layout) -> Self {
        let target = &layout.target_directory;
        let inside = profile_directory(program).and_then(|dir| dir.strip_prefix(target).ok());
        let names: Vec<&str> = inside
            .into_iter()
            .flat_map(Path::iter)
            .filter_map(|name| name.to_str())
            .collect();
        let corrected = match names.as_slice() {
            [profile] => Self::new(target.clone(), profile, None),
            [triple, profile] => Self::new(target.clone(), profile, Some(triple)),
            // Another one, given on a command line.
            _ => self.clone(),
        };
        corrected.built_in(layout)
    }

    /// Returns this place with cargo's build directory, which follows the target directory unless
    /// it is configured.
    fn built_in(self, layout: &Layout) -> Self {
        let build = layout.build_directory.as_ref();
        match build.filter(|build| **build != layout.target_directory) {
            Some(build) => Self {
                build: build.clone(),
                ..self
            },
            None => self,
        }
    }

    /// Whether cargo builds here by default.
    pub(super) fn is_usual(&self, layout: &Layout) -> bool {
        self.target == layout.target_directory
    }

    /// Makes directories below `root` relative to it: a checkout may be moved.
    pub(super) fn relative_to(&self, root: &Path) -> Self {
        let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_path_buf();
        Self {
            target: relative(&self.target),
            build: relative(&self.build),
            ..self.clone()
        }
    }

    /// The inverse of `relative_to`.
    pub(super) fn below(&self, root: &Path) -> Self {
        Self {
            target: root.join(&self.target),
            build: root.join(&self.build),
            ..self.clone()
        }
    }

    /// Returns what cargo last recorded of the toolchain, or `None` without a record.
    pub(super) fn toolchain(&self) -> Option<String> {
        let mut head = String::new();
        let file = File::open(self.build.join(RUSTC_INFO)).ok()?;
        // The limit may split a character; what was read before it is kept.
        let _ = file.take(RUSTC_INFO_HEAD_BYTES).read_to_string(&mut head);
        let (_, rest) = head.split_once("\"rustc_fingerprint\":")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    }
}

/// Returns the directory with the name of the profile.
fn profile_directory(program: &Path) -> Option<&Path> {
    let dir = program.parent()?;
    if dir.ends_with("deps") || dir.ends_with("examples") {
        return dir.parent();
    }
    Some(dir)
}

fn is_target(dir: &Path) -> bool {
    dir.join(TARGET_MARK).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn layout(target: &Path, build: &Path) -> Layout {
        Layout {
            target_directory: target.to_path_buf(),
            build_directory: Some(build.to_path_buf()),
        }
    }

    /// Creates the marks of a directory as cargo does, with a record of the toolchain if wanted.
    fn mark(dir: &Path, toolchain: bool) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(TARGET_MARK), "").unwrap();
        if toolchain {
            fs::write(dir.join(RUSTC_INFO), "{\"rustc_fingerprint\":1,").unwrap();
        }
    }

    #[test]
    fn programs_tell_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        mark(&target, true);
        mark(&target.join("x86-none"), false);
        mark(&target.join("inner"), true);
        for (exe, within, profile, triple) in [
            ("debug/xtask", "", "dev", None),
            ("debug/deps/xtask-1a", "", "dev", None),
            ("debug/examples/try", "", "dev", None),
            ("fast/xtask", "", "fast", None),
            ("x86-none/release/xtask", "", "release", Some("x86-none")),
            ("x86-none/debug/deps/e2e-1", "", "dev", Some("x86-none")),
            ("inner/debug/xtask", "inner", "dev", None),
        ] {
            let place = Place::of_program(&target.join(exe)).unwrap();
            let expected = target.join(within).components().collect::<PathBuf>();
            assert_eq!(place.target, expected, "{exe}");
            assert_eq!(place.profile, profile, "{exe}");
            assert_eq!(place.triple.as_deref(), triple, "{exe}");
        }
        assert_eq!(Place::of_program(&dir.path().join(".dep/controller")), None);
    }

    #[test]
    fn cargo_knows_better() {
        let dir = tempfile::tempdir().unwrap();
        let (target, build) = (dir.path().join("out"), dir.path().join("b"));
        mark(&target, false);
        // A target directory inside another one, without a toolchain record: that is elsewhere.
        let inner = target.join("inner");
        mark(&inner, false);
        let exe = inner.join("debug/xtask");
        let guessed = Place::of_program(&exe).unwrap();
        assert_eq!(guessed.triple.as_deref(), Some("inner"));
        let said = guessed.corrected(&exe, &layout(&inner, &build));
        assert_eq!((said.target, said.build), (inner.clone(), build.clone()));
        assert_eq!(said.triple, None);
        // Built into a directory that cargo does not know: `--target-dir`.
        let elsewhere = layout(Path::new("/elsewhere"), Path::new("/elsewhere"));
        assert_eq!(guessed.corrected(&exe, &elsewhere), guessed);
        assert!(!guessed.is_usual(&elsewhere));
    }

    #[test]
    fn a_checkout_may_be_moved() {
        let layout = layout(Path::new("/a/target"), Path::new("/cache/b"));
        let place = Place::usual(&layout).relative_to(Path::new("/a"));
        let moved = place.below(Path::new("/other"));
        assert_eq!(moved.target, Path::new("/other/target"));
        assert_eq!(moved.build, Path::new("/cache/b"));
    }

    #[test]
    fn toolchain_is_read_from_the_head_of_a_long_file() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path().to_path_buf(), "debug", None);
        assert_eq!(place.toolchain(), None);
        let text = format!(
            "{{\"rustc_fingerprint\":123,\"outputs\":\"{}\"}}",
            "ä".repeat(999)
        );
        fs::write(dir.path().join(RUSTC_INFO), text).unwrap();
        assert_eq!(place.toolchain().as_deref(), Some("123"));
        fs::write(dir.path().join(RUSTC_INFO), "{}").unwrap();
        assert_eq!(place.toolchain(), None);
    }
}
