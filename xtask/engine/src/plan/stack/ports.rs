//! Port numbers: from the manifest, or a variable that overrides it; each is used once.

use std::collections::{BTreeMap, BTreeSet};

use kit::names::or_meant;
use service_nats::topology::{Facts, Node, SERVICE};

use super::hosts::{self, Hosts, LOOPBACK};
use super::{Finding, Port, Service};
use crate::plan::env::{Env, Origin};

/// The prefix of the variables that override a port.
const PREFIX: &str = "CORE_PORT_";

/// Where allocated ports are stored, for messages.
const KEPT: &str = "the topology file in `.data`";

/// Returns the variable that overrides a port: `CORE_PORT_NATS_CLIENT`.
pub fn variable(service: &str, port: &str) -> String {
    let upper = |name: &str| name.to_ascii_uppercase().replace('-', "_");
    format!("{PREFIX}{}_{}", upper(service), upper(port))
}

/// Ports by service and name.
pub(super) type Ports = BTreeMap<String, BTreeMap<String, Port>>;

/// Resolves the ports of all services, and finds numbers that are used twice.
pub(super) fn resolve(
    services: &[Service],
    env: &Env,
    hosts: &Hosts,
    findings: &mut Vec<Finding>,
) -> Ports {
    let mut known = BTreeSet::new();
    let mut ports = Ports::new();
    for service in services {
        let resolved = ports.entry(service.name.clone()).or_default();
        for (name, port) in &service.document.manifest.ports {
            let variable = variable(&service.name, name);
            let line = service.document.lines.of(&format!("ports.{name}.port"));
            let mut port = Port {
                port: port.port,
                protocol: port.protocol.clone(),
                listen: hosts::of_port(service, name, hosts, env, findings),
                declared: format!("`ports.{name}.port` in {}:{line}", service.file),
            };
            if let Some(value) = env.non_empty(&variable) {
                match value.parse::<u16>() {
                    Ok(number) if number > 0 => port.port = number,
                    _ => findings.push(Finding::of_variable(
                        &variable,
                        "must be a port, 1 to 65535",
                    )),
                }
                port.declared = match env.origin(&variable) {
                    // A leased number is not a setting of the user.
                    Some(Origin::Lease) => format!("{}, leased", port.declared),
                    _ => format!("`{variable}`"),
                };
            }
            known.insert(variable);
            resolved.insert(name.clone(), port);
        }
    }
    find_unknown(&known, env, findings);
    find_twins(services, &ports, &Ports::new(), findings);
    ports
}

/// Adds the ports of all nodes, and finds those that a service has, too.
pub(super) fn with_nodes(
    mut ports: Ports,
    services: &[Service],
    facts: &Facts,
    findings: &mut Vec<Finding>,
) -> Ports {
    let of_nodes = of_nodes(services, facts, &ports);
    find_twins(services, &ports, &of_nodes, findings);
    ports.extend(of_nodes);
    ports
}

/// Returns the ports of all nodes, in the form of the ports of services.
fn of_nodes(services: &[Service], facts: &Facts, of_services: &Ports) -> Ports {
    // Ports of the nodes listen on the address of the first server's port.
    let first = of_services.get(SERVICE);
    let listen = |name: &str| first.and_then(|ports| Some(ports.get(name)?.listen));
    let nats = services.iter().find(|service| service.name == SERVICE);
    let nodes = facts.nodes().into_iter();
    let of_node = |node: Node| {
        let declared = nats.map(|service| &service.document.manifest.ports);
        let ports = declared.into_iter().flatten().filter_map(|(name, port)| {
            let port = Port {
                port: facts.port(&node.process, name)?,
                protocol: port.protocol.clone(),
                listen: listen(name).unwrap_or(LOOPBACK),
                declared: KEPT.to_owned(),
            };
            Some((name.clone(), port))
        });
        (node.process.clone(), ports.collect())
    };
    nodes.map(of_node).collect()
}

/// Finds misspelt overrides, which would otherwise leave the port unchanged without a message.
fn find_unknown(known: &BTreeSet<String>, env: &Env, findings: &mut Vec<Finding>) {
    for (name, _) in env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        if !known.contains(name) {
            let meant = or_meant(name, known.iter().map(String::as_str));
            let message = format!("names no port of any service{meant}");
            findings.push(Finding::of_variable(name, message));
        }
    }
}

fn find_twins(services: &[Service], ports: &Ports, of_nodes: &Ports, findings: &mut Vec<Finding>) {
    let of_nodes = of_nodes
        .iter()
        .flat_map(|(name, ports)| ports.values().map(move |port| (name, port)));
    let mut seen: BTreeMap<u16, (&str, &Port)> = of_nodes
        .map(|(name, port)| (port.port, (name.as_str(), port)))
        .collect();
    for service in services {
        for (name, port) in &ports[&service.name] {
            if let Some((owner, first)) = seen.get(&port.port) {
                // A duplicate within one manifest is reported for that manifest, unless overridden.
                let message = format!(
                    "is {}, which `{owner}` has already by {}",
                    port.port, first.declared
                );
                let path = format!("ports.{name}.port");
                findings.push(service.finding(path, message));
            } else {
                seen.insert(port.port, (&service.name, port));
            }
        }
    }
}
