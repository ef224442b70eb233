//! From the manifest of one service to its process, every placeholder resolved.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use kit::manifest::{
    Availability, Compose, HttpGet, Log as LogManifest, Manifest, Problem, ReadinessProbe, Restart,
    Shutdown as ShutdownManifest, Source, megabytes, seconds,
};

use super::hosts::{Hosts, LOOPBACK, dialled};
use super::ports::Ports;
use super::template::{Scope, Template};
use super::{
    Log, Places, Process, Readiness, ReadinessCheck, RestartPolicy, Service, Shutdown, Value,
    defaults, words,
};
use crate::plan::env::Env;

/// Resolves one manifest and collects what is wrong with it.
pub(super) struct Resolver<'a> {
    service: &'a Service,
    scope: ServiceScope<'a>,
    /// Variables that secret entries are made from: they may not reach a command line.
    secret_variables: Vec<String>,
    problems: Vec<Problem>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        service: &'a Service,
        env: &'a Env,
        places: &'a Places,
        hosts: &'a Hosts,
        ports: &'a Ports,
    ) -> Self {
        let manifest = &service.document.manifest;
        let absolute = manifest.process.compose.working_dir.is_some();
        let scope = ServiceScope {
            service,
            env,
            places,
            hosts,
            ports,
            absolute,
        };
        let secret_variables = secret_variables(manifest);
        Self {
            service,
            scope,
            secret_variables,
            problems: Vec::new(),
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// A path as the process sees it.
    pub(super) fn path(&self, relative: &str) -> String {
        self.scope.path(relative)
    }

    pub(super) fn process(&mut self) -> Process {
        let manifest = &self.service.document.manifest;
        let process = &manifest.process;
        let compose = &process.compose;
        let mut command = self.words(&process.command, "process.command");
        for (index, arg) in process.args.iter().enumerate() {
            command.push(self.public_text(arg, &format!("process.args[{index}]")));
        }
        let check = process.check.as_ref();
        let shutdown = shutdown(compose.shutdown.as_ref());
        Process {
            service: self.service.name.clone(),
            description: compose.description.clone(),
            disabled: compose.disabled.unwrap_or(false),
            command,
            env: self.environment(manifest),
            reloadable: process.reloadable.iter().cloned().collect(),
            check: check.map(|check| self.words(check, "process.check")),
            working_dir: self.working_dir(compose),
            depends_on: compose
                .depends_on
                .iter()
                .map(|(k, v)| (k.clone(), v.condition))
                .collect(),
            readiness: compose
                .readiness_probe
                .as_ref()
                .map(|probe| self.readiness(probe)),
            restart: restart(compose.availability.as_ref()),
            runner: !(shutdown.parent_only && is_built_here(manifest)),
            shutdown,
            log: log(compose.log.as_ref()),
            ports: self
                .scope
                .ports
                .get(&self.service.name)
                .cloned()
                .unwrap_or_default(),
            exports: self.exports(manifest),
            open: manifest
                .open
                .as_ref()
                .map(|text| self.public_text(text, "open")),
            login: manifest
                .login
                .as_ref()
                .map(|text| self.public_text(text, "login")),
        }
    }

    fn exports(&mut self, manifest: &Manifest) -> BTreeMap<String, String> {
        let exports = manifest.exports.iter();
        exports
            .map(|(name, text)| {
                let text = self.public_text(text, &format!("exports.{name}"));
                (name.clone(), text)
            })
            .collect()
    }

    fn environment(&mut self, manifest: &Manifest) -> BTreeMap<String, Value> {
        let process = &manifest.process;
        let mut env = BTreeMap::new();
        for (name, text) in &process.env {
            let text = self.text(text, &format!("process.env.{name}"));
            let secret = process.secrets.contains(name);
            env.insert(name.clone(), Value { text, secret });
        }
        env
    }

    fn working_dir(&mut self, compose: &Compose) -> Option<String> {
        let text = compose.working_dir.as_ref()?;
        let text = self.text(text, "process.compose.working_dir");
        Some(
            self.scope
                .places
                .root
                .join(text)
                .to_string_lossy()
                .into_owned(),
        )
    }

    fn readiness(&mut self, probe: &ReadinessProbe) -> Readiness {
        const AT: &str = "process.compose.readiness_probe";
        let check = if let Some(exec) = &probe.exec {
            let command = self.words(&exec.command, &format!("{AT}.exec.command"));
            ReadinessCheck::Exec { command }
        } else if let Some(lock) = &probe.lock {
            let path = self.public_text(lock, &format!("{AT}.lock"));
            ReadinessCheck::Lock { path }
        } else if let Some(tcp) = &probe.tcp {
            let host = tcp.host.as_deref();
            let host = self.probed_host(host, &tcp.port, &format!("{AT}.tcp.host"));
            let port = self.port(&tcp.port, &format!("{AT}.tcp.port"));
            ReadinessCheck::Tcp {
                address: format!("{host}:{port}"),
            }
        } else {
            let http = probe.http_get.clone().unwrap_or_default();
            ReadinessCheck::Http {
                url: self.url(&http, AT),
                status: http.status_code,
            }
        };
        let duration = |text: &Option<String>| text.as_deref().and_then(seconds);
        let period = probe.period_seconds.or(duration(&probe.interval));
        let timeout = probe.timeout_seconds.or(duration(&probe.timeout));
        Readiness {
            check,
            initial_delay_seconds: probe.initial_delay_seconds.unwrap_or(0),
            period_seconds: period.unwrap_or(defaults::PROBE_PERIOD_SECONDS),
            timeout_seconds: timeout.unwrap_or(defaults::PROBE_TIMEOUT_SECONDS),
            success_threshold: probe.success_threshold.unwrap_or(1),
            failure_threshold: probe
                .failure_threshold
                .unwrap_or(defaults::PROBE_FAILURE_THRESHOLD),
        }
    }

    fn url(&mut self, http: &HttpGet, at: &str) -> String {
        if let Some(url) = &http.url {
            return self.public_text(url, &format!("{at}.http_get.url"));
        }
        let host = http.host.as_deref();
        let port = http.port.as_deref().unwrap_or_default();
        let host = self.probed_host(host, port, &format!("{at}.http_get.host"));
        let port = http.port.as_deref().unwrap_or_default();
        let port = self.port(port, &format!("{at}.http_get.port"));
        let path = http.path.as_deref().unwrap_or("/");
        let path = self.public_text(path, &format!("{at}.http_get.path"));
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("http://{host}:{port}{slash}{path}")
    }

    /// Where a probe asks: what the manifest says, else where the service, or the very port, is
    /// reached.
    fn probed_host(&mut self, text: Option<&str>, port: &str, path: &str) -> String {
        let ip = match text {
            Some(text) => {
                let text = self.public_text(text, path);
                match text.parse::<IpAddr>() {
                    Ok(ip) => ip,
                    Err(_) => return text,
                }
            }
            None => self.scope.own_host(port),
        };
        match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }
    }

    fn port(&mut self, text: &str, path: &str) -> u16 {
        let text = self.public_text(text, path);
        match text.parse() {
            Ok(port) if port > 0 => port,
            _ => {
                self.add(path, format!("is `{text}`, but must be a port, 1 to 65535"));
                0
            }
        }
    }

    /// The words of a command. It is split before placeholders are replaced, so that no value can
    /// become two words.
    fn words(&mut self, command: &str, path: &str) -> Vec<String> {
        match words::split(command) {
            Ok(words) => words
                .iter()
                .map(|word| self.public_text(word, path))
                .collect(),
            Err(problem) => {
                self.add(path, problem);
                Vec::new()
            }
        }
    }

    /// A text that others can see: a command line, a probe. Must not hold a secret.
    fn public_text(&mut self, text: &str, path: &str) -> String {
        if let Ok(template) = Template::parse(text) {
            let secrets = &self.secret_variables;
            let secret = |name: &&str| secrets.iter().any(|secret| secret == name);
            if let Some(name) = template.variables().into_iter().find(secret) {
                let message = format!("would show the secret `{name}`; pass it by `process.env`");
                self.add(path, message);
                return String::new();
            }
        }
        self.text(text, path)
    }

    fn text(&mut self, text: &str, path: &str) -> String {
        let parsed = Template::parse(text).map_err(|problem| vec![problem]);
        match parsed.and_then(|template| template.resolve(&self.scope)) {
            Ok(text) if text.contains('\0') => {
                self.add(path, "holds a NUL character, which no process can be given");
                String::new()
            }
            Ok(text) => text,
            Err(problems) => {
                for problem in problems {
                    self.add(path, problem);
                }
                String::new()
            }
        }
    }

    fn add(&mut self, path: &str, message: impl Into<String>) {
        let problem = self.service.document.lines.problem(path, message);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// The variables that the secret entries of a manifest are made from.
pub(super) fn secret_variables(manifest: &Manifest) -> Vec<String> {
    let process = &manifest.process;
    let texts = process
        .secrets
        .iter()
        .filter_map(|name| process.env.get(name));
    let templates = texts.filter_map(|text| Template::parse(text).ok());
    templates
        .flat_map(|t| {
            t.variables()
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Whether the command is a program of this workspace. One that wants the signal to end for itself
/// alone is a wrapper: it ends what it started, and needs no runner for that.
fn is_built_here(manifest: &Manifest) -> bool {
    let words = words::split(&manifest.process.command).unwrap_or_default();
    let mut built = manifest.binaries.iter();
    built.any(|binary| {
        let placeholder = format!("${{dep.{}}}", binary.name);
        binary.source == Source::CargoBuild && words.first() == Some(&placeholder)
    })
}

fn restart(availability: Option<&Availability>) -> RestartPolicy {
    let given = availability.cloned().unwrap_or_default();
    RestartPolicy {
        restart: given.restart.unwrap_or(Restart::Always),
        backoff_seconds: given
            .backoff_seconds
            .unwrap_or(defaults::RESTART_BACKOFF_SECONDS),
        max_restarts: given.max_restarts.unwrap_or(0),
    }
}

fn shutdown(shutdown: Option<&ShutdownManifest>) -> Shutdown {
    let given = shutdown.cloned().unwrap_or_default();
    Shutdown {
        signal: given.signal.unwrap_or(defaults::TERM),
        timeout_seconds: given
            .timeout_seconds
            .unwrap_or(defaults::SHUTDOWN_TIMEOUT_SECONDS),
        parent_only: given.parent_only.unwrap_or(false),
    }
}

fn log(log: Option<&LogManifest>) -> Log {
    let given = log.cloned().unwrap_or_default();
    Log {
        max_size_mb: given
            .max_size
            .as_deref()
            .and_then(megabytes)
            .unwrap_or(defaults::LOG_SIZE_MB),
        max_files: given.max_files.unwrap_or(defaults::LOG_FILES),
        timestamps: given.timestamps.unwrap_or(true),
    }
}

/// Where the placeholders of one service get their values.
struct ServiceScope<'a> {
    service: &'a Service,
    env: &'a Env,
    places: &'a Places,
    hosts: &'a Hosts,
    ports: &'a Ports,
    /// Whether paths are absolute: the process does not run in the root.
    absolute: bool,
}

impl ServiceScope<'_> {
    /// Where the own service is reached, at the port that a placeholder names.
    fn own_host(&self, port: &str) -> IpAddr {
        let name = port.strip_prefix("${port.");
        let name = name.and_then(|rest| rest.strip_suffix('}'));
        let port = name.and_then(|name| self.ports.get(&self.service.name)?.get(name));
        let own = || self.hosts.get(&self.service.name).copied();
        let listen = port.map(|port| port.listen).or_else(own);
        dialled(listen.unwrap_or(LOOPBACK))
    }

    fn path(&self, relative: impl AsRef<Path>) -> String {
        let relative = relative.as_ref();
        let path = if self.absolute {
            self.places.root.join(relative)
        } else {
            relative.to_path_buf()
        };
        path.to_string_lossy().into_owned()
    }
}

impl Scope for ServiceScope<'_> {
    fn dep(&self, name: &str) -> Result<String, String> {
        let binaries = &self.service.document.manifest.binaries;
        match binaries.iter().find(|binary| binary.name == name) {
            None => Err(format!(
                "needs the binary `{name}`, which `binaries` does not declare"
            )),
            Some(binary) if binary.source == Source::Placeholder => Err(format!(
                "needs the binary `{name}`, which is only a placeholder"
            )),
            Some(_) => Ok(self.path(Path::new(&self.places.dep).join(name))),
        }
    }

    fn data(&self) -> Result<String, String> {
        Ok(self.path(&self.places.data))
    }

    fn state(&self) -> Result<String, String> {
        Ok(self.path(&self.places.state))
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).map(str::to_owned)
    }

    fn listen(&self) -> Result<IpAddr, String> {
        Ok(self
            .hosts
            .get(&self.service.name)
            .copied()
            .unwrap_or(LOOPBACK))
    }

    fn host(&self, service: &str, port: Option<&str>) -> Result<IpAddr, String> {
        let Some(host) = self.hosts.get(service) else {
            return Err(format!(
                "needs the host of `{service}`, which is no service"
            ));
        };
        let Some(name) = port else {
            return Ok(dialled(*host));
        };
        let port = self.ports.get(service).and_then(|ports| ports.get(name));
        let port = port.ok_or_else(|| {
            format!("needs the port `{name}` of `{service}`, which does not declare it")
        })?;
        Ok(dialled(port.listen))
    }

    fn port(&self, service: Option<&str>, name: &str) -> Result<u16, String> {
        let owner = service.unwrap_or(&self.service.name);
        let Some(ports) = self.ports.get(owner) else {
            return Err(format!("needs a port of `{owner}`, which is no service"));
        };
        let port = ports.get(name).map(|port| port.port);
        port.ok_or_else(|| {
            format!("needs the port `{name}` of `{owner}`, which does not declare it")
        })
    }
}
