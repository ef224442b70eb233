//! The inputs that the running stack was made from: the text of its manifests, the variables, and
//! the files with variables that manifests name.
//!
//! A change of the topology while it runs is made from these inputs and not from the present files,
//! so that it changes only what was requested. Owns the file, which may hold secrets. Must not
//! resolve anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use anyhow::Context as _;
use kit::{Exit, Failure};
use serde::{Deserialize, Serialize};

use crate::SCHEMA_VERSION;
use crate::checkout::paths::Paths;
use crate::plan::env::Env;
use crate::plan::env::file::EnvFile;
use crate::plan::stack::Service;

/// Prefix of the variables that Core itself reads.
const OWN_VARIABLES: &str = "CORE_";

/// A general variable that determines where the register of instances is.
const STATE_VARIABLE: &str = "XDG_STATE_HOME";

/// The text of every manifest, and every variable that may matter.
#[derive(Serialize, Deserialize)]
pub struct Recorded {
    /// Version of this document; any other version is refused.
    schema_version: u32,
    /// The manifests, by service.
    manifests: BTreeMap<String, String>,
    /// The variables.
    env: BTreeMap<String, String>,
    /// The variables that are leased ports: the numbers that they should have, by `SERVICE.PORT`.
    #[serde(default)]
    leased: BTreeMap<String, u16>,
    /// Every port, by process and name: `nats.client`.
    #[serde(default)]
    ports: BTreeMap<String, u16>,
    /// The selected services, if not all are.
    #[serde(default)]
    chosen: Option<BTreeSet<String>>,
    /// The variables of files that manifests name, by path. A missing one is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env_files: BTreeMap<String, BTreeMap<String, String>>,
}

impl Recorded {
    /// Records these inputs.
    pub fn of(
        services: &[Service],
        env: &Env,
        leased: &BTreeMap<String, u16>,
        ports: &BTreeMap<String, u16>,
        chosen: Option<&BTreeSet<String>>,
    ) -> Self {
        let passed_on: Vec<&str> = env.passed_on().map(|(name, _)| name).collect();
        let matters = |name: &str| {
            let placeholder = format!("${{env.{name}");
            let named = |service: &Service| {
                let passed = &service.document.manifest.process.env_passthrough;
                service.document.text.contains(&placeholder)
                    || passed.iter().any(|passed| passed == name)
            };
            name.starts_with(OWN_VARIABLES)
                || name == STATE_VARIABLE
                || passed_on.contains(&name)
                || services.iter().any(named)
        };
        let manifest = |service: &Service| (service.name.clone(), service.document.text.clone());
        let env_files = services.iter().flat_map(|service| &service.env_files);
        let variables = env.iter().filter(|(name, _)| matters(name));
        Self {
            schema_version: SCHEMA_VERSION,
            manifests: services.iter().map(manifest).collect(),
            env: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            leased: leased.clone(),
            ports: ports.clone(),
            chosen: chosen.cloned(),
            env_files: env_files
                .map(|file| (file.path.clone(), file.values()))
                .collect(),
        }
    }

    /// Returns the content of the file.
    pub fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        serde_json::to_vec(self).context("cannot describe the inputs")
    }

    /// Reads the file of a running stack.
    pub fn load(paths: &Paths) -> anyhow::Result<Self> {
        let file = paths.recorded();
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let failure = Failure::new(Exit::NotRunning, "no stack runs that could be changed");
                return Err(failure.hint(paths.command("up")).into());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read `{}`", file.display()));
            }
        };
        let recorded: Option<Self> = serde_json::from_slice(&text).ok();
        recorded
            .filter(|recorded| recorded.schema_version == SCHEMA_VERSION)
            .ok_or_else(|| {
                let message = format!("cannot understand `{}`", file.display());
                let hint = paths.command("up");
                Failure::new(Exit::Unexpected, message).hint(hint).into()
            })
    }

    /// Returns the numbers that leased ports should have, by `SERVICE.PORT`.
    pub fn leased(&self) -> &BTreeMap<String, u16> {
        &self.leased
    }

    /// Returns every port, by process and name.
    pub fn ports(&self) -> &BTreeMap<String, u16> {
        &self.ports
    }

    /// Returns the selected services; `None` if all are.
    pub fn chosen(&self) -> Option<&BTreeSet<String>> {
        self.chosen.as_ref()
    }

    /// Returns the variables.
    pub fn env(&self) -> Env {
        Env::from_pairs(self.env.iter().map(|(name, value)| (&**name, &**value)))
    }

    /// Returns the manifests. They were valid when they were recorded.
    pub fn services(&self) -> anyhow::Result<Vec<Service>> {
        let parse = |(name, text): (&String, &String)| {
            let mut service = Service::parse(name, text)
                .map_err(|_| anyhow::anyhow!("the recorded manifest of `{name}` is damaged"))?;
            let wanted = &service.document.manifest.process.env_file.0;
            let read = wanted.iter().filter_map(|file| {
                let values = self.env_files.get(&file.path)?;
                Some(EnvFile::of_values(&file.path, values))
            });
            service.env_files = read.collect();
            Ok(service)
        };
        self.manifests.iter().map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use kit::files;

    use super::*;

    #[test]
    fn only_what_matters_is_recorded_and_it_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_path_buf());
        files::create_private_dir(&paths.state()).unwrap();
        let text = r#"{"process": {"command": "x", "env": {"A": "${env.USED:-}"},
            "env_passthrough": ["PASSED", "UNSET"],
            "env_file": ["x", {"path": "y", "optional": true}]}}"#;
        let mut service = Service::parse("a", text).unwrap();
        let values = [("B".to_owned(), "3".to_owned())].into();
        service.env_files = vec![EnvFile::of_values("x", &values)];
        let pairs = [
            ("USED", "1"),
            ("PASSED", "4"),
            ("OTHER", "2"),
            ("CORE_PROFILE", "local"),
            ("PATH", "/bin"),
        ];
        let leased = [("a.http".to_owned(), 80)].into();
        let ports = [("a.http".to_owned(), 30_000)].into();
        let chosen = Some(["a".to_owned()].into());
        let env = Env::from_pairs(pairs);
        let bytes = Recorded::of(&[service], &env, &leased, &ports, chosen.as_ref()).to_bytes();
        fs::write(paths.recorded(), bytes.unwrap()).unwrap();
        let recorded = Recorded::load(&paths).unwrap();
        assert_eq!(
            (recorded.leased(), recorded.chosen()),
            (&leased, chosen.as_ref())
        );
        assert_eq!(recorded.ports(), &ports);
        let env = recorded.env();
        let names: Vec<&str> = env.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["CORE_PROFILE", "PASSED", "PATH", "USED"]);
        let services = recorded.services().unwrap();
        assert_eq!(services[0].document.text, text);
        assert_eq!(services[0].env_files, [EnvFile::of_values("x", &values)]);
    }

    #[test]
    fn without_a_stack_there_is_nothing_to_change() {
        let paths = Paths::new("/nonexistent".into());
        let error = Recorded::load(&paths).err().unwrap();
        assert_eq!(kit::failure::exit_of(&error), Exit::NotRunning);
    }
}
