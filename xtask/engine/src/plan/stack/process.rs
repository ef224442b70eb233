//! Resolves the manifest of one service to its process, with every placeholder replaced.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use kit::manifest::{
    Availability, Compose, Condition, HttpGet, Log as LogManifest, Manifest, Problem,
    ReadinessProbe, Restart, Shutdown as ShutdownManifest, Source, megabytes, seconds,
};

use kit::names::word;

use super::explain::{Entry, Trace};
use super::hosts::{Hosts, LOOPBACK, dialled};
use super::ports::Ports;
use super::routes::Routes;
use super::template::{Scope, Template};
use super::{
    Log, Places, Process, Readiness, ReadinessCheck, RestartPolicy, Route, Service, Shutdown,
    defaults, words,
};
use crate::plan::env::Env;

/// Resolves one manifest and collects its problems.
pub(super) struct Resolver<'a> {
    service: &'a Service,
    scope: ServiceScope<'a>,
    /// Variables that secret entries are made from: they must not reach a command line.
    secret_variables: Vec<String>,
    problems: Vec<Problem>,
    /// Where values come from, if the caller wants to know.
    trace: Option<Trace<'a>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        service: &'a Service,
        env: &'a Env,
        places: &'a Places,
        hosts: &'a Hosts,
        ports: &'a Ports,
        routes: &'a Routes,
    ) -> Self {
        let manifest = &service.document.manifest;
        let absolute = manifest.process.compose.working_dir.is_some();
        let scope = ServiceScope {
            service,
            env,
            places,
            hosts,
            ports,
            routes,
            absolute,
        };
        let secret_variables = secret_variables(manifest);
        Self {
            service,
            scope,
            secret_variables,
            problems: Vec::new(),
            trace: None,
        }
    }

    /// Returns the resolver with a record of where each value comes from.
    pub(super) fn traced(self, trace: Trace<'a>) -> Self {
        Self {
            trace: Some(trace),
            ..self
        }
    }

    /// Returns the recorded entries.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.trace.map_or_else(Vec::new, Trace::into_entries)
    }

    /// Returns the manifest.
    pub(super) fn service(&self) -> &'a Service {
        self.service
    }

    /// Returns the variables.
    pub(super) fn env(&self) -> &'a Env {
        self.scope.env
    }

    /// Returns the record of where each value comes from, if there is one.
    pub(super) fn trace(&mut self) -> Option<&mut Trace<'a>> {
        self.trace.as_mut()
    }

    /// Records a value; `text` is its text in the manifest, if it has one.
    pub(super) fn note(&mut self, key: &str, value: impl fmt::Display, text: Option<&str>) {
        if let Some(trace) = &mut self.trace {
            trace.add(key, value.to_string(), text);
        }
    }

    /// Returns a value without placeholders: the manifest's, else the default.
    fn given<T: fmt::Display>(&mut self, key: &str, given: Option<T>, default: T) -> T {
        let text = given.is_some().then_some("");
        let value = given.unwrap_or(default);
        self.note(&format!("process.compose.{key}"), &value, text);
        value
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Returns a path as the process sees it.
    pub(super) fn path(&self, relative: &str) -> String {
        self.scope.path(relative)
    }

    pub(super) fn process(&mut self) -> Process {
        let manifest = &self.service.document.manifest;
        let process = &manifest.process;
        let compose = &process.compose;
        let command = self.command(manifest);
        let check = process.check.as_ref().map(|text| {
            let check = self.words(text, "process.check");
            self.note("process.check", words::join(&check), Some(text));
            check
        });
        let env = self.environment(manifest);
        let depends_on = self.depends_on(compose);
        let disabled = self.given("disabled", compose.disabled, false);
        let working_dir = self.working_dir(compose);
        let readiness = self.readiness(compose.readiness_probe.as_ref());
        let restart = self.restart(compose.availability.as_ref());
        let shutdown = self.shutdown(compose.shutdown.as_ref());
        let log = self.log(compose.log.as_ref());
        let ports = self.scope.ports.get(&self.service.name);
        let ports = ports.cloned().unwrap_or_default();
        let exports = self.exports(manifest);
        let routes = self.routes();
        let secret_exports = self.secret_exports(manifest);
        let open = self.page("open", manifest.open.as_deref());
        let login = self.page("login", manifest.login.as_deref());
        Process {
            service: self.service.name.clone(),
            description: compose.description.clone(),
            disabled,
            command,
            env,
            reloadable: process.reloadable.iter().cloned().collect(),
            check,
            working_dir,
            depends_on,
            readiness,
            restart,
            runner: !(shutdown.parent_only && is_built_here(manifest)),
            shutdown,
            log,
            ports,
            routes,
            exports,
            secret_exports,
            open,
            login,
        }
    }

    fn command(&mut self, manifest: &Manifest) -> Vec<String> {
        let process = &manifest.process;
        let mut command = self.words(&process.command, "process.command");
        for (index, arg) in process.args.iter().enumerate() {
            command.push(self.public_text(arg, &format!("process.args[{index}]")));
        }
        let texts = std::iter::once(&process.command).chain(&process.args);
        let texts: Vec<&str> = texts.map(String::as_str).collect();
        self.note(
            "process.command",
            words::join(&command),
            Some(&texts.join(" ")),
        );
        command
    }

    fn depends_on(&mut self, compose: &Compose) -> BTreeMap<String, Condition> {
        let mut depends_on = BTreeMap::new();
        for (name, dependency) in &compose.depends_on {
            let condition = dependency.condition;
            let key = format!("process.compose.depends_on.{name}");
            self.note(&key, word(condition), Some(""));
            depends_on.insert(name.clone(), condition);
        }
        depends_on
    }

    /// Resolves the URL of a page.
    fn page(&mut self, key: &str, text: Option<&str>) -> Option<String> {
        let text = text?;
        let page = self.public_text(text, key);
        self.note(key, &page, Some(text));
        Some(page)
    }

    fn routes(&mut self) -> Vec<Route> {
        let routes = self.scope.routes.of(&self.service.name);
        for (index, route) in routes.iter().enumerate() {
            let value = format!("{route} to {}", route.address);
            self.note(&format!("routes[{index}]"), value, Some(""));
        }
        routes
    }

    fn working_dir(&mut self, compose: &Compose) -> Option<String> {
        const AT: &str = "process.compose.working_dir";
        let Some(text) = &compose.working_dir else {
            self.note(AT, ".", None);
            return None;
        };
        let directory = self.text(text, AT);
        let directory = self.scope.places.root.join(directory);
        let directory = directory.to_string_lossy().into_owned();
        self.note(AT, &directory, Some(text));
        Some(directory)
    }

    fn readiness(&mut self, probe: Option<&ReadinessProbe>) -> Option<Readiness> {
        let Some(probe) = probe else {
            self.note(
                "process.compose.readiness_probe",
                "healthy as soon as it runs",
                None,
            );
            return None;
        };
        let check = self.check(probe);
        let interval = probe.interval.as_deref();
        let timeout = probe.timeout.as_deref();
        let (success, failure) = (probe.success_threshold, probe.failure_threshold);
        let at = |key: &str| format!("readiness_probe.{key}");
        Some(Readiness {
            check,
            initial_delay_seconds: self.given(
                &at("initial_delay_seconds"),
                probe.initial_delay_seconds,
                0,
            ),
            period_seconds: self.given(
                &at(interval.map_or("period_seconds", |_| "interval")),
                probe.period_seconds.or(interval.and_then(seconds)),
                defaults::PROBE_PERIOD_SECONDS,
            ),
            timeout_seconds: self.given(
                &at(timeout.map_or("timeout_seconds", |_| "timeout")),
                probe.timeout_seconds.or(timeout.and_then(seconds)),
                defaults::PROBE_TIMEOUT_SECONDS,
            ),
            success_threshold: self.given(&at("success_threshold"), success, 1),
            failure_threshold: self.given(
                &at("failure_threshold"),
                failure,
                defaults::PROBE_FAILURE_THRESHOLD,
            ),
        })
    }

    fn check(&mut self, probe: &ReadinessProbe) -> ReadinessCheck {
        const AT: &str = "process.compose.readiness_probe";
        let (check, kind, text) = if let Some(exec) = &probe.exec {
            let command = self.words(&exec.command, &format!("{AT}.exec.command"));
            let text = exec.command.clone();
            (ReadinessCheck::Exec { command }, "exec", text)
        } else if let Some(lock) = &probe.lock {
            let path = self.public_text(lock, &format!("{AT}.lock"));
            (ReadinessCheck::Lock { path }, "lock", lock.clone())
        } else if let Some(tcp) = &probe.tcp {
            let host = tcp.host.as_deref();
            let text = format!("{}{}", host.unwrap_or_default(), tcp.port);
            let host = self.probed_host(host, &tcp.port, &format!("{AT}.tcp.host"));
            let port = self.port(&tcp.port, &format!("{AT}.tcp.port"));
            let address = format!("{host}:{port}");
            (ReadinessCheck::Tcp { address }, "tcp", text)
        } else {
            let http = probe.http_get.clone().unwrap_or_default();
            let parts = [&http.url, &http.host, &http.port, &http.path];
            let text = parts
                .map(|part| part.as_deref().unwrap_or_default())
                .concat();
            let url = self.url(&http, AT);
            let status = http.status_code;
            (ReadinessCheck::Http { url, status }, "http_get", text)
        };
        let shown = check.to_string().replace('`', "");
        self.note(&format!("{AT}.{kind}"), shown, Some(&text));
        check
    }

    fn restart(&mut self, availability: Option<&Availability>) -> RestartPolicy {
        let given = availability.cloned().unwrap_or_default();
        let restart = given.restart.unwrap_or(Restart::Always);
        let text = given.restart.is_some().then_some("");
        self.note("process.compose.availability.restart", word(restart), text);
        RestartPolicy {
            restart,
            backoff_seconds: self.given(
                "availability.backoff_seconds",
                given.backoff_seconds,
                defaults::RESTART_BACKOFF_SECONDS,
            ),
            max_restarts: self.given("availability.max_restarts", given.max_restarts, 0),
        }
    }

    fn shutdown(&mut self, shutdown: Option<&ShutdownManifest>) -> Shutdown {
        let given = shutdown.cloned().unwrap_or_default();
        Shutdown {
            signal: self.given("shutdown.signal", given.signal, defaults::TERM),
            timeout_seconds: self.given(
                "shutdown.timeout_seconds",
                given.timeout_seconds,
                defaults::SHUTDOWN_TIMEOUT_SECONDS,
            ),
            parent_only: self.given("shutdown.parent_only", given.parent_only, false),
        }
    }

    fn log(&mut self, log: Option<&LogManifest>) -> Log {
        let given = log.cloned().unwrap_or_default();
        let size = given.max_size.as_deref();
        let max_size_mb = size.and_then(megabytes).unwrap_or(defaults::LOG_SIZE_MB);
        let text = size.is_some().then_some("");
        self.note(
            "process.compose.log.max_size",
            format!("{max_size_mb}mb"),
            text,
        );
        Log {
            max_size_mb,
            max_files: self.given("log.max_files", given.max_files, defaults::LOG_FILES),
            timestamps: self.given("log.timestamps", given.timestamps, true),
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

    /// Returns the host that a probe connects to: the manifest's, else the address of the port,
    /// else that of the service.
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

    /// Splits a command into words. It is split before placeholders are replaced, so that no value
    /// can become two words.
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

    /// Resolves a text that others can see: a command line, a probe. Must not hold a secret.
    pub(super) fn public_text(&mut self, text: &str, path: &str) -> String {
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

    pub(super) fn text(&mut self, text: &str, path: &str) -> String {
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

/// Returns the variables that the secrets of a manifest are made from.
pub(super) fn secret_variables(manifest: &Manifest) -> Vec<String> {
    let process = &manifest.process;
    let texts = process
        .secrets
        .iter()
        .filter_map(|name| process.env.get(name));
    let texts = texts.chain(manifest.secret_exports.values());
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

/// Whether the command is a program of this workspace. If only the program itself receives the
/// signal to stop, it is a wrapper: it stops its child processes and needs no runner.
fn is_built_here(manifest: &Manifest) -> bool {
    let words = words::split(&manifest.process.command).unwrap_or_default();
    let mut built = manifest.binaries.iter();
    built.any(|binary| {
        let placeholder = format!("${{dep.{}}}", binary.name);
        binary.source == Source::CargoBuild && words.first() == Some(&placeholder)
    })
}

/// The values for the placeholders of one service.
struct ServiceScope<'a> {
    service: &'a Service,
    env: &'a Env,
    places: &'a Places,
    hosts: &'a Hosts,
    ports: &'a Ports,
    routes: &'a Routes,
    /// Whether paths are absolute, because the process does not run in the root.
    absolute: bool,
}

impl ServiceScope<'_> {
    /// Returns the address at which the own service is reached, at the port of a placeholder.
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

    fn routes(&self) -> Result<String, String> {
        Ok(self.routes.text())
    }

    fn origins(&self) -> Result<String, String> {
        Ok(self.routes.origins())
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
