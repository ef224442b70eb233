//! PURE: where every resolved value of a service comes from.
//!
//! The resolver records it while it resolves. Must never show a secret, not even as the text of a
//! manifest.

use std::fmt;

use serde::Serialize;

use super::inherit::{self, Inherited};
use super::process::Resolver;
use super::template::{Source, Template};
use super::{MASK, Places, Process, Service, build, hosts, port_variable, ports, routes};
use crate::plan::env::{Env, Origin};

/// One resolved value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its key in the manifest: `process.env.NATS_HOST`.
    pub key: String,
    /// Its value; a secret is masked.
    pub value: String,
    /// Where the value comes from: its place, then the sources of its placeholders.
    pub from: Vec<Provenance>,
}

/// Where a value, or a part of one, comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Provenance {
    /// A line of a manifest.
    Manifest {
        /// Its path from the root.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment of the command.
    Environment {
        /// Its name.
        name: String,
    },
    /// A variable of `.env`.
    #[serde(rename = ".env")]
    DotEnv {
        /// Its name.
        name: String,
    },
    /// A line of a file that `process.env_file` names.
    EnvFile {
        /// Its path, as the manifest has it.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// A port that was leased, since another instance has the declared one.
    Lease {
        /// The name of the variable that the lease counts as.
        name: String,
    },
    /// A variable that is not set, so that the manifest's default is used.
    Unset {
        /// Its name.
        name: String,
    },
    /// The default for a key that the manifest leaves out.
    Default,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest { file, line } | Self::EnvFile { file, line } => {
                write!(f, "{file}:{line}")
            }
            Self::Environment { name } => write!(f, "{name} in the environment"),
            Self::DotEnv { name } => write!(f, "{name} in .env"),
            Self::Lease { name } => write!(f, "leased as {name}"),
            Self::Unset { name } => write!(f, "default, {name} is not set"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The output order of values, by the prefixes of their keys.
const ORDER: [&str; 11] = [
    "process.command",
    "process.check",
    "process.env.",
    "environment.",
    "ports.",
    "routes[",
    "process.compose.",
    "exports.",
    "secret_exports.",
    "open",
    "login",
];

/// Explains the service's own process. The inputs must be those of a valid stack.
pub fn explain(services: &[Service], service: &Service, env: &Env, places: &Places) -> Vec<Entry> {
    let mut problems = Vec::new();
    let hosts = hosts::resolve(services, env, &mut problems);
    let ports = ports::resolve(services, env, &hosts, &mut problems);
    let routes = routes::resolve(services, &ports, &mut problems);
    let mut trace = Trace {
        services,
        service,
        env,
        entries: Vec::new(),
    };
    for (name, value) in env.passed_on() {
        let from = vec![trace.variable(name).unwrap_or(Provenance::Default)];
        trace.push(&format!("environment.{name}"), value, from);
    }
    for (name, port) in ports.get(&service.name).into_iter().flatten() {
        let from = vec![trace.port_origin(&service.name, name)];
        trace.push(&format!("ports.{name}"), port.url(), from);
    }
    for (index, binary) in service.document.manifest.binaries.iter().enumerate() {
        let what = binary.version.as_ref().or(binary.path.as_ref());
        let what = what.map_or_else(String::new, |what| format!(" {what}"));
        let value = format!("{}{what}", binary.name);
        trace.add(&format!("binaries[{index}]"), value, Some(""));
    }
    let mut resolver = Resolver::new(service, env, places, &hosts, &ports, &routes).traced(trace);
    resolver.process();
    let mut entries = resolver.into_entries();
    let problems = &mut Vec::new();
    let mut processes = build::resolve(services, env, places, &hosts, &ports, &routes, problems);
    routes::publish(&mut processes);
    if let Some(process) = processes.get(&service.name) {
        entries.extend(of_front(service, process));
    }
    for variable in inherit::of(service, &processes) {
        entries.extend(inherited(services, &variable));
    }
    let rank = |entry: &Entry| {
        let found = ORDER.iter().position(|begin| entry.key.starts_with(begin));
        found.unwrap_or(ORDER.len())
    };
    entries.sort_by_key(rank);
    entries
}

/// Returns what a service has because of its routes, and the page that `open` shows if the manifest
/// names none.
fn of_front(service: &Service, process: &Process) -> Vec<Entry> {
    let declared = &service.document.manifest.exports;
    let exports = process.exports.iter();
    let exports = exports.filter(|(name, _)| !declared.contains_key(*name));
    let mut entries: Vec<Entry> = exports
        .map(|(name, value)| Entry {
            key: format!("exports.{name}"),
            value: value.clone(),
            from: vec![export(service, name)],
        })
        .collect();
    let page = process.url().filter(|_| process.open.is_none());
    entries.extend(page.map(|value| Entry {
        key: "open".to_owned(),
        value,
        from: vec![Provenance::Default],
    }));
    entries
}

/// Returns the line that an export comes from: its own, or that of the route.
fn export(service: &Service, name: &str) -> Provenance {
    let declared = service.document.manifest.exports.contains_key(name);
    let key = if declared {
        &format!("exports.{name}")
    } else {
        "routes[0].path"
    };
    line(service, key)
}

/// Explains a variable of another service by the line of that.
fn inherited(services: &[Service], variable: &Inherited<'_>) -> Option<Entry> {
    let name = variable.name;
    let mut services = services.iter();
    let owner = services.find(|service| service.name == variable.owner)?;
    let (value, from) = if variable.is_secret {
        (MASK, line(owner, &format!("secret_exports.{name}")))
    } else {
        (variable.value, export(owner, name))
    };
    Some(Entry {
        key: format!("process.env.{name}"),
        value: value.to_owned(),
        from: vec![from],
    })
}

/// The record that the resolver keeps.
pub(super) struct Trace<'a> {
    services: &'a [Service],
    service: &'a Service,
    env: &'a Env,
    entries: Vec<Entry>,
}

impl Trace<'_> {
    /// Records a value; `text` is its text in the manifest, if it has one.
    pub(super) fn add(&mut self, key: &str, value: impl Into<String>, text: Option<&str>) {
        let from = text.map_or(vec![Provenance::Default], |text| self.origins(key, text));
        self.push(key, value, from);
    }

    /// Records a value with where it comes from.
    pub(super) fn push(&mut self, key: &str, value: impl Into<String>, from: Vec<Provenance>) {
        let (key, value) = (key.to_owned(), value.into());
        self.entries.push(Entry { key, value, from });
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Returns the place of a key, then the sources of the placeholders in its text.
    fn origins(&self, key: &str, text: &str) -> Vec<Provenance> {
        let mut from = vec![line(self.service, key)];
        for source in self.sources(text) {
            let found = match source {
                Source::Variable(name) => self.variable(&name).into_iter().collect(),
                Source::Unset(name) => vec![Provenance::Unset { name }],
                Source::Port { service, name } => {
                    let owner = service.as_deref().unwrap_or(&self.service.name);
                    vec![self.port_origin(owner, &name)]
                }
                Source::Host(service) => {
                    self.host_origins(service.as_deref().unwrap_or(&self.service.name))
                }
            };
            for found in found {
                if !from.contains(&found) {
                    from.push(found);
                }
            }
        }
        from
    }

    fn sources(&self, text: &str) -> Vec<Source> {
        let env = |name: &str| self.env.get(name).map(str::to_owned);
        Template::parse(text).map_or_else(|_| Vec::new(), |template| template.sources(&env))
    }

    /// Returns where the address of a service comes from.
    fn host_origins(&self, owner: &str) -> Vec<Provenance> {
        let owner = self.services.iter().find(|service| service.name == owner);
        let Some((owner, text)) =
            owner.and_then(|owner| Some((owner, owner.document.manifest.listen.as_ref()?)))
        else {
            return vec![Provenance::Default];
        };
        let mut from = vec![line(owner, "listen")];
        for source in self.sources(text) {
            match source {
                Source::Variable(name) => from.extend(self.variable(&name)),
                Source::Unset(name) => from.push(Provenance::Unset { name }),
                // `listen` contains no other placeholders.
                Source::Port { .. } | Source::Host(_) => {}
            }
        }
        from
    }

    /// Returns where a variable comes from.
    pub(super) fn variable(&self, name: &str) -> Option<Provenance> {
        let name = name.to_owned();
        Some(match self.env.origin(&name)? {
            Origin::Process => Provenance::Environment { name },
            Origin::DotEnv => Provenance::DotEnv { name },
            Origin::Lease => Provenance::Lease { name },
        })
    }

    fn port_origin(&self, owner: &str, name: &str) -> Provenance {
        let variable = port_variable(owner, name);
        let overridden = self.env.non_empty(&variable).map(|_| &variable);
        if let Some(from) = overridden.and_then(|variable| self.variable(variable)) {
            return from;
        }
        let owner = self.services.iter().find(|service| service.name == owner);
        let owner = owner.unwrap_or(self.service);
        line(owner, &format!("ports.{name}.port"))
    }
}

/// Returns the place of a key of a manifest.
pub(super) fn line(service: &Service, key: &str) -> Provenance {
    Provenance::Manifest {
        file: service.file.clone(),
        line: service.document.lines.of(key),
    }
}
