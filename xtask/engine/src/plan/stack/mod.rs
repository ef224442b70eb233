//! PURE: manifests + environment + ports + topology -> [`Stack`].
//!
//! The typed model that every target renders from. Does no IO and reads no clock or machine: the
//! same inputs give the same stack anywhere. Called both at start-up and at runtime.

mod build;
mod choice;
mod defaults;
mod environment;
mod explain;
#[cfg(test)]
pub(crate) mod fixture;
mod graph;
mod hosts;
mod inherit;
mod model;
mod nodes;
mod ports;
mod process;
mod routes;
mod secrets;
mod template;
pub mod words;

use std::fmt;
use std::path::PathBuf;

use kit::manifest::{Document, Problem};

use crate::plan::env::file::EnvFile;

pub use build::{build, with_nodes};
pub use choice::{part, single, with_dependencies};
pub use defaults::{CONTROLLER, INSTANCES, PROBE, RUN, SUPERVISED, TERM};
pub use explain::{Entry, Provenance, explain};
pub use inherit::FRONT;
pub use model::{
    Log, MASK, Port, Process, Readiness, ReadinessCheck, RestartPolicy, Route, Shutdown, Stack,
    Value,
};
pub use nodes::{PROFILE_VARIABLE, TOPOLOGY_VARIABLE, topology};
pub use ports::variable as port_variable;

/// The place of findings about variables, instead of a file.
const ENVIRONMENT: &str = "environment";

/// A manifest with the service's name and the path of its file.
#[derive(Debug, Clone)]
pub struct Service {
    /// The name of its directory.
    pub name: String,
    /// Its path from the root, for messages: `services/nats/service.json`.
    pub file: String,
    /// Its content.
    pub document: Document,
    /// The files that `process.env_file` names, without those that may be missing and are.
    pub env_files: Vec<EnvFile>,
}

impl Service {
    /// Parses the manifest of the service `name`. The files that it names are still to be read.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Finding>> {
        let file = manifest_file(name);
        let document = kit::manifest::parse(text).map_err(|problems| located(&file, problems))?;
        Ok(Self {
            name: name.to_owned(),
            file,
            document,
            env_files: Vec::new(),
        })
    }

    /// Returns a finding about a key of its manifest.
    pub(crate) fn finding(&self, path: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding {
            file: self.file.clone(),
            problem: self.document.lines.problem(path, message),
        }
    }
}

/// Returns the path of a service's manifest, relative to the root.
pub fn manifest_file(service: &str) -> String {
    format!("services/{service}/service.json")
}

/// Returns the problems of a manifest, or of the environment, with their place.
pub(crate) fn located(file: &str, problems: Vec<Problem>) -> Vec<Finding> {
    let located = |problem| Finding {
        file: file.to_owned(),
        problem,
    };
    problems.into_iter().map(located).collect()
}

/// The paths of the instance's directories, as the supervisor sees them from the root.
#[derive(Debug, Clone)]
pub struct Places {
    /// The root, absolute: only for a service with a working directory of its own.
    pub root: PathBuf,
    /// Installed binaries, relative to the root.
    pub dep: String,
    /// User data, relative to the root.
    pub data: String,
    /// Generated files, relative to the root.
    pub state: String,
}

impl Places {
    /// Returns the places of the default instance of the checkout at `root`.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            dep: ".dep".into(),
            data: ".data".into(),
            state: ".core-stack".into(),
        }
    }

    /// Returns the places of a stack that runs beside this one, as `Paths::beside` does.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self {
            data: format!("{}/{name}", self.data),
            state: format!("{}/{name}", self.state),
            ..self.clone()
        }
    }
}

/// A problem in the inputs, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The manifest's path from the root, or `environment`.
    pub file: String,
    /// The problem and its line.
    pub problem: Problem,
}

impl Finding {
    /// Returns a finding about a variable.
    fn of_variable(variable: &str, message: impl Into<String>) -> Self {
        Self {
            file: ENVIRONMENT.to_owned(),
            problem: Problem {
                line: 0,
                path: variable.to_owned(),
                message: message.into(),
            },
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            problem:
                Problem {
                    line,
                    path,
                    message,
                },
        } = self;
        if *line == 0 {
            write!(f, "{file}: `{path}` {message}")
        } else if path.is_empty() {
            write!(f, "{file}:{line}: {message}")
        } else {
            write!(f, "{file}:{line}: `{path}` {message}")
        }
    }
}
