//! PURE: checks the names in `process.use_secrets`: each must be a secret export of a service that
//! the process depends on.

use std::collections::BTreeMap;

use kit::names;

use super::{Finding, Process, Service, inherit};

/// Adds what is wrong with the names to `findings`.
pub(super) fn check(
    services: &[Service],
    processes: &BTreeMap<String, Process>,
    findings: &mut Vec<Finding>,
) {
    for service in services {
        let wanted = &service.document.manifest.process.use_secrets;
        if wanted.is_empty() {
            continue;
        }
        let below = inherit::below(&service.name, processes);
        for (index, name) in wanted.iter().enumerate() {
            let exports = |other: &&Service| {
                let manifest = &other.document.manifest;
                manifest.secret_exports.contains_key(name)
            };
            let owners: Vec<&Service> = services.iter().filter(exports).collect();
            let is_below = |owner: &&Service| below.contains(owner.name.as_str());
            if owners.iter().any(is_below) {
                continue;
            }
            let message = match owners.first() {
                None => {
                    let known = services.iter();
                    let known =
                        known.flat_map(|other| other.document.manifest.secret_exports.keys());
                    let meant = names::or_meant(name, known.map(String::as_str));
                    format!("names `{name}`, which no service has in `secret_exports`{meant}")
                }
                Some(owner) if owner.name == service.name => {
                    format!("names `{name}`, which this service exports itself")
                }
                Some(owner) => format!(
                    "names `{name}` of `{}`, which this service does not depend on",
                    owner.name
                ),
            };
            findings.push(service.finding(format!("process.use_secrets[{index}]"), message));
        }
    }
}
