//! Resolves the pins of one program at one version: from the checksums that its upstream publishes,
//! from wheels, and from Go.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, anyhow};
use kit::{Exit, Failure};
use sha2::{Digest as _, Sha512};

use super::context::Context;
use super::fetch;
use super::got::{self, Miss};
use super::limits::Limits;
use super::lock::{Artefact, Artefacts, Program};
use super::net::{Net, Problem};
use super::progress::Task;
use super::upstreams::{Go, Platform, Release, Upstream, Wheel, fill};
use super::{archive, digest, gomod, wheel};
use engine::base::tool;

/// Largest size of a file of checksums.
const CHECKSUMS_BYTES_MAX: u64 = 1 << 20;
/// Hex digits of a SHA-512.
const SHA512_HEX_DIGITS: usize = 128;
/// The errors of pip when the index has no wheel for a platform.
const PIP_NOTHING: [&str; 2] = ["No matching distribution", "Could not find a version"];
/// Mode of committed files.
const COMMITTED_FILE_MODE: u32 = 0o644;

/// A new `go.mod` and `go.sum`.
#[derive(Debug)]
pub(super) struct GoFiles {
    go_mod: Vec<u8>,
    go_sum: Vec<u8>,
}

/// What was resolved for a program.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) program: Program,
    pub(super) go: Option<GoFiles>,
    pub(super) notes: Vec<String>,
}

/// One program during resolution.
struct Resolver<'a> {
    context: &'a Context<'a>,
    name: &'a str,
    version: &'a str,
    /// Its current pins.
    known: Option<&'a Program>,
    work: &'a Path,
    task: Task<'a>,
    notes: Vec<String>,
}

/// Resolves a program with files in `work`, a directory that is created.
pub(super) fn program(
    context: &Context<'_>,
    name: &str,
    version: &str,
    known: Option<&Program>,
    work: &Path,
) -> anyhow::Result<Resolved> {
    let table = context.upstreams()?;
    let upstream = table.programs.get(name).ok_or_else(|| {
        Failure::new(
            Exit::Binary,
            format!("cannot pin `{name}`: it is not a known upstream"),
        )
        .hint("add it to `xtask/upstreams.json`")
    })?;
    wheel::make_dir(work)?;
    let resolver = Resolver {
        context,
        name,
        version,
        known: known.filter(|program| program.version == version),
        work,
        task: Task::new(context.ui, format!("{name} {version}")),
        notes: Vec::new(),
    };
    let pins = resolver.resolve(upstream, &table.platforms);
    pins.map_err(|miss| match miss {
        Miss::Fatal(error) => error,
        Miss::Skip(line) | Miss::Told(line) => Failure::new(
            Exit::Binary,
            format!("cannot pin `{name}` {version}: {line}"),
        )
        .hint("`dep.lock` is unchanged; check the version and the network")
        .into(),
    })
}

impl Resolver<'_> {
    fn resolve(
        mut self,
        upstream: &Upstream,
        platforms: &BTreeMap<String, Platform>,
    ) -> Result<Resolved, Miss> {
        self.task.stage("resolving", "checksums");
        let mut pinned: BTreeMap<String, Artefacts> = BTreeMap::new();
        if let Some(release) = &upstream.release {
            let sums = self.checksums(release)?;
            for (platform, places) in platforms {
                let archive = self.archive(release, &sums, platform, places)?;
                pinned.entry(platform.clone()).or_default().archive = archive;
            }
        }
        if let Some(wheel) = &upstream.wheel {
            self.task.stage("resolving", "wheels");
            for (platform, places) in platforms {
                let wheel = self.wheel(wheel, platform, places)?;
                pinned.entry(platform.clone()).or_default().wheel = wheel;
            }
        }
        let go = match &upstream.go {
            Some(go) => self.go(go)?,
            None => None,
        };
        pinned.retain(|_, artefacts| *artefacts != Artefacts::default());
        Ok(Resolved {
            program: Program {
                version: self.version.to_owned(),
                platforms: pinned,
            },
            go,
            notes: self.notes,
        })
    }

    /// Returns digests by file name.
    fn checksums(&self, release: &Release) -> Result<BTreeMap<String, String>, Miss> {
        let of_version = |template| fill(template, self.version);
        let url = format!(
            "{}/{}",
            of_version(&release.base),
            of_version(&release.checksums)
        );
        let limits = Limits {
            download_bytes: CHECKSUMS_BYTES_MAX,
            ..self.context.limits.clone()
        };
        let net = Net::new(limits, self.context.mirror());
        let mut text = Vec::new();
        let got = net.download(&url, &mut text, &self.context.cancel, &|_, _| {});
        got.map_err(|problem| match problem {
            Problem::Unreachable(line) | Problem::Failed(line) => Miss::Skip(line),
            Problem::Cancelled => Miss::Fatal(super::cancelled()),
        })?;
        let sums = parse_checksums(&String::from_utf8_lossy(&text));
        if sums.is_empty() {
            return Err(Miss::Skip(format!("{url} holds no checksums")));
        }
        Ok(sums)
    }

    fn archive(
        &mut self,
        release: &Release,
        sums: &BTreeMap<String, String>,
        platform: &str,
        places: &Platform,
    ) -> Result<Option<Artefact>, Miss> {
        let of_platform = |template| release.fill(template, self.version, places);
        let name = of_platform(&release.archive);
        let mut pin = Artefact {
            location: format!("{}/{name}", of_platform(&release.base)),
            file: of_platform(&release.file),
            download: None,
            binary: None,
        };
        match sums.get(&name) {
            Some(sum) if digest::is_sha256(sum) => pin.download = Some(sum.clone()),
            Some(sum) => {
                // Only after its SHA-512 was verified can our own digest of it be trusted.
                let file = self.work.join(format!("{platform}-archive"));
                let sha256 =
                    fetch::download_archive(self.context, &pin.location, &file, &mut self.task)?;
                let bytes = fs::read(&file).map_err(|error| Miss::Fatal(error.into()))?;
                let found = digest::hex(&Sha512::digest(&bytes));
                got::check(&pin.location, sum, &found)?;
                pin.binary = Some(self.binary(&file, &name, &pin.file, platform)?);
                pin.download = Some(sha256);
            }
            None => {
                self.notes
                    .push(format!("no release archive for {platform}"));
                return Ok(None);
            }
        }
        Ok(Some(pin))
    }

    fn binary(&self, file: &Path, name: &str, inner: &str, platform: &str) -> Result<String, Miss> {
        let target = self.work.join(format!("{platform}-binary-of-{name}"));
        let limit = self.context.limits.unpacked_bytes;
        let sha256 = archive::extract(file, name, inner, &target, limit);
        // Archives of four platforms and three programs: half a gigabyte that is not needed.
        let _ = fs::remove_file(target);
        let _ = fs::remove_file(file);
        sha256.map_err(|error| Miss::Skip(format!("{error:#}")))
    }

    fn wheel(
        &mut self,
        wheel: &Wheel,
        platform: &str,
        places: &Platform,
    ) -> Result<Option<Artefact>, Miss> {
        let Ok(python) = wheel::python(self.context) else {
            return Ok(self.keep_wheel(platform));
        };
        let location = format!("{}=={}", wheel.package, self.version);
        let dir = self.work.join(format!("{platform}-wheel"));
        wheel::make_dir(&dir)?;
        let tags = places.wheel_tags.iter();
        let args: Vec<&str> = tags.flat_map(|tag| ["--platform", tag.as_str()]).collect();
        let line = format!("{location}\n");
        let finished = wheel::download(self.context, &python, &dir, &line, &args, &self.task)?;
        let nothing = |line: &String| PIP_NOTHING.iter().any(|text| line.contains(text));
        if !finished.success() && finished.tail.iter().any(nothing) {
            self.notes.push(format!("no wheel for {platform}"));
            return Ok(None);
        }
        let file = wheel::check(&location, &finished, &dir)?;
        let inner = fill(&wheel.file, self.version);
        let download = digest::of_file(&file)?;
        let binary = self.binary(&file, "wheel.whl", &inner, platform)?;
        Ok(Some(Artefact {
            location,
            file: inner,
            download: Some(download),
            binary: Some(binary),
        }))
    }

    /// Without pip the pins of the same version are kept.
    fn keep_wheel(&mut self, platform: &str) -> Option<Artefact> {
        let kept = self
            .known
            .and_then(|program| program.artefacts(platform).wheel);
        let what = if kept.is_some() {
            "not checked"
        } else {
            "not pinned"
        };
        let note = format!("wheel for {platform} {what}: no `python3` on PATH");
        self.notes.push(note);
        kept
    }

    /// Returns `go.mod` and `go.sum` for the version, unless they already match.
    fn go(&mut self, go: &Go) -> Result<Option<GoFiles>, Miss> {
        let folder = gomod::folder(self.context.paths, self.name);
        let Ok(go_mod) = fs::read_to_string(folder.join("go.mod")) else {
            return Ok(None);
        };
        if gomod::requires(&go_mod, &go.module, self.version) {
            return Ok(None);
        }
        let Some(tool) = self.context.find("go") else {
            let folder = format!("xtask/go/{}", self.name);
            let note = format!("`{folder}` stays at its version: no `go` on PATH");
            self.notes.push(note);
            return Ok(None);
        };
        self.task.stage("resolving", "go");
        let copy = self.work.join("go");
        copy_dir(&folder, &copy)?;
        let mut command = Command::new(tool);
        command
            .args(["get", "-tool", &format!("{}@v{}", go.package, self.version)])
            .current_dir(&copy)
            .env("PATH", self.context.path())
            .env("GOFLAGS", "-mod=mod")
            .env("GOWORK", "off");
        let detail = |line: &str| self.task.detail(line);
        let (limit, cancel) = (self.context.limits.tool, &self.context.cancel);
        let finished = tool::run(&mut command, limit, cancel, &detail)?;
        if !finished.success() {
            return Err(Miss::Skip(finished.report()));
        }
        let read = |name: &str| fs::read(copy.join(name)).map_err(|e| Miss::Fatal(e.into()));
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        if !gomod::requires(&String::from_utf8_lossy(&go_mod), &go.module, self.version) {
            let line = format!("go did not take {} v{}", go.module, self.version);
            return Err(Miss::Skip(line));
        }
        Ok(Some(GoFiles { go_mod, go_sum }))
    }
}

/// Writes new Go files, if there are any. Returns whether there were any.
pub(super) fn write_go(
    context: &Context<'_>,
    name: &str,
    resolved: &Resolved,
) -> anyhow::Result<bool> {
    let Some(GoFiles { go_mod, go_sum }) = &resolved.go else {
        return Ok(false);
    };
    let folder = gomod::folder(context.paths, name);
    for (file, bytes) in [("go.sum", go_sum), ("go.mod", go_mod)] {
        kit::files::write_atomically(&folder.join(file), bytes, COMMITTED_FILE_MODE)?;
    }
    Ok(true)
}

/// Parses lines `DIGEST  NAME` or `DIGEST *NAME`, SHA-256 or SHA-512; ignores others.
fn parse_checksums(text: &str) -> BTreeMap<String, String> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(sum), Some(name), None) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let known = sum.len() == SHA512_HEX_DIGITS || digest::is_sha256(sum);
        if known && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let name = name.trim_start_matches('*').trim_start_matches("./");
            sums.insert(name.to_owned(), sum.to_ascii_lowercase());
        }
    }
    sums
}

/// Copies a directory recursively; links are not followed.
fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    wheel::make_dir(to)?;
    let read = || anyhow!("cannot read `{}`", from.display());
    for entry in fs::read_dir(from).with_context(read)? {
        let entry = entry.with_context(read)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().with_context(read)?.is_dir() {
            copy_dir(&source, &target)?;
        } else {
            fs::copy(&source, &target)
                .with_context(|| format!("cannot copy `{}`", source.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_in_all_their_forms() {
        let (short, long) = ("a".repeat(64), "B".repeat(128));
        let text = format!("{short}  one.zip\n{short} *two.zip\n{long}  three\n\n# no\nab  four\n");
        let sums = parse_checksums(&text);
        assert_eq!(sums.len(), 3, "{sums:?}");
        assert_eq!(sums["two.zip"], short);
        assert_eq!(sums["three"], "b".repeat(128));
    }
}
