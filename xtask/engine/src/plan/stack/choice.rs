//! PURE: reduces a stack to the selected services.

use std::collections::{BTreeMap, BTreeSet};

use super::{Service, Stack};

/// Returns the selected services with all their direct and indirect dependencies.
pub fn with_dependencies(services: &[Service], names: &BTreeSet<String>) -> BTreeSet<String> {
    let by_name: BTreeMap<&str, &Service> = services
        .iter()
        .map(|service| (service.name.as_str(), service))
        .collect();
    let mut chosen = BTreeSet::new();
    let mut open: Vec<&str> = names.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        if chosen.insert(name.to_owned())
            && let Some(service) = by_name.get(name)
        {
            let compose = &service.document.manifest.process.compose;
            open.extend(compose.depends_on.keys().map(String::as_str));
        }
    }
    chosen
}

/// Returns the stack with one process only.
#[must_use]
pub fn single(stack: &Stack, name: &str) -> Stack {
    let mut stack = stack.clone();
    stack.processes.retain(|other, _| other == name);
    stack.order.retain(|other| other == name);
    stack
}

/// Returns the processes of the selected services, without dependencies on the others.
#[must_use]
pub fn part(mut stack: Stack, services: &BTreeSet<String>) -> Stack {
    stack
        .processes
        .retain(|_, process| services.contains(&process.service));
    let names: BTreeSet<String> = stack.processes.keys().cloned().collect();
    for process in stack.processes.values_mut() {
        process.depends_on.retain(|name, _| names.contains(name));
    }
    stack.order.retain(|name| names.contains(name));
    stack
}
