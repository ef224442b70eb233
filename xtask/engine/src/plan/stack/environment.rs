//! PURE: the environment of a process as its own manifest has it, and what it exports.
//!
//! What the manifest names itself wins over files. The variables of other services are not added
//! here.

use std::collections::BTreeMap;

use kit::manifest::{EnvFiles, Manifest};

use super::Value;
use super::explain::{Provenance, line};
use super::process::Resolver;
use crate::plan::env::file;

impl Resolver<'_> {
    /// Returns the environment.
    pub(super) fn environment(&mut self, manifest: &Manifest) -> BTreeMap<String, Value> {
        let process = &manifest.process;
        let mut env = BTreeMap::new();
        for (name, text) in &process.env {
            let key = format!("process.env.{name}");
            let value = Value {
                text: self.text(text, &key),
                secret: process.secrets.contains(name),
            };
            self.note(&key, value.shown(), Some(text));
            env.insert(name.clone(), value);
        }
        env.extend(self.passed_through(manifest));
        env.extend(self.of_files(manifest));
        env
    }

    /// Returns the variables of the caller that the manifest names, as far as they are set.
    fn passed_through(&mut self, manifest: &Manifest) -> BTreeMap<String, Value> {
        let mut passed = BTreeMap::new();
        for (index, name) in manifest.process.env_passthrough.iter().enumerate() {
            let Some(text) = self.env().get(name) else {
                continue;
            };
            let value = secret(text);
            let place = line(self.service(), &format!("process.env_passthrough[{index}]"));
            if let Some(trace) = self.trace() {
                let from = [place].into_iter().chain(trace.variable(name));
                let from = from.collect();
                trace.push(&format!("process.env.{name}"), value.shown(), from);
            }
            passed.insert(name.clone(), value);
        }
        passed
    }

    /// Returns the variables of files.
    fn of_files(&mut self, manifest: &Manifest) -> BTreeMap<String, Value> {
        let service = self.service();
        let found = file::effective(&manifest.process, &service.env_files, self.env());
        let mut env = BTreeMap::new();
        for (name, from) in found {
            let value = secret(from.value);
            if let Some(trace) = self.trace() {
                let place = Provenance::EnvFile {
                    file: from.path.to_owned(),
                    line: from.entry.line,
                };
                let from = vec![line(service, &EnvFiles::key(from.index)), place];
                trace.push(&format!("process.env.{name}"), value.shown(), from);
            }
            env.insert(name.to_owned(), value);
        }
        env
    }

    /// Returns the variables that everybody may read.
    pub(super) fn exports(&mut self, manifest: &Manifest) -> BTreeMap<String, String> {
        let exports = manifest.exports.iter();
        exports
            .map(|(name, text)| {
                let key = format!("exports.{name}");
                let value = self.public_text(text, &key);
                self.note(&key, &value, Some(text));
                (name.clone(), value)
            })
            .collect()
    }

    /// Returns the variables for those who name them.
    pub(super) fn secret_exports(&mut self, manifest: &Manifest) -> BTreeMap<String, Value> {
        let exports = manifest.secret_exports.iter();
        exports
            .map(|(name, text)| {
                let key = format!("secret_exports.{name}");
                let value = secret(&self.text(text, &key));
                self.note(&key, value.shown(), Some(text));
                (name.clone(), value)
            })
            .collect()
    }
}

fn secret(text: &str) -> Value {
    Value {
        text: text.to_owned(),
        secret: true,
    }
}
