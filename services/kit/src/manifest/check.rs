//! Checks of one manifest that a schema cannot express.

use std::collections::{BTreeMap, BTreeSet};

use super::routes;
use super::{
    EnvFiles, Lines, Manifest, Problem, Process, ReadinessProbe, Source, megabytes, seconds,
};
use crate::names;

/// The problem of a name that a shell would not accept.
const VARIABLE_NAME: &str = "is not a variable name: A-Z, a-z, 0-9 and `_`";

/// Returns everything that is wrong with a manifest of the right shape.
pub(super) fn check(manifest: &Manifest, lines: &Lines) -> Vec<Problem> {
    let mut found = Findings {
        lines,
        problems: Vec::new(),
    };
    found.binaries(manifest);
    found.process(manifest);
    found.named_variables(&manifest.process);
    found.env_files(&manifest.process);
    found.ports(manifest);
    found.exports(manifest);
    found.routes(manifest);
    found.problems
}

struct Findings<'a> {
    lines: &'a Lines,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(self.lines.problem(path, message));
    }

    fn binaries(&mut self, manifest: &Manifest) {
        let mut seen = BTreeSet::new();
        for (index, binary) in manifest.binaries.iter().enumerate() {
            let at = format!("binaries[{index}]");
            if let Some(problem) = names::problem(&binary.name) {
                self.add(
                    format!("{at}.name"),
                    format!("is `{}`, which {problem}", binary.name),
                );
            }
            if !seen.insert(&binary.name) {
                self.add(format!("{at}.name"), format!("repeats `{}`", binary.name));
            }
            match (binary.source, &binary.path, &binary.version) {
                (Source::CargoBuild, None, _) => {
                    self.add(
                        format!("{at}.path"),
                        "is missing: a package to build, `./cmd/NAME`",
                    );
                }
                (Source::CargoBuild, Some(path), _) if !is_inside(path) => {
                    self.add(
                        format!("{at}.path"),
                        "must be a folder inside the workspace, `./cmd/NAME`",
                    );
                }
                (Source::Fetch, _, None) => {
                    self.add(
                        format!("{at}.version"),
                        "is missing: a fetched program is pinned",
                    );
                }
                (Source::Fetch, Some(_), _) => {
                    self.add(format!("{at}.path"), "is only for `cargo-build`");
                }
                _ => {}
            }
        }
    }

    fn process(&mut self, manifest: &Manifest) {
        let process = &manifest.process;
        for name in process.env.keys().filter(|name| !is_variable_name(name)) {
            self.add(format!("process.env.{name}"), VARIABLE_NAME);
        }
        let lists = [
            ("secrets", &process.secrets),
            ("reloadable", &process.reloadable),
        ];
        for (list, names) in lists {
            for (index, name) in names.iter().enumerate() {
                if !process.env.contains_key(name) {
                    let message = format!("names `{name}`, which `process.env` does not have");
                    self.add(format!("process.{list}[{index}]"), message);
                }
            }
        }
        let compose = &process.compose;
        if let Some(probe) = &compose.readiness_probe {
            self.readiness(probe);
        }
        if compose
            .availability
            .as_ref()
            .is_some_and(|a| a.backoff_seconds == Some(0))
        {
            self.add(
                "process.compose.availability.backoff_seconds",
                "must be at least 1",
            );
        }
        if let Some(shutdown) = &compose.shutdown {
            if shutdown.timeout_seconds == Some(0) {
                self.add(
                    "process.compose.shutdown.timeout_seconds",
                    "must be at least 1",
                );
            }
            if shutdown
                .signal
                .is_some_and(|signal| !(1..=31).contains(&signal))
            {
                self.add(
                    "process.compose.shutdown.signal",
                    "must be a signal, 1 to 31",
                );
            }
        }
        if let Some(size) = compose.log.as_ref().and_then(|log| log.max_size.as_deref())
            && megabytes(size).is_none()
        {
            let message = format!("is `{size}`, but must be a size such as `20mb`");
            self.add("process.compose.log.max_size", message);
        }
    }

    /// Checks the variables that come from elsewhere: each has one source.
    fn named_variables(&mut self, process: &Process) {
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        let lists = [
            ("env_passthrough", &process.env_passthrough),
            ("use_secrets", &process.use_secrets),
        ];
        for (list, names) in lists {
            for (index, name) in names.iter().enumerate() {
                let at = format!("process.{list}[{index}]");
                if !is_variable_name(name) {
                    self.add(at, format!("is `{name}`, which {VARIABLE_NAME}"));
                } else if process.env.contains_key(name) {
                    self.add(at, format!("names `{name}`, which `process.env` sets"));
                } else if let Some(first) = seen.get(name.as_str()) {
                    self.add(at, format!("names `{name}`, as `{first}` does"));
                } else {
                    seen.insert(name, at);
                }
            }
        }
    }

    fn env_files(&mut self, process: &Process) {
        for (index, file) in process.env_file.0.iter().enumerate() {
            let before = &process.env_file.0[..index];
            let problem = if file.path.is_empty() {
                "is empty".to_owned()
            } else if file.path.contains("${") {
                "may not contain a placeholder".to_owned()
            } else if before.iter().any(|other| other.path == file.path) {
                format!("repeats `{}`", file.path)
            } else {
                continue;
            };
            self.add(EnvFiles::key(index), problem);
        }
    }

    fn readiness(&mut self, probe: &ReadinessProbe) {
        const AT: &str = "process.compose.readiness_probe";
        let kinds = [
            probe.http_get.is_some(),
            probe.tcp.is_some(),
            probe.lock.is_some(),
            probe.exec.is_some(),
        ];
        if kinds.iter().filter(|given| **given).count() != 1 {
            self.add(
                AT,
                "must have exactly one of `http_get`, `tcp`, `lock` and `exec`",
            );
        }
        if let Some(http) = &probe.http_get {
            if http.url.is_some() == http.port.is_some() {
                self.add(format!("{AT}.http_get"), "must have either `url` or `port`");
            }
            if http.url.is_some() && (http.host.is_some() || http.path.is_some()) {
                self.add(
                    format!("{AT}.http_get"),
                    "has `url`, so `host` and `path` belong into it",
                );
            }
            if http.scheme.as_ref().is_some_and(|scheme| scheme != "http") {
                self.add(
                    format!("{AT}.http_get.scheme"),
                    "must be `http`: probes stay on this machine",
                );
            }
            if http
                .url
                .as_ref()
                .is_some_and(|url| !url.starts_with("http://"))
            {
                self.add(format!("{AT}.http_get.url"), "must begin with `http://`");
            }
        }
        for (name, value) in [
            ("period_seconds", probe.period_seconds),
            ("timeout_seconds", probe.timeout_seconds),
            ("failure_threshold", probe.failure_threshold),
            ("success_threshold", probe.success_threshold),
        ] {
            if value == Some(0) {
                self.add(format!("{AT}.{name}"), "must be at least 1");
            }
        }
        for (name, value, twin, taken) in [
            (
                "timeout",
                &probe.timeout,
                "timeout_seconds",
                probe.timeout_seconds.is_some(),
            ),
            (
                "interval",
                &probe.interval,
                "period_seconds",
                probe.period_seconds.is_some(),
            ),
        ] {
            let Some(text) = value else { continue };
            if taken {
                self.add(
                    format!("{AT}.{name}"),
                    format!("says the same as `{twin}`; keep one"),
                );
            }
            if seconds(text).is_none() {
                let message = format!("is `{text}`, but must be a duration such as `5s`");
                self.add(format!("{AT}.{name}"), message);
            }
        }
    }

    fn ports(&mut self, manifest: &Manifest) {
        for (name, port) in &manifest.ports {
            if let Some(problem) = names::problem(name) {
                self.add(
                    format!("ports.{name}"),
                    format!("has a name that {problem}"),
                );
            }
            let twin = manifest
                .ports
                .iter()
                .find(|(_, other)| other.port == port.port);
            if let Some((twin, _)) = twin.filter(|(twin, _)| *twin < name) {
                let message = format!("is {}, which `ports.{twin}` has already", port.port);
                self.add(format!("ports.{name}.port"), message);
            }
        }
    }

    fn routes(&mut self, manifest: &Manifest) {
        for (index, route) in manifest.routes.iter().enumerate() {
            let at = |key: &str| format!("routes[{index}].{key}");
            if let Some(problem) = routes::path_problem(&route.path) {
                self.add(at("path"), format!("is `{}`, which {problem}", route.path));
            }
            let host = route.host.as_deref();
            if let Some((host, problem)) = host.zip(host.and_then(routes::host_problem)) {
                self.add(at("host"), format!("is `{host}`, which {problem}"));
            }
            let known = manifest.ports.keys().map(String::as_str);
            match manifest
                .ports
                .get(&route.port)
                .map(|port| port.protocol.as_deref())
            {
                None => {
                    let meant = names::or_meant(&route.port, known);
                    let message =
                        format!("names `{}`, which `ports` does not have{meant}", route.port);
                    self.add(at("port"), message);
                }
                Some(None | Some("http" | "ws")) => {}
                Some(Some(other)) => {
                    let message =
                        format!("names `{}`, which speaks {other} and not http", route.port);
                    self.add(at("port"), message);
                }
            }
        }
        for (index, path) in manifest.reserved_paths.iter().enumerate() {
            if let Some(problem) = routes::path_problem(path) {
                let message = format!("is `{path}`, which {problem}");
                self.add(format!("reserved_paths[{index}]"), message);
            }
        }
    }

    fn exports(&mut self, manifest: &Manifest) {
        for name in manifest.exports.keys() {
            if !is_variable_name(name) {
                self.add(format!("exports.{name}"), VARIABLE_NAME);
            }
        }
        for name in manifest.secret_exports.keys() {
            let at = format!("secret_exports.{name}");
            if !is_variable_name(name) {
                self.add(at, VARIABLE_NAME);
            } else if manifest.exports.contains_key(name) {
                self.add(at, "is one of `exports`, too, which everybody can read");
            }
        }
    }
}

/// Whether a path stays below the root: relative, without `..`.
fn is_inside(path: &str) -> bool {
    use std::path::{Component, Path};
    let path = Path::new(path);
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    path.components().all(plain) && path.file_name().is_some()
}

/// Whether a shell would accept the name of a variable.
pub fn is_variable_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
