//! The stack that runs, recorded when it became healthy: inputs that were edited or broken later,
//! or another environment, do not change what is reported.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;
use kit::files;
use kit::manifest::{Binary, Source};
use serde::{Deserialize, Serialize};

use crate::SCHEMA_VERSION;
use crate::checkout::paths::Paths;
use crate::checkout::recorded::Recorded;
use crate::plan::stack::{self, Process, Service, Stack};

/// Versions of a service's fetched programs, by name.
pub type Versions = BTreeMap<String, String>;

/// A stack and the versions that its services run. Holds no secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct Applied {
    /// Version of this document; any other version is ignored.
    schema_version: u32,
    /// Services by name.
    pub services: BTreeMap<String, Versions>,
    /// The stack, its secrets masked.
    pub stack: Stack,
    /// Where each port is declared, by process and name; the serialised stack leaves this out.
    #[serde(default)]
    declared: BTreeMap<String, BTreeMap<String, String>>,
}

impl Applied {
    /// Describes the stack of these services.
    pub(crate) fn from<'a>(services: impl Iterator<Item = &'a Service>, stack: Stack) -> Self {
        let version = |binary: &Binary| Some((binary.name.clone(), binary.version.clone()?));
        let services = services.map(|service| {
            let binaries = service.document.manifest.binaries.iter();
            let fetched = binaries.filter(|binary| binary.source == Source::Fetch);
            (service.name.clone(), fetched.filter_map(version).collect())
        });
        Self {
            schema_version: SCHEMA_VERSION,
            services: services.collect(),
            declared: declared(&stack),
            stack,
        }
    }

    /// Builds the stack from the recorded inputs of the last start, without further nodes of NATS.
    /// `None` if there are none.
    pub fn recorded(paths: &Paths) -> Option<Self> {
        let recorded = Recorded::load(paths).ok()?;
        let mut services = recorded.services().ok()?;
        let env = recorded.env();
        let mut stack = stack::build(&services, &env, &paths.places()).ok()?;
        if let Some(chosen) = recorded.chosen() {
            services.retain(|service| chosen.contains(&service.name));
            stack = stack::part(stack, chosen);
        }
        Some(Self::from(services.iter(), stack))
    }

    /// Writes the record.
    pub fn save(&self, paths: &Paths) -> anyhow::Result<()> {
        let text = serde_json::to_vec(self).context("cannot describe the stack")?;
        files::write_for_this_run(&paths.applied(), &text, files::PRIVATE_FILE_MODE)
    }

    /// Reads the record, if it is valid.
    pub fn load(paths: &Paths) -> Option<Self> {
        let text = fs::read(paths.applied()).ok()?;
        let mut applied: Self = serde_json::from_slice(&text).ok()?;
        for (process, ports) in &applied.declared {
            for (name, place) in ports {
                let process = applied.stack.processes.get_mut(process);
                if let Some(port) = process.and_then(|process| process.ports.get_mut(name)) {
                    port.declared.clone_from(place);
                }
            }
        }
        (applied.schema_version == SCHEMA_VERSION).then_some(applied)
    }
}

fn declared(stack: &Stack) -> BTreeMap<String, BTreeMap<String, String>> {
    let of = |process: &Process| {
        let ports = process.ports.iter();
        ports
            .map(|(name, port)| (name.clone(), port.declared.clone()))
            .collect()
    };
    let processes = stack.processes.iter();
    processes
        .map(|(name, process)| (name.clone(), of(process)))
        .collect()
}
