//! Owns the two steps that turn inputs into a [`Stack`], or report everything wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use kit::manifest::{Binary, Condition, Source};
use kit::names;
use service_nats::topology::{Facts, SERVICE};

use super::hosts::{self, Hosts};
use super::inherit;
use super::nodes::{self, Expansion};
use super::ports::{self, Ports};
use super::process::{Resolver, secret_variables};
use super::routes::{self, Routes};
use super::template::Template;
use super::{Finding, Places, Process, Service, Stack, graph, located, secrets};
use crate::plan::env::Env;

/// Builds the stack of all `services`, without nodes of NATS. Returns all findings of all manifests
/// at once.
pub fn build(services: &[Service], env: &Env, places: &Places) -> Result<Stack, Vec<Finding>> {
    let mut findings = nodes::topology(services, env).err().unwrap_or_default();
    check_names(services, &mut findings);
    check_binaries(services, &mut findings);
    let hosts = hosts::resolve(services, env, &mut findings);
    let ports = ports::resolve(services, env, &hosts, &mut findings);
    let routes = routes::resolve(services, &ports, &mut findings);
    let mut processes = resolve(
        services,
        env,
        places,
        &hosts,
        &ports,
        &routes,
        &mut findings,
    );
    routes::publish(&mut processes);
    inherit::add(services, &mut processes);
    check_dependencies(services, &mut findings);
    secrets::check(services, &processes, &mut findings);
    check_export_names(services, &mut findings);
    check_exports(services, &mut findings);
    ordered(services, processes, findings)
}

/// Adds the nodes of NATS in the topology of `facts` to the stack of the same inputs, which are
/// without findings of their own. Nodes come second, since their ports are allocated among those of
/// the services.
pub fn with_nodes(
    stack: Stack,
    services: &[Service],
    env: &Env,
    places: &Places,
    facts: &Facts,
) -> Result<Stack, Vec<Finding>> {
    let mut findings = Vec::new();
    check_node_names(services, facts, &mut findings);
    let hosts = hosts::resolve(services, env, &mut findings);
    let Stack { mut processes, .. } = stack;
    let of_services = processes.iter();
    let of_services = of_services.map(|(name, process)| (name.clone(), process.ports.clone()));
    let ports = ports::with_nodes(of_services.collect(), services, facts, &mut findings);
    // What is wrong with them was found already.
    let routes = routes::resolve(services, &ports, &mut Vec::new());
    if let Some(service) = services.iter().find(|service| service.name == SERVICE) {
        let expansion = Expansion {
            service,
            env,
            places,
            hosts: &hosts,
            ports: &ports,
            routes: &routes,
            facts,
        };
        let mut nodes = expansion.processes();
        inherit::share(service, &processes, &mut nodes);
        processes.extend(nodes);
    }
    ordered(services, processes, findings)
}

/// Returns the stack of `processes`, or all findings.
fn ordered(
    services: &[Service],
    processes: BTreeMap<String, Process>,
    mut findings: Vec<Finding>,
) -> Result<Stack, Vec<Finding>> {
    let order = order(services, &processes, &mut findings);
    if findings.is_empty() {
        return Ok(Stack { processes, order });
    }
    findings.sort();
    findings.dedup();
    Err(findings)
}

pub(super) fn resolve(
    services: &[Service],
    env: &Env,
    places: &Places,
    hosts: &Hosts,
    ports: &Ports,
    routes: &Routes,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Process> {
    let mut processes = BTreeMap::new();
    for service in services {
        let mut resolver = Resolver::new(service, env, places, hosts, ports, routes);
        let process = resolver.process();
        findings.extend(located(&service.file, resolver.into_problems()));
        processes.insert(service.name.clone(), process);
    }
    processes
}

fn check_node_names(services: &[Service], facts: &Facts, findings: &mut Vec<Finding>) {
    for node in facts.nodes() {
        for service in services
            .iter()
            .filter(|service| service.name == node.process)
        {
            let message = format!(
                "the folder's name `{}` is that of a node of NATS in this topology",
                service.name
            );
            findings.push(service.finding("", message));
        }
    }
}

fn check_names(services: &[Service], findings: &mut Vec<Finding>) {
    for service in services {
        if service.name == super::INSTANCES {
            let message =
                "the folder's name is taken: named instances have their files there".to_owned();
            findings.push(service.finding("", message));
        }
        if let Some(problem) = names::problem(&service.name) {
            let message = format!("the folder's name `{}` {problem}", service.name);
            findings.push(service.finding("", message));
        }
    }
}

/// Checks that a name in `.dep/` means one program in all manifests.
fn check_binaries(services: &[Service], findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<&str, (&Binary, &Service)> = BTreeMap::new();
    for service in services {
        for (index, binary) in service.document.manifest.binaries.iter().enumerate() {
            if binary.source == Source::Placeholder {
                continue;
            }
            let (first, owner) = *seen.entry(&binary.name).or_insert((binary, service));
            if first != binary {
                let message = format!("differs from what {} says of this binary", owner.file);
                findings.push(service.finding(format!("binaries[{index}].name"), message));
            }
        }
    }
}

/// Checks that only one service exports a variable, in whichever way.
fn check_export_names(services: &[Service], findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let manifest = &service.document.manifest;
        let public = manifest.exports.keys().map(|name| ("exports", name));
        let secret = manifest.secret_exports.keys();
        let secret = secret.map(|name| ("secret_exports", name));
        for (key, name) in public.chain(secret) {
            let owner = *seen.entry(name).or_insert(service);
            if owner.name != service.name {
                let message = format!("is exported by `{}` already", owner.name);
                findings.push(service.finding(format!("{key}.{name}"), message));
            }
        }
    }
}

/// Checks that what everybody can read holds no secret of another service. A service's own secrets
/// are checked where it is resolved.
fn check_exports(services: &[Service], findings: &mut Vec<Finding>) {
    for service in services {
        let others = services.iter().filter(|other| other.name != service.name);
        let secrets: Vec<String> = others
            .flat_map(|other| secret_variables(&other.document.manifest))
            .collect();
        for (name, text) in &service.document.manifest.exports {
            let path = format!("exports.{name}");
            let template = Template::parse(text).ok();
            let variables = template.iter().flat_map(Template::variables);
            for variable in variables.filter(|name| secrets.iter().any(|secret| secret == name)) {
                let message = format!("would show `{variable}`, a secret of another service");
                findings.push(service.finding(&path, message));
            }
        }
    }
}

fn check_dependencies(services: &[Service], findings: &mut Vec<Finding>) {
    let by_name: BTreeMap<&str, &Service> = services
        .iter()
        .map(|service| (service.name.as_str(), service))
        .collect();
    for service in services {
        for (name, dependency) in &service.document.manifest.process.compose.depends_on {
            let path = format!("process.compose.depends_on.{name}");
            let Some(other) = by_name.get(name.as_str()) else {
                let meant = names::or_meant(name, by_name.keys().copied());
                let message = format!("names a service that does not exist{meant}");
                findings.push(service.finding(&path, message));
                continue;
            };
            let compose = &other.document.manifest.process.compose;
            if compose.disabled == Some(true) {
                findings.push(service.finding(&path, format!("names `{name}`, which is disabled")));
            }
            let waits_for_health = dependency.condition == Condition::ProcessHealthy;
            if waits_for_health && compose.readiness_probe.is_none() {
                let message =
                    format!("waits for the health of `{name}`, which has no readiness probe");
                findings.push(service.finding(&path, message));
            }
        }
    }
}

fn order(
    services: &[Service],
    processes: &BTreeMap<String, Process>,
    findings: &mut Vec<Finding>,
) -> Vec<String> {
    let edges = processes.iter().map(|(name, process)| {
        let on = process.depends_on.keys();
        let on: BTreeSet<String> = on
            .filter(|name| processes.contains_key(*name))
            .cloned()
            .collect();
        (name.clone(), on)
    });
    graph::order(&edges.collect()).unwrap_or_else(|cycle| {
        if let Some(service) = services
            .iter()
            .find(|service| Some(&service.name) == cycle.first())
        {
            let round = cycle.iter().chain(cycle.first()).map(String::as_str);
            let message = format!("is a cycle: {}", round.collect::<Vec<_>>().join(" -> "));
            let path = "process.compose.depends_on";
            findings.push(service.finding(path, message));
        }
        Vec::new()
    })
}
