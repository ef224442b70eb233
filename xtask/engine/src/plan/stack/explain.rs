//! PURE: where every resolved value of a service comes from.
//!
//! Owns the walk over a manifest and its process. Must never tell a secret, not even as the text
//! of a manifest.

use std::fmt;

use kit::manifest::{Compose, ReadinessProbe};
use serde::Serialize;

use super::template::{Source, Template};
use super::{Log, Process, ReadinessCheck, Service, Stack, port_variable, words};
use crate::plan::env::{Env, Origin};

/// One resolved value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its key in the manifest: `process.env.NATS_HOST`.
    pub key: String,
    /// What it is; a secret is masked.
    pub value: String,
    /// Where that comes from: its place, then what its placeholders read.
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
    /// A port that was leased, since another instance has the one that is declared.
    Lease {
        /// The variable that it counts as.
        name: String,
    },
    /// A variable that is not set, so that the manifest's default for it counts.
    Unset {
        /// Its name.
        name: String,
    },
    /// What a manifest that says nothing means.
    Default,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest { file, line } => write!(f, "{file}:{line}"),
            Self::Environment { name } => write!(f, "{name} in the environment"),
            Self::DotEnv { name } => write!(f, "{name} in .env"),
            Self::Lease { name } => write!(f, "leased as {name}"),
            Self::Unset { name } => write!(f, "default, {name} is not set"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Explains the service's own process. `stack` must be made from the same inputs.
pub fn explain(services: &[Service], service: &Service, env: &Env, stack: &Stack) -> Vec<Entry> {
    let Some(process) = stack.processes.get(&service.name) else {
        return Vec::new();
    };
    let mut walk = Walk {
        services,
        service,
        env,
        entries: Vec::new(),
    };
    walk.commands(process);
    walk.environment(process);
    walk.ports(process);
    walk.compose(process);
    walk.exports(process);
    walk.binaries();
    walk.entries
}

struct Walk<'a> {
    services: &'a [Service],
    service: &'a Service,
    env: &'a Env,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    /// A value whose text in the manifest, if it has one, is `text`.
    fn add(&mut self, key: &str, value: impl Into<String>, text: Option<&str>) {
        let from = text.map_or(vec![Provenance::Default], |text| self.origins(key, text));
        self.push(key, value, from);
    }

    /// A value that holds no placeholder: it is `given` in the manifest or it is the default.
    fn plain(&mut self, key: &str, value: impl fmt::Display, given: bool) {
        self.add(key, value.to_string(), given.then_some(""));
    }

    fn push(&mut self, key: &str, value: impl Into<String>, from: Vec<Provenance>) {
        let (key, value) = (key.to_owned(), value.into());
        self.entries.push(Entry { key, value, from });
    }

    fn commands(&mut self, process: &Process) {
        let manifest = &self.service.document.manifest.process;
        let texts = std::iter::once(manifest.command.as_str());
        let texts: Vec<&str> = texts
            .chain(manifest.args.iter().map(String::as_str))
            .collect();
        self.add(
            "process.command",
            words::join(&process.command),
            Some(&texts.join(" ")),
        );
        if let (Some(check), Some(text)) = (&process.check, &manifest.check) {
            self.add("process.check", words::join(check), Some(text));
        }
    }

    fn environment(&mut self, process: &Process) {
        let manifest = &self.service.document.manifest.process;
        for (name, value) in &process.env {
            let text = manifest.env.get(name).map(String::as_str);
            self.add(&format!("process.env.{name}"), value.shown(), text);
        }
        let passed: Vec<(String, String)> = self
            .env
            .passed_on()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in passed {
            let from = vec![self.variable(&name).unwrap_or(Provenance::Default)];
            self.push(&format!("environment.{name}"), value, from);
        }
    }

    fn ports(&mut self, process: &Process) {
        for (name, port) in &process.ports {
            let from = vec![self.port_origin(&self.service.name, name)];
            self.push(&format!("ports.{name}"), port.url(), from);
        }
    }

    fn compose(&mut self, process: &Process) {
        const AT: &str = "process.compose";
        let compose = self.service.document.manifest.process.compose.clone();
        for (name, condition) in &process.depends_on {
            let condition = serde_json::to_value(condition).unwrap_or_default();
            let condition = condition.as_str().unwrap_or_default().to_owned();
            self.plain(&format!("{AT}.depends_on.{name}"), condition, true);
        }
        self.plain(
            &format!("{AT}.disabled"),
            process.disabled,
            compose.disabled.is_some(),
        );
        let directory = process.working_dir.as_deref().unwrap_or(".");
        let text = compose.working_dir.as_deref();
        self.add(&format!("{AT}.working_dir"), directory, text);
        self.readiness(process, compose.readiness_probe.as_ref());
        self.policies(process, &compose);
        self.log(&process.log, &compose);
    }

    fn readiness(&mut self, process: &Process, probe: Option<&ReadinessProbe>) {
        const AT: &str = "process.compose.readiness_probe";
        let (Some(readiness), Some(probe)) = (&process.readiness, probe) else {
            self.add(AT, "healthy as soon as it runs", None);
            return;
        };
        let http = probe.http_get.as_ref();
        let (kind, text) = match &readiness.check {
            ReadinessCheck::Http { .. } => {
                let parts = http.map(|http| {
                    [&http.url, &http.host, &http.port, &http.path]
                        .map(|part| part.clone().unwrap_or_default())
                        .concat()
                });
                ("http_get", parts)
            }
            ReadinessCheck::Tcp { .. } => {
                let tcp = probe.tcp.as_ref();
                let parts = tcp.map(|tcp| {
                    let host = tcp.host.clone().unwrap_or_default();
                    format!("{host}{}", tcp.port)
                });
                ("tcp", parts)
            }
            ReadinessCheck::Lock { .. } => ("lock", probe.lock.clone()),
            ReadinessCheck::Exec { .. } => {
                ("exec", probe.exec.as_ref().map(|exec| exec.command.clone()))
            }
        };
        let check = readiness.check.to_string().replace('`', "");
        self.add(&format!("{AT}.{kind}"), check, text.as_deref());
        for (key, value, given) in [
            (
                "initial_delay_seconds",
                readiness.initial_delay_seconds,
                probe.initial_delay_seconds.is_some(),
            ),
            (
                alias(probe.interval.is_some(), "interval", "period_seconds"),
                readiness.period_seconds,
                probe.period_seconds.is_some() || probe.interval.is_some(),
            ),
            (
                alias(probe.timeout.is_some(), "timeout", "timeout_seconds"),
                readiness.timeout_seconds,
                probe.timeout_seconds.is_some() || probe.timeout.is_some(),
            ),
            (
                "success_threshold",
                readiness.success_threshold,
                probe.success_threshold.is_some(),
            ),
            (
                "failure_threshold",
                readiness.failure_threshold,
                probe.failure_threshold.is_some(),
            ),
        ] {
            self.plain(&format!("{AT}.{key}"), value, given);
        }
    }

    fn policies(&mut self, process: &Process, compose: &Compose) {
        let restart = compose.availability.clone().unwrap_or_default();
        let shutdown = compose.shutdown.clone().unwrap_or_default();
        let policy = serde_json::to_value(process.restart.restart).unwrap_or_default();
        let policy = policy.as_str().unwrap_or_default().to_owned();
        for (key, value, given) in [
            ("availability.restart", policy, restart.restart.is_some()),
            (
                "availability.backoff_seconds",
                process.restart.backoff_seconds.to_string(),
                restart.backoff_seconds.is_some(),
            ),
            (
                "availability.max_restarts",
                process.restart.max_restarts.to_string(),
                restart.max_restarts.is_some(),
            ),
            (
                "shutdown.signal",
                process.shutdown.signal.to_string(),
                shutdown.signal.is_some(),
            ),
            (
                "shutdown.timeout_seconds",
                process.shutdown.timeout_seconds.to_string(),
                shutdown.timeout_seconds.is_some(),
            ),
            (
                "shutdown.parent_only",
                process.shutdown.parent_only.to_string(),
                shutdown.parent_only.is_some(),
            ),
        ] {
            self.plain(&format!("process.compose.{key}"), value, given);
        }
    }

    fn log(&mut self, log: &Log, compose: &Compose) {
        let given = compose.log.clone().unwrap_or_default();
        let at = "process.compose.log";
        let size = format!("{}mb", log.max_size_mb);
        self.plain(&format!("{at}.max_size"), size, given.max_size.is_some());
        self.plain(
            &format!("{at}.max_files"),
            log.max_files,
            given.max_files.is_some(),
        );
        self.plain(
            &format!("{at}.timestamps"),
            log.timestamps,
            given.timestamps.is_some(),
        );
    }

    fn exports(&mut self, process: &Process) {
        let manifest = &self.service.document.manifest;
        for (name, value) in &process.exports {
            let text = manifest.exports.get(name).map(String::as_str);
            self.add(&format!("exports.{name}"), value, text);
        }
        if let Some(open) = process.open.as_ref().or(process.url().as_ref()) {
            self.add("open", open, manifest.open.as_deref());
        }
        if let Some(login) = &process.login {
            self.add("login", login, manifest.login.as_deref());
        }
    }

    fn binaries(&mut self) {
        let binaries = self.service.document.manifest.binaries.clone();
        for (index, binary) in binaries.iter().enumerate() {
            let what = binary.version.as_ref().or(binary.path.as_ref());
            let what = what.map_or_else(String::new, |what| format!(" {what}"));
            let value = format!("{}{what}", binary.name);
            self.plain(&format!("binaries[{index}]"), value, true);
        }
    }

    /// The place of a key, then what the placeholders of its text read.
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

    /// Where the address of a service comes from.
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
                // It holds nothing else.
                Source::Port { .. } | Source::Host(_) => {}
            }
        }
        from
    }

    fn variable(&self, name: &str) -> Option<Provenance> {
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

fn line(service: &Service, key: &str) -> Provenance {
    Provenance::Manifest {
        file: service.file.clone(),
        line: service.document.lines.of(key),
    }
}

fn alias(is_given: bool, given: &'static str, usual: &'static str) -> &'static str {
    if is_given { given } else { usual }
}
