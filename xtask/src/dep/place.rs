//! Where cargo builds: the target directory and profile that we came from ourselves.
//!
//! Owns recognising cargo's directories from our own executable. Must not run cargo.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::paths::Paths;

/// The file by which cargo marks a target directory.
const TARGET_MARK: &str = "CACHEDIR.TAG";
/// Cargo's memory of the toolchain, in the target directory.
const RUSTC_INFO: &str = ".rustc_info.json";
/// How much of it is read: the fingerprint comes first.
const RUSTC_INFO_HEAD_BYTES: u64 = 256;

/// A target directory and what is built into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The target directory.
    pub(super) target: PathBuf,
    /// Where binaries of the profile lie.
    pub(super) binaries: PathBuf,
    /// Name of the profile, as `--profile` takes it.
    pub(super) profile: String,
    /// The platform, if one was asked for.
    pub(super) triple: Option<String>,
}

impl Place {
    /// The place of our own executable, else the usual one of the checkout.
    pub(super) fn current(paths: &Paths, env: &Env) -> Self {
        let own = std::env::current_exe().ok();
        own.and_then(|exe| Self::of_executable(&exe))
            .unwrap_or_else(|| {
                let target = env.non_empty("CARGO_TARGET_DIR");
                let target = target.map_or_else(|| PathBuf::from("target"), PathBuf::from);
                Self::new(paths.root().join(target), "debug", None)
            })
    }

    fn new(target: PathBuf, dir: &str, triple: Option<&str>) -> Self {
        let profile = if dir == "debug" { "dev" } else { dir };
        Self {
            binaries: target.join(triple.unwrap_or_default()).join(dir),
            target,
            profile: profile.to_owned(),
            triple: triple.map(str::to_owned),
        }
    }

    /// The same profile in another target directory.
    #[cfg(test)]
    pub(super) fn move_to(&mut self, target: PathBuf) {
        *self = Self::new(target, "debug", None);
    }

    /// `TARGET/[TRIPLE/]PROFILE/[deps/|examples/]NAME`.
    fn of_executable(exe: &Path) -> Option<Self> {
        let mut dir = exe.parent()?;
        if dir.ends_with("deps") || dir.ends_with("examples") {
            dir = dir.parent()?;
        }
        let profile = dir.file_name()?.to_str()?;
        let above = dir.parent()?;
        if is_target(above) {
            return Some(Self::new(above.to_path_buf(), profile, None));
        }
        let triple = above.file_name()?.to_str()?;
        let target = above.parent().filter(|dir| is_target(dir))?;
        Some(Self::new(target.to_path_buf(), profile, Some(triple)))
    }

    /// What cargo last found of the toolchain, or `None` when it left no word.
    pub(super) fn toolchain(&self) -> Option<String> {
        let mut head = String::new();
        let file = File::open(self.target.join(RUSTC_INFO)).ok()?;
        // The cut may fall into a character; what was read before it is kept.
        let _ = file.take(RUSTC_INFO_HEAD_BYTES).read_to_string(&mut head);
        let (_, rest) = head.split_once("\"rustc_fingerprint\":")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    }
}

fn is_target(dir: &Path) -> bool {
    dir.join(TARGET_MARK).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn executables_tell_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir(&target).unwrap();
        fs::write(target.join(TARGET_MARK), "").unwrap();
        for (exe, profile, triple, binaries) in [
            ("debug/xtask", "dev", None, "debug"),
            ("debug/deps/xtask-1a", "dev", None, "debug"),
            ("debug/examples/try", "dev", None, "debug"),
            ("fast/xtask", "fast", None, "fast"),
            (
                "x86-none/release/xtask",
                "release",
                Some("x86-none"),
                "x86-none/release",
            ),
        ] {
            let place = Place::of_executable(&target.join(exe)).unwrap();
            assert_eq!(place.target, target, "{exe}");
            assert_eq!(place.profile, profile, "{exe}");
            assert_eq!(place.triple.as_deref(), triple, "{exe}");
            assert_eq!(place.binaries, target.join(binaries), "{exe}");
        }
        assert_eq!(
            Place::of_executable(&dir.path().join(".dep/controller")),
            None
        );
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
