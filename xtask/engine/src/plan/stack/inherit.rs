//! PURE: the variables that a process has because of what it depends on: their exports, and the
//! address of the front.
//!
//! The front's address is known before anything runs, and what is behind the front must not wait
//! for it, so it needs no dependency.

use std::collections::{BTreeMap, BTreeSet};

use super::{Process, Service, Value};

/// The variable that the front exports.
pub(super) const FRONT: &str = "CORE_URL";

/// A variable of another service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inherited<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// The service that exports it.
    pub(super) owner: &'a str,
}

/// Adds the variables to the environment of every process that wants them.
pub(super) fn add(services: &[Service], processes: &mut BTreeMap<String, Process>) {
    let mut added = Vec::new();
    for service in services {
        for variable in of(service, processes) {
            let Inherited { name, value, .. } = variable;
            added.push((service.name.clone(), name.to_owned(), value.to_owned()));
        }
    }
    for (service, name, text) in added {
        if let Some(process) = processes.get_mut(&service) {
            let value = Value {
                text,
                secret: false,
            };
            process.env.entry(name).or_insert(value);
        }
    }
}

/// Returns the variables that a service has from others. Its own entries win.
pub(super) fn of<'a>(
    service: &Service,
    processes: &'a BTreeMap<String, Process>,
) -> Vec<Inherited<'a>> {
    let process = &service.document.manifest.process;
    if process.inherit_exports == Some(false) {
        return Vec::new();
    }
    let below = below(&service.name, processes);
    let own = processes.get(&service.name).map(|process| &process.env);
    let others = processes
        .iter()
        .filter(|(name, other)| **name != service.name && !other.disabled);
    others
        .flat_map(|(owner, other)| {
            let exports = other.exports.iter();
            exports.map(move |(name, value)| Inherited { name, value, owner })
        })
        .filter(|variable| below.contains(variable.owner) || variable.name == FRONT)
        .filter(|variable| own.is_none_or(|env| !env.contains_key(variable.name)))
        .collect()
}

/// Returns what a service depends on, directly or not.
fn below<'a>(service: &str, processes: &'a BTreeMap<String, Process>) -> BTreeSet<&'a str> {
    let mut below = BTreeSet::new();
    let mut next: Vec<&str> = vec![service];
    while let Some(name) = next.pop() {
        let on = processes.get(name).map(|process| process.depends_on.keys());
        for name in on.into_iter().flatten() {
            if below.insert(name.as_str()) {
                next.push(name);
            }
        }
    }
    below
}
