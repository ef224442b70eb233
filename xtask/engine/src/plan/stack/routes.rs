//! PURE: the paths of the front that lead to services, and the origins of pages of the stack.
//!
//! The front is the service whose manifest reads `${routes}`. Must not know how it forwards.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::inherit::FRONT;
use super::ports::Ports;
use super::template::Template;
use super::{Finding, Port, Process, Route, Service};

/// All routes of a stack.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Each with its service.
    routes: Vec<(String, Route)>,
    origins: BTreeSet<String>,
}

/// An entry of `${routes}`.
#[derive(Serialize)]
struct Entry<'a> {
    service: &'a str,
    #[serde(flatten)]
    route: &'a Route,
}

impl Routes {
    /// Returns the routes of one service, in the order of its manifest.
    pub(super) fn of(&self, service: &str) -> Vec<Route> {
        let own = self.routes.iter().filter(|(owner, _)| owner == service);
        own.map(|(_, route)| route.clone()).collect()
    }

    /// Returns what `${routes}` stands for: JSON, or nothing if there are none.
    pub(super) fn text(&self) -> String {
        if self.routes.is_empty() {
            return String::new();
        }
        let routes = self.routes.iter();
        let entries: Vec<Entry<'_>> = routes
            .map(|(service, route)| Entry { service, route })
            .collect();
        serde_json::to_string(&entries).unwrap_or_default()
    }

    /// Returns what `${origins}` stands for.
    pub(super) fn origins(&self) -> String {
        let origins: Vec<&str> = self.origins.iter().map(String::as_str).collect();
        origins.join(",")
    }
}

/// Resolves the routes of all enabled services, and finds those that cannot be.
pub(super) fn resolve(services: &[Service], ports: &Ports, findings: &mut Vec<Finding>) -> Routes {
    let enabled: Vec<&Service> = services.iter().filter(|it| is_enabled(it)).collect();
    // Most stacks have no routes: then nothing needs to know the front.
    let has_routes = |service: &&&Service| !service.document.manifest.routes.is_empty();
    let routed: Vec<&Service> = enabled.iter().filter(has_routes).copied().collect();
    let mut fronts = enabled.iter().filter(|service| is_front(service)).copied();
    let front = if routed.is_empty() {
        None
    } else {
        fronts.next()
    };
    let mut routes = Routes::default();
    let mut seen: BTreeMap<(Option<&str>, &str), String> = BTreeMap::new();
    for service in routed {
        check_export(service, services, findings);
        for (index, declared) in service.document.manifest.routes.iter().enumerate() {
            let at = format!("routes[{index}].path");
            let path = declared.path.as_str();
            let host = declared.host.as_deref();
            if let Some((reserved, place)) = reserved(&enabled, path) {
                let message = format!("is `{path}`, which hides `{reserved}` of {place}");
                findings.push(service.finding(&at, message));
            }
            let place = format!("{}:{}", service.file, service.document.lines.of(&at));
            if let Some(first) = seen.insert((host, path), place) {
                let message = format!("is `{path}`, which is a route by {first} already");
                findings.push(service.finding(&at, message));
            }
            match front {
                Some(front) if front.name != service.name => {}
                Some(_) => findings.push(service.finding(&at, "would lead the front to itself")),
                None => findings.push(service.finding(
                    &at,
                    "leads nowhere: there is no front, whose manifest reads `${routes}`",
                )),
            }
            let port = ports
                .get(&service.name)
                .and_then(|own| own.get(&declared.port));
            // A port that does not exist was found in the manifest.
            if let Some(port) = port {
                let route = Route {
                    path: declared.path.clone(),
                    host: declared.host.clone(),
                    strip_prefix: declared.strip_prefix == Some(true),
                    address: dialled(port),
                    url: None,
                };
                routes.routes.push((service.name.clone(), route));
            }
        }
    }
    routes.origins = origins(&enabled, front, ports);
    routes
}

/// Completes the processes: the URLs of their routes behind the front, as pages and as exports.
pub(super) fn publish(processes: &mut BTreeMap<String, Process>) {
    let front = processes
        .values()
        .find_map(|process| process.exports.get(FRONT));
    let Some(front) = front.cloned() else {
        return;
    };
    for (name, process) in processes {
        for route in &mut process.routes {
            route.url = Some(url(&front, route));
        }
        if let Some(url) = process.routes.first().and_then(|route| route.url.clone()) {
            let variable = variable(name);
            if !process.secret_exports.contains_key(&variable) {
                process.exports.entry(variable).or_insert(url);
            }
        }
    }
}

/// Returns the variable with the URL of a service behind the front: `WEB_URL`.
fn variable(service: &str) -> String {
    format!("{}_URL", service.to_ascii_uppercase().replace('-', "_"))
}

/// Checks that the variable with the URL of a service is no other service's.
fn check_export(service: &Service, services: &[Service], findings: &mut Vec<Finding>) {
    let variable = variable(&service.name);
    let exports = |service: &Service| {
        let manifest = &service.document.manifest;
        manifest.exports.contains_key(&variable) || manifest.secret_exports.contains_key(&variable)
    };
    let mut others = services.iter().filter(|other| other.name != service.name);
    if let Some(other) = others.find(|other| exports(other))
        && !exports(service)
    {
        let message = format!(
            "has its URL in `{variable}`, which `{}` exports",
            other.name
        );
        findings.push(service.finding("routes[0].path", message));
    }
}

/// Returns the URL of a route at the front, whose own URL is `http://HOST:PORT`.
fn url(front: &str, route: &Route) -> String {
    let (scheme, address) = front.split_once("://").unwrap_or(("http", front));
    let address = address.trim_end_matches('/');
    let port = address.rsplit_once(':').map_or("", |(_, port)| port);
    match &route.host {
        Some(host) => format!("{scheme}://{host}:{port}{}", route.path),
        None => format!("{scheme}://{address}{}", route.path),
    }
}

/// Returns the address at which the front reaches a port. Many servers of development listen on
/// whichever address `localhost` has first, so the front tries both.
fn dialled(port: &Port) -> String {
    let address = port.address();
    if address.ip().is_loopback() && address.is_ipv4() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// Returns the origins of pages that the servers of this stack may serve.
fn origins(enabled: &[&Service], front: Option<&Service>, ports: &Ports) -> BTreeSet<String> {
    let is_http = |port: &&Port| port.protocol.as_deref() == Some("http");
    let of = |service: &Service| {
        ports
            .get(&service.name)
            .into_iter()
            .flat_map(BTreeMap::values)
    };
    let mut origins = BTreeSet::new();
    for port in enabled
        .iter()
        .flat_map(|service| of(service))
        .filter(is_http)
    {
        origins.insert(format!("http://{}", port.address()));
        if port.address().ip().is_loopback() {
            origins.insert(format!("http://127.0.0.1:{}", port.port));
            origins.insert(format!("http://localhost:{}", port.port));
        }
    }
    let routes = enabled
        .iter()
        .flat_map(|service| &service.document.manifest.routes);
    for host in routes.filter_map(|route| route.host.as_deref()) {
        for port in front.into_iter().flat_map(of).filter(is_http) {
            origins.insert(format!("http://{host}:{}", port.port));
        }
    }
    origins
}

/// Returns the reserved path that a path hides, and where it is declared.
fn reserved(enabled: &[&Service], path: &str) -> Option<(String, String)> {
    for service in enabled {
        for (index, reserved) in service.document.manifest.reserved_paths.iter().enumerate() {
            let below = path.strip_prefix(reserved.as_str());
            if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                let line = service
                    .document
                    .lines
                    .of(&format!("reserved_paths[{index}]"));
                return Some((reserved.clone(), format!("{}:{line}", service.file)));
            }
        }
    }
    None
}

fn is_enabled(service: &Service) -> bool {
    service.document.manifest.process.compose.disabled != Some(true)
}

fn is_front(service: &Service) -> bool {
    let env = &service.document.manifest.process.env;
    env.values()
        .any(|text| Template::parse(text).is_ok_and(|template| template.reads_routes()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::plan::env::Env;
    use crate::plan::stack::{Places, Stack, build};

    const FRONT_MANIFEST: &str = r#"{
        "process": {"command": "front", "env": {"R": "${routes}", "O": "${origins}"}},
        "ports": {"http": {"port": 2015, "protocol": "http"}},
        "reserved_paths": ["/api"],
        "exports": {"CORE_URL": "http://127.0.0.1:${port.http}"}
    }"#;

    /// Returns a service on port 5173 with these routes.
    fn web(routes: &str) -> String {
        format!(
            r#"{{"process": {{"command": "web"}},
            "ports": {{"http": {{"port": 5173, "protocol": "http"}}, "raw": {{"port": 5174}}}},
            "routes": {routes}}}"#
        )
    }

    fn stack(manifests: &[(&str, &str)]) -> Result<Stack, Vec<String>> {
        let services = manifests.iter();
        let services: Result<Vec<_>, _> = services
            .map(|(name, text)| Service::parse(name, text))
            .collect();
        let places = Places::new(PathBuf::from("/root"));
        let built = services.and_then(|services| build(&services, &Env::from_pairs([]), &places));
        built.map_err(|findings| findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_front_receives_all_routes_and_origins() {
        let web = web(r#"[{"path": "/app", "port": "http", "strip_prefix": true},
                {"path": "/", "port": "raw", "host": "app.localhost"}]"#);
        let stack = stack(&[("front", FRONT_MANIFEST), ("web", &web)]).unwrap();
        let env = &stack.processes["front"].env;
        assert_eq!(
            env["R"].text,
            concat!(
                r#"[{"service":"web","path":"/app","strip_prefix":true,"#,
                r#""address":"localhost:5173"},"#,
                r#"{"service":"web","path":"/","host":"app.localhost","#,
                r#""address":"localhost:5174"}]"#
            )
        );
        let origins: Vec<&str> = env["O"].text.split(',').collect();
        assert_eq!(
            origins,
            [
                "http://127.0.0.1:2015",
                "http://127.0.0.1:5173",
                "http://app.localhost:2015",
                "http://localhost:2015",
                "http://localhost:5173",
            ]
        );
        let process = &stack.processes["web"];
        let urls: Vec<_> = process
            .routes
            .iter()
            .filter_map(|it| it.url.as_deref())
            .collect();
        assert_eq!(
            urls,
            ["http://127.0.0.1:2015/app", "http://app.localhost:2015/"]
        );
        assert_eq!(process.exports["WEB_URL"], "http://127.0.0.1:2015/app");
    }

    #[test]
    fn without_routes_nothing_is_passed() {
        let stack = stack(&[("front", FRONT_MANIFEST), ("web", &web("[]"))]).unwrap();
        assert_eq!(stack.processes["front"].env["R"].text, "");
        assert!(stack.processes["web"].exports.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let one = web(r#"[{"path": "/app", "port": "http"}]"#);
        let two = one.replace("517", "617");
        let front = ("front", FRONT_MANIFEST);
        let messages = |manifests: &[(&str, &str)]| stack(manifests).unwrap_err().join("\n");
        let twice = messages(&[front, ("one", &one), ("two", &two)]);
        assert_eq!(
            twice,
            "services/two/service.json:3: `routes[0].path` is `/app`, which is a route by \
             services/one/service.json:3 already"
        );
        let hides = messages(&[front, ("one", &one.replace("/app", "/api/x"))]);
        assert_eq!(
            hides,
            "services/one/service.json:3: `routes[0].path` is `/api/x`, which hides `/api` of \
             services/front/service.json:4"
        );
        let alone = messages(&[("one", &one)]);
        assert!(alone.contains("leads nowhere"), "{alone}");
        let routes = r#""routes": [{"path": "/app", "port": "http"}], "exports""#;
        let to_itself = FRONT_MANIFEST.replace(r#""exports""#, routes);
        let to_itself = messages(&[("front", &to_itself)]);
        assert!(
            to_itself.contains("would lead the front to itself"),
            "{to_itself}"
        );
        let taken = FRONT_MANIFEST.replace("CORE_URL", "ONE_URL");
        let taken = messages(&[("front", &taken), ("one", &one)]);
        assert!(
            taken.contains("has its URL in `ONE_URL`, which `front` exports"),
            "{taken}"
        );
        let port = messages(&[front, ("one", &one.replace(r#""http"}]"#, r#""htp"}]"#))]);
        assert!(
            port.contains("names `htp`, which `ports` does not have"),
            "{port}"
        );
    }
}
