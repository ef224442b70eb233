//! Reads every `services/*/service.json`, and the files with variables that it names.
//!
//! Owns discovery and the texts of findings. Must not resolve anything: `stack` does.

use std::fs;
use std::io;
use std::time::Duration;

use anyhow::Context as _;
use kit::manifest::Problem;
use kit::{Exit, Failure};

use crate::checkout::env::files::EnvFiles;
use crate::checkout::env::input;
use crate::checkout::paths::Paths;
use crate::plan::stack::{Finding, Service, manifest_file};

/// The name of a manifest in its directory.
pub const FILE: &str = "service.json";

/// How long the writer of a manifest that is a pipe may take.
const PIPE_WAIT: Duration = Duration::from_secs(2);

/// Returns the keys of manifests that are accepted but have no effect, each with its service.
pub fn without_effect(services: &[Service]) -> Vec<String> {
    let keys = |service: &Service| {
        let manifest = &service.document.manifest;
        let given = [
            ("scalable", manifest.scalable.is_some()),
            ("scale_strategy", manifest.scale_strategy.is_some()),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        let of = &service.name;
        let keys: Vec<String> = given.map(|(key, _)| format!("`{key}` of `{of}`")).collect();
        keys
    };
    services.iter().flat_map(keys).collect()
}

/// Returns all services of a checkout, by name. A directory without a manifest is no service.
pub fn load(paths: &Paths) -> anyhow::Result<Vec<Service>> {
    load_again(paths, &[])
}

/// Returns all services, whose manifests may have changed since `before`. The files with variables
/// that are known from then are not read again: one may be a pipe, which is read once.
pub fn load_again(paths: &Paths, before: &[Service]) -> anyhow::Result<Vec<Service>> {
    let services = read_again(paths, before)?.map_err(invalid)?;
    if services.is_empty() {
        let message = format!("no service found in `{}`", paths.services().display());
        let hint = format!("add a folder with a `{FILE}`, see docs/manifest.md");
        return Err(Failure::new(Exit::Invalid, message).hint(hint).into());
    }
    Ok(services)
}

/// Returns all services, or the findings of all manifests in the order they were found.
pub fn read(paths: &Paths) -> anyhow::Result<Result<Vec<Service>, Vec<Finding>>> {
    read_again(paths, &[])
}

fn read_again(
    paths: &Paths,
    before: &[Service],
) -> anyhow::Result<Result<Vec<Service>, Vec<Finding>>> {
    let mut env_files = EnvFiles::new(paths.root(), before);
    let mut services = Vec::new();
    let mut findings = Vec::new();
    for name in folders(paths)? {
        let file = manifest_file(&name);
        let text = match input::read_text(&paths.root().join(&file), PIPE_WAIT) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => continue,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                let problem = Problem {
                    line: 1,
                    path: String::new(),
                    message,
                };
                findings.push(Finding { file, problem });
                continue;
            }
        };
        match Service::parse(&name, &text) {
            Ok(mut service) => {
                findings.extend(env_files.attach(&mut service));
                services.push(service);
            }
            Err(problems) => findings.extend(problems),
        }
    }
    Ok(if findings.is_empty() {
        Ok(services)
    } else {
        Err(findings)
    })
}

/// Returns the error that lists all findings, one per line.
pub fn invalid(findings: Vec<Finding>) -> anyhow::Error {
    let lines: Vec<String> = findings
        .into_iter()
        .map(|found| found.to_string())
        .collect();
    let message = match lines.as_slice() {
        [only] => format!("invalid input: {only}"),
        many => format!(
            "invalid input, {} problems:\n  {}",
            many.len(),
            many.join("\n  ")
        ),
    };
    Failure::new(Exit::Invalid, message)
        .hint("nothing was changed; correct it and check with `cargo xtask render --check`")
        .into()
}

fn folders(paths: &Paths) -> anyhow::Result<Vec<String>> {
    let services = paths.services();
    let entries =
        fs::read_dir(&services)
            .with_context(|| format!("cannot list the services in `{}`", services.display()))
            .map_err(|error| {
                Failure::new(Exit::Invalid, "cannot find the services").source(error).hint(
                "run the command in a checkout of Core, or name one by the variable CORE_ROOT",
            )
            })?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.context("cannot list the services")?.file_name();
        // Hidden directories belong to editors and operating systems.
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
