//! PURE: the files with variables that manifests name in `process.env_file`, as they were read, and
//! which of their values a process receives.
//!
//! The values may be secret, so there is no `Debug` that shows one.

use std::collections::BTreeMap;
use std::fmt;

use super::{Entry, Env, dotenv};
use kit::manifest::{Problem, Process, is_variable_name};

/// A file with variables that was read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvFile {
    /// Its path, as the manifest has it.
    pub(crate) path: String,
    /// Its lines, in their order.
    pub(crate) lines: Vec<(Entry, String)>,
}

impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.lines.iter().map(|(entry, _)| &entry.name);
        write!(f, "{} with ", self.path)?;
        f.debug_list().entries(names).finish()
    }
}

/// A value that a process receives from a file.
#[derive(Clone, Copy)]
pub(crate) struct FromFile<'a> {
    /// The place of the file in `process.env_file`.
    pub(crate) index: usize,
    /// The path of the file.
    pub(crate) path: &'a str,
    /// The line.
    pub(crate) entry: &'a Entry,
    /// The value.
    pub(crate) value: &'a str,
}

impl EnvFile {
    /// Parses the text of a file; `is_set` says which variables the environment has.
    pub(crate) fn parse(
        path: &str,
        text: &str,
        is_set: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Vec<Problem>> {
        let problem = |line, message: String| Problem {
            line,
            path: String::new(),
            message,
        };
        let lines = dotenv::lines(text, is_set).map_err(|line| {
            let message = "is not `NAME=value`; put values with spaces, `#` or `$` into single \
                           quotes: NAME='a value'";
            vec![problem(line, message.to_owned())]
        })?;
        let bad = lines.iter().filter_map(|(entry, value)| {
            let (line, name) = (entry.line, &entry.name);
            if !is_variable_name(name) {
                let message = format!("`{name}` is not a variable name: A-Z, a-z, 0-9 and `_`");
                Some(problem(line, message))
            } else if value.contains('\0') {
                let message = format!("the value of `{name}` holds a NUL character");
                Some(problem(line, message))
            } else {
                None
            }
        });
        let bad: Vec<Problem> = bad.collect();
        if bad.is_empty() {
            let path = path.to_owned();
            Ok(Self { path, lines })
        } else {
            Err(bad)
        }
    }

    /// Returns the file of these variables, without their lines.
    pub(crate) fn of_values(path: &str, values: &BTreeMap<String, String>) -> Self {
        let line = |(name, value): (&String, &String)| {
            let entry = Entry {
                name: name.clone(),
                line: 0,
                change: None,
                replaced_by: None,
            };
            (entry, value.clone())
        };
        Self {
            path: path.to_owned(),
            lines: values.iter().map(line).collect(),
        }
    }

    /// Returns the last value of each name.
    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        let lines = self.lines.iter();
        lines
            .map(|(entry, value)| (entry.name.clone(), value.clone()))
            .collect()
    }
}

/// Returns the values that a process receives from its files, by name: a later file wins, in it a
/// later line, and over all files what the manifest names itself.
pub(crate) fn effective<'a>(
    process: &Process,
    files: &'a [EnvFile],
    env: &Env,
) -> BTreeMap<&'a str, FromFile<'a>> {
    let mut found = BTreeMap::new();
    for file in files {
        let wanted = process.env_file.0.iter();
        let index = wanted.take_while(|wanted| wanted.path != file.path).count();
        for (entry, value) in &file.lines {
            let from = FromFile {
                index,
                path: &file.path,
                entry,
                value,
            };
            found.insert(entry.name.as_str(), from);
        }
    }
    found.retain(|name, _| {
        let names = |list: &[String]| list.iter().any(|other| other == name);
        let is_passed = names(&process.env_passthrough) && env.get(name).is_some();
        !process.env.contains_key(*name) && !names(&process.use_secrets) && !is_passed
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::doubts;
    use crate::plan::stack::{Places, Service, Stack, build, explain};

    /// Returns a service with these files, which name each other as `a`, `b` ...
    fn service(more: &str, files: &[&str]) -> Service {
        let names = ["a", "b", "c"];
        let named = &names[..files.len()];
        let text =
            format!("{{\"process\": {{\"command\": \"x\", {more} \"env_file\": {named:?}}}}}");
        let mut service = Service::parse("mine", &text).unwrap();
        let read = named.iter().zip(files);
        let read = read.map(|(path, text)| EnvFile::parse(path, text, &|_| false).unwrap());
        service.env_files = read.collect();
        service
    }

    fn places() -> Places {
        Places::new("/checkout".into())
    }

    fn stack(service: &Service, env: &Env) -> Stack {
        build(std::slice::from_ref(service), env, &places()).unwrap()
    }

    fn environment(service: &Service, env: &Env) -> Vec<String> {
        let stack = stack(service, env);
        let env = stack.processes["mine"].env.iter();
        env.map(|(name, value)| format!("{name}={}", value.text))
            .collect()
    }

    #[test]
    fn what_is_nearer_to_the_process_wins() {
        let more = r#""env": {"E": "env"}, "env_passthrough": ["P", "Q"],"#;
        let service = service(
            more,
            &["E=a\nP=a\nQ=a\nA=a\nB=a\nONLY=1\nONLY=2", "E=b\nP=b\nB=b\n"],
        );
        let env = Env::from_pairs([("P", "caller"), ("B", "not named")]);
        let expected = ["A=a", "B=b", "E=env", "ONLY=2", "P=caller", "Q=a"];
        assert_eq!(environment(&service, &env), expected);

        let entries = explain(std::slice::from_ref(&service), &service, &env, &places());
        let entries = entries.iter().filter(|e| e.key.starts_with("process.env."));
        let lines: Vec<String> = entries
            .map(|entry| {
                let from: Vec<String> = entry.from.iter().map(ToString::to_string).collect();
                let name = entry.key.trim_start_matches("process.env.");
                format!("{name} {} {}", entry.value, from.join(" "))
            })
            .collect();
        let manifest = "services/mine/service.json:1";
        let expected = [
            format!("E env {manifest}"),
            format!("P ******** {manifest} P in the environment"),
            format!("A ******** {manifest} a:4"),
            format!("B ******** {manifest} b:3"),
            format!("ONLY ******** {manifest} a:7"),
            format!("Q ******** {manifest} a:3"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn its_values_are_secret() {
        let service = service("", &["A='hush'"]);
        let stack = stack(&service, &Env::default());
        let shown = serde_json::to_string(&stack).unwrap();
        assert!(!shown.contains("hush"), "{shown}");
        assert!(!format!("{service:?}").contains("hush"));
    }

    #[test]
    fn doubtful_values_are_refused_if_they_count() {
        let refused = |more: &str, files: &[&str]| {
            let service = service(more, files);
            let refused = doubts::refuse(&Env::default(), &[service.clone(), service]);
            let told = refused.err().map(|error| kit::failure::describe(&error));
            let told = told.unwrap_or_default();
            assert!(!told.contains("hush"), "{told}");
            told
        };
        let told = refused("", &["A=1\nB=a$hush\n"]);
        assert!(
            told.contains("invalid input: `a`:2: the value of `B` "),
            "{told}"
        );
        assert_eq!(refused("", &["B=a$hush\n", "B=1"]), "");
        assert_eq!(refused(r#""env": {"B": ""},"#, &["B=a$hush"]), "");
    }

    #[test]
    fn lines_without_effect_are_told_once() {
        let service = service("", &["A=1\nB=2\nA=3\n", "A=4"]);
        let told = doubts::warnings(&Env::default(), &[service.clone(), service]);
        assert_eq!(told, ["`a`:1: `A` has no effect, as line 3 sets it again"]);
    }
}
