//! The table of upstream programs: where each is published, as data.
//!
//! Owns the shape of `xtask/upstreams.json` and filling in its templates. A new upstream is a new
//! entry there, never code.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

/// The table of this checkout.
const TABLE: &str = include_str!("../../upstreams.json");

/// The whole table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstreams {
    /// Platforms that `dep update` pins.
    pub(super) platforms: BTreeMap<String, Platform>,
    /// Programs by their name in `.dep/`.
    pub(super) programs: BTreeMap<String, Upstream>,
}

/// The names of a platform elsewhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Platform {
    /// The usual name of the operating system in archive names.
    pub(super) os: String,
    /// The usual name of the processor in archive names.
    pub(super) arch: String,
    /// Platform tags of wheels for the platform, most modern first.
    pub(super) wheel_tags: Vec<String>,
}

/// Where one program comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    pub(super) release: Option<Release>,
    pub(super) wheel: Option<Wheel>,
    pub(super) go: Option<Go>,
    pub(super) system: Option<System>,
}

/// Release archives. The texts are templates with `{version}`, `{os}`, `{arch}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    /// The address of the directory of the files.
    pub(super) base: String,
    /// Name of the archive.
    pub(super) archive: String,
    /// The path of the binary inside.
    pub(super) file: String,
    /// Name of the file of checksums, in the format of `sha256sum`.
    pub(super) checksums: String,
    /// Names of operating systems that differ from the usual ones.
    #[serde(default)]
    pub(super) os_names: BTreeMap<String, String>,
}

/// A package with the binary in a wheel of the same version.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wheel {
    /// Name of the package.
    pub(super) package: String,
    /// The path of the binary inside; a template with `{version}`.
    pub(super) file: String,
}

/// A Go program, pinned by `xtask/go/NAME/go.mod` and `go.sum`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Go {
    /// The module whose version is that of the program.
    pub(super) module: String,
    /// The package to build.
    pub(super) package: String,
    /// Flags for the linker; a template with `{version}`.
    pub(super) ldflags: String,
}

/// The program as a system installs it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct System {
    /// Its name on PATH.
    pub(super) program: String,
    /// The arguments that print its version.
    pub(super) args: Vec<String>,
}

impl Upstreams {
    /// Returns the table of this checkout at the time of our build.
    pub(super) fn embedded() -> anyhow::Result<Self> {
        serde_json::from_str(TABLE).context("cannot read `xtask/upstreams.json`")
    }
}

impl Release {
    /// Fills in a template for a platform.
    pub(super) fn fill(&self, template: &str, version: &str, platform: &Platform) -> String {
        let os = self.os_names.get(&platform.os).unwrap_or(&platform.os);
        fill(template, version)
            .replace("{os}", os)
            .replace("{arch}", &platform.arch)
    }
}

/// Fills in `{version}`.
pub(super) fn fill(template: &str, version: &str) -> String {
    template.replace("{version}", version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dep::lock::Lock;

    #[test]
    fn table_and_lock_name_the_same_programs_and_places() {
        let table = Upstreams::embedded().unwrap();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap();
        let lock = Lock::load(&root.join("dep.lock")).unwrap();
        assert!(table.programs.keys().eq(lock.programs.keys()));
        for (name, program) in &lock.programs {
            let upstream = &table.programs[name];
            for (platform, artefacts) in &program.platforms {
                let places = &table.platforms[platform];
                if let (Some(release), Some(archive)) = (&upstream.release, &artefacts.archive) {
                    let fill = |template| release.fill(template, &program.version, places);
                    let url = format!("{}/{}", fill(&release.base), fill(&release.archive));
                    assert_eq!(archive.location, url);
                    assert_eq!(archive.file, fill(&release.file));
                }
                if let (Some(wheel), Some(pin)) = (&upstream.wheel, &artefacts.wheel) {
                    assert_eq!(
                        pin.location,
                        format!("{}=={}", wheel.package, program.version)
                    );
                    assert_eq!(pin.file, fill(&wheel.file, &program.version));
                }
            }
        }
    }
}
