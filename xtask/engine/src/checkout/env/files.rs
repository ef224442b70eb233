//! Reads the files with variables that manifests name in `process.env_file`.
//!
//! Owns where they are and that each is read once. Must not show a value: a finding names the file
//! and the line.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use kit::manifest::EnvFiles as Named;

use super::{WRITER_WAIT, input};
use crate::plan::env::file::EnvFile;
use crate::plan::stack::{Finding, Service, located};

/// Files with variables, each read once for all services.
pub(crate) struct EnvFiles<'a> {
    root: &'a Path,
    read: BTreeMap<String, Result<EnvFile, Unread>>,
}

/// Why there is nothing to take from a file.
enum Unread {
    /// It is missing.
    Missing,
    /// It cannot be read.
    Unreadable(io::Error),
    /// It has invalid lines, which were reported.
    Invalid,
}

impl<'a> EnvFiles<'a> {
    /// Takes the files that the services `before` have, and reads others below `root`.
    pub(crate) fn new(root: &'a Path, before: &[Service]) -> Self {
        let known = before.iter().flat_map(|service| &service.env_files);
        Self {
            root,
            read: known
                .map(|file| (file.path.clone(), Ok(file.clone())))
                .collect(),
        }
    }

    /// Gives a service the files that its manifest names. Returns what is wrong with them.
    pub(crate) fn attach(&mut self, service: &mut Service) -> Vec<Finding> {
        let mut findings = Vec::new();
        let named = service.document.manifest.process.env_file.clone();
        for (index, file) in named.0.iter().enumerate() {
            if !self.read.contains_key(&file.path) {
                let read = self.read(&file.path, &mut findings);
                self.read.insert(file.path.clone(), read);
            }
            let path = &file.path;
            let problem = match self.read.get(path) {
                Some(Ok(read)) => {
                    service.env_files.push(read.clone());
                    continue;
                }
                Some(Err(Unread::Missing)) if !file.optional => format!(
                    "names `{path}`, which does not exist; `\"optional\": true` allows that"
                ),
                Some(Err(Unread::Unreadable(error))) => {
                    format!("names `{path}`, which cannot be read: {error}")
                }
                Some(Err(Unread::Missing | Unread::Invalid)) | None => continue,
            };
            findings.push(service.finding(Named::key(index), problem));
        }
        findings
    }

    fn read(&self, path: &str, findings: &mut Vec<Finding>) -> Result<EnvFile, Unread> {
        let text = input::read_text(&self.root.join(path), WRITER_WAIT);
        let text = text.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unread::Missing,
            _ => Unread::Unreadable(error),
        })?;
        EnvFile::parse(path, &text, &|name| std::env::var_os(name).is_some()).map_err(|problems| {
            findings.extend(located(path, problems));
            Unread::Invalid
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn service(name: &str, files: &str) -> Service {
        let text = format!("{{\"process\": {{\"command\": \"x\",\n\"env_file\": {files}}}}}");
        Service::parse(name, &text).unwrap()
    }

    /// Returns the names that the service has from files, and the findings.
    fn attach(files: &mut EnvFiles<'_>, service: &mut Service) -> (Vec<String>, Vec<String>) {
        let findings = files.attach(service);
        let lines = service.env_files.iter().flat_map(|file| &file.lines);
        let names = lines.map(|(entry, _)| entry.name.clone()).collect();
        (names, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_file_is_read_once_and_what_is_wrong_is_found_without_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::write(root.join("good"), "A='hush'\n").unwrap();
        fs::write(root.join("bad"), "A=1\nB hush\n").unwrap();
        fs::write(root.join("odd"), "A.B=hush\n").unwrap();
        fs::create_dir(root.join("directory")).unwrap();
        let mut files = EnvFiles::new(root, &[]);
        let optional = r#"["good", {"path": "none", "optional": true}]"#;
        let mut one = service("one", optional);
        assert_eq!(attach(&mut files, &mut one), (vec!["A".to_owned()], vec![]));

        let mut two = service("two", r#"["good", "none", "bad", "odd", "directory"]"#);
        fs::remove_file(root.join("good")).unwrap();
        let (names, findings) = attach(&mut files, &mut two);
        assert_eq!(names, ["A"]);
        let at = |index: usize| format!("services/two/service.json:2: `process.env_file[{index}]`");
        let expected = [
            format!("{} names `none`, which does not exist; ", at(1)),
            "bad:2: is not `NAME=value`; ".to_owned(),
            "odd:1: `A.B` is not a variable name".to_owned(),
            format!("{} names `directory`, which cannot be read: ", at(4)),
        ];
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, expected) in findings.iter().zip(&expected) {
            assert!(finding.starts_with(expected), "{finding}");
            assert!(!finding.contains("hush"), "{finding}");
        }

        let mut later = EnvFiles::new(root, &[one]);
        let mut three = service("three", optional);
        let read = attach(&mut later, &mut three);
        assert_eq!(read, (vec!["A".to_owned()], vec![]), "it is known");
    }
}
