//! PURE: the variables that a process has because of what it depends on: their exports, those of
//! their secret exports that it names, and the address of the front.
//!
//! The front's address is known before anything runs, and what is behind the front must not wait
//! for it, so it needs no dependency.

use std::collections::{BTreeMap, BTreeSet};

use super::{Process, Service, Value};

/// The variable that the front exports.
pub const FRONT: &str = "CORE_URL";

/// A variable of another service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inherited<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// The service that exports it.
    pub(super) owner: &'a str,
    pub(super) is_secret: bool,
}

/// Adds the variables to the environment of every process that wants them.
pub(super) fn add(services: &[Service], processes: &mut BTreeMap<String, Process>) {
    let mut added = Vec::new();
    for service in services {
        for variable in of(service, processes) {
            let value = Value {
                text: variable.value.to_owned(),
                secret: variable.is_secret,
            };
            added.push((service.name.clone(), variable.name.to_owned(), value));
        }
    }
    for (service, name, value) in added {
        if let Some(process) = processes.get_mut(&service) {
            process.env.entry(name).or_insert(value);
        }
    }
}

/// Adds the secrets of a service to the environment of its further processes.
pub(super) fn share(
    service: &Service,
    processes: &BTreeMap<String, Process>,
    further: &mut BTreeMap<String, Process>,
) {
    let Some(first) = processes.get(&service.name) else {
        return;
    };
    let names = &service.document.manifest.process.use_secrets;
    let secrets = names
        .iter()
        .filter_map(|name| first.env.get_key_value(name));
    for (name, value) in secrets {
        for process in further.values_mut() {
            process.env.insert(name.clone(), value.clone());
        }
    }
}

/// Returns the variables that a service has from others. Its own entries win.
pub(super) fn of<'a>(
    service: &Service,
    processes: &'a BTreeMap<String, Process>,
) -> Vec<Inherited<'a>> {
    let process = &service.document.manifest.process;
    let below = below(&service.name, processes);
    let mut variables = secrets(&process.use_secrets, &below, processes);
    if process.inherit_exports != Some(false) {
        variables.extend(exports(&service.name, &below, processes));
    }
    let own = processes.get(&service.name).map(|process| &process.env);
    variables.retain(|variable| own.is_none_or(|env| !env.contains_key(variable.name)));
    variables
}

/// Returns the exports of what a service depends on, and the address of the front.
fn exports<'a>(
    service: &str,
    below: &BTreeSet<&str>,
    processes: &'a BTreeMap<String, Process>,
) -> Vec<Inherited<'a>> {
    let others = processes
        .iter()
        .filter(|(name, other)| *name != service && !other.disabled);
    others
        .flat_map(|(owner, other)| {
            let exports = other.exports.iter();
            exports.map(move |(name, value)| Inherited {
                name,
                value,
                owner,
                is_secret: false,
            })
        })
        .filter(|variable| below.contains(variable.owner) || variable.name == FRONT)
        .collect()
}

/// Returns the secret exports among `names` of what a service depends on.
fn secrets<'a>(
    names: &[String],
    below: &BTreeSet<&str>,
    processes: &'a BTreeMap<String, Process>,
) -> Vec<Inherited<'a>> {
    let owners = processes
        .iter()
        .filter(|(name, _)| below.contains(name.as_str()));
    owners
        .flat_map(|(owner, other)| {
            let exports = other.secret_exports.iter();
            exports.map(move |(name, value)| Inherited {
                name,
                value: &value.text,
                owner,
                is_secret: true,
            })
        })
        .filter(|variable| names.iter().any(|name| name == variable.name))
        .collect()
}

/// Returns what a service depends on, directly or not.
pub(super) fn below<'a>(
    service: &str,
    processes: &'a BTreeMap<String, Process>,
) -> BTreeSet<&'a str> {
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
