//! Builds a program from its Go module, as pinned by `xtask/go/NAME/go.mod` and `go.sum`.
//!
//! The bytes of a build depend on the toolchain, so no digest pins them: `go.sum` and Go's checksum
//! database verify the sources. The checkout is never written to.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kit::{Exit, Failure};

use super::context::Context;
use super::got::{self, Got, Miss, Wanted};
use super::progress::Task;
use super::record::Source;
use super::store::Guard;
use super::upstreams;
use engine::base::digest;
use engine::base::tool::{self, Finished};
use engine::checkout::paths::Paths;

/// The errors of Go when a module's digest differs from `go.sum` or the checksum database.
const GO_MISMATCH: [&str; 2] = ["checksum mismatch", "SECURITY ERROR"];

/// Returns the directory whose `go.mod` pins a program.
pub(super) fn folder(paths: &Paths, name: &str) -> PathBuf {
    paths.root().join("xtask/go").join(name)
}

/// Returns the digest over the files that pin a program's modules; `None` without such files.
pub(super) fn pin(paths: &Paths, name: &str) -> Option<String> {
    let folder = folder(paths, name);
    let mut text = fs::read(folder.join("go.mod")).ok()?;
    text.extend(fs::read(folder.join("go.sum")).ok()?);
    Some(digest::of_bytes(&text))
}

/// Whether the text of a `go.mod` requires exactly this version.
pub(super) fn requires(go_mod: &str, module: &str, version: &str) -> bool {
    go_mod.lines().any(|line| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| *word == "require");
        words.next() == Some(module)
            && words.next().and_then(|word| word.strip_prefix('v')) == Some(version)
    })
}

pub(super) fn get(
    context: &Context<'_>,
    guard: &Guard,
    wanted: Wanted<'_>,
    task: &mut Task<'_>,
) -> Result<Option<Got>, Miss> {
    let upstreams = context.upstreams()?;
    let go = upstreams.programs.get(wanted.name);
    let Some(go) = go.and_then(|upstream| upstream.go.as_ref()) else {
        return Ok(None);
    };
    let folder = folder(context.paths, wanted.name);
    let (Ok(go_mod), Some(origin)) = (
        fs::read_to_string(folder.join("go.mod")),
        pin(context.paths, wanted.name),
    ) else {
        return Ok(None);
    };
    if !requires(&go_mod, &go.module, wanted.version) {
        let line = format!("`xtask/go/{}/go.mod` pins another version", wanted.name);
        return Err(Miss::Skip(line));
    }
    let Some(tool) = context.find("go") else {
        let line = format!("no `go` on PATH: install Go {} or later", language(&go_mod));
        return Err(Miss::Skip(line));
    };
    task.stage("building", Source::Go);
    let file = guard.work().join("binary");
    let mut command = Command::new(tool);
    command
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags"])
        .arg(upstreams::fill(&go.ldflags, wanted.version))
        .arg("-o")
        .arg(&file)
        .arg(&go.package)
        .current_dir(&folder);
    set_environment(&mut command, context);
    let detail = |line: &str| task.detail(line);
    let finished = tool::run(&mut command, context.limits.tool, &context.cancel, &detail)?;
    if finished.success() {
        return got::of_file(file, Some(origin)).map(Some);
    }
    Err(miss(context, &finished))
}

/// Only the committed files and the platform decide what is built.
fn set_environment(command: &mut Command, context: &Context<'_>) {
    let (os, arch) = context.platform.split_once('-').unwrap_or_default();
    command
        .env("PATH", context.path())
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env("GOOS", os)
        .env("GOARCH", arch);
    if context.options.offline {
        command.env("GOPROXY", "off");
    }
}

/// Returns the meaning of a failed build.
fn miss(context: &Context<'_>, finished: &Finished) -> Miss {
    let says = |text: &&str| finished.tail.iter().any(|line| line.contains(*text));
    if GO_MISMATCH.iter().any(says) {
        let message = format!("wrong digest of a Go module: {}", finished.report());
        return Miss::Fatal(Failure::new(Exit::Binary, message).into());
    }
    let mut lines = finished.tail.iter();
    let cause = lines.find(|line| !line.starts_with("go: downloading"));
    let line = match cause {
        Some(cause) => format!("{}: {cause}", finished.summary()),
        None => finished.summary(),
    };
    if context.options.offline {
        return Miss::Skip(format!("its modules are not all in Go's cache: {line}"));
    }
    Miss::Told(line)
}

/// Returns the Go version that a `go.mod` requires.
fn language(go_mod: &str) -> &str {
    let line = go_mod.lines().find_map(|line| line.strip_prefix("go "));
    line.unwrap_or("1.26").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_modules_pin_the_versions_of_the_lock() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap();
        let paths = Paths::new(root.to_path_buf());
        let lock = super::super::lock::Lock::load(&paths.dep_lock()).unwrap();
        let table = upstreams::Upstreams::embedded().unwrap();
        for (name, upstream) in table.programs {
            if let Some(go) = upstream.go {
                let go_mod = fs::read_to_string(folder(&paths, &name).join("go.mod")).unwrap();
                let version = &lock.programs[&name].version;
                assert!(requires(&go_mod, &go.module, version), "{name}");
                assert!(
                    go_mod.contains(&format!("\ntool {}\n", go.package)),
                    "{name}"
                );
                assert!(pin(&paths, &name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn required_version_is_exact() {
        let text = "go 1.26\n\nrequire example.com/x v1.2.3\n\
                    require (\n\texample.com/y v1.0.0 // indirect\n)";
        assert!(requires(text, "example.com/x", "1.2.3"));
        assert!(requires(text, "example.com/y", "1.0.0"));
        assert!(!requires(text, "example.com/x", "1.2"));
        assert!(!requires(text, "example.com/z", "1.0.0"));
        assert_eq!(language(text), "1.26");
    }
}
