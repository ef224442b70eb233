//! PURE: how process-compose reacts to a changed file, and which keys are the cause.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde_json::Value;

/// The line before the entries.
const PROCESSES: &str = "processes:\n";

/// What happens to a process when one file replaces another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Its entry is the same.
    None,
    /// It is added.
    Added,
    /// It is removed.
    Removed,
    /// These keys of its entry differ: `environment.NATS_HOST`, `command`. Values are left out
    /// because they may be secret.
    Changed(Vec<String>),
}

/// Compares two rendered files, per process. Only entries with another text are parsed.
pub fn difference(old: &str, new: &str) -> anyhow::Result<BTreeMap<String, Difference>> {
    let (Some(old_texts), Some(new_texts)) = (texts(old), texts(new)) else {
        return Ok(compare(&entries(old)?, &entries(new)?));
    };
    let others = |texts: &Texts<'_>, other: &Texts<'_>| {
        let others = texts
            .iter()
            .filter(|(name, text)| other.get(*name) != Some(text));
        others.fold(PROCESSES.to_owned(), |file, (_, text)| file + text)
    };
    let old = entries(&others(&old_texts, &new_texts))?;
    let new = entries(&others(&new_texts, &old_texts))?;
    let mut differences = compare(&old, &new);
    for name in new_texts.keys().filter(|name| !new.contains_key(**name)) {
        differences.insert((*name).to_owned(), Difference::None);
    }
    Ok(differences)
}

fn compare(old: &Entries, new: &Entries) -> BTreeMap<String, Difference> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let compare = |name: &String| match (old.get(name), new.get(name)) {
        (None, _) => Difference::Added,
        (_, None) => Difference::Removed,
        (Some(old), Some(new)) if old == new => Difference::None,
        (Some(old), Some(new)) => Difference::Changed(changed(old, new)),
    };
    names
        .into_iter()
        .map(|name| (name.clone(), compare(name)))
        .collect()
}

/// The lines of each process in a rendered file.
type Texts<'a> = BTreeMap<&'a str, &'a str>;

/// Splits a file into the lines of each process. `None` when it is not as we write it: a name on a
/// line by itself, everything below deeper.
fn texts(file: &str) -> Option<Texts<'_>> {
    let begin = match file.strip_prefix(PROCESSES) {
        Some(_) => PROCESSES.len(),
        None => file.find(&format!("\n{PROCESSES}"))? + 1 + PROCESSES.len(),
    };
    let mut texts = Texts::new();
    let mut current: Option<(&str, usize)> = None;
    let mut at = begin;
    for line in file[begin..].split_inclusive('\n') {
        if !line.starts_with(' ') {
            break;
        }
        if !line.starts_with("    ") {
            if let Some((name, start)) = current {
                texts.insert(name, &file[start..at]);
            }
            let key = line.strip_prefix("  ")?.strip_suffix(":\n")?;
            let name = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
            let name = name.unwrap_or(key);
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if !name.chars().all(is_plain) || texts.contains_key(name) {
                return None;
            }
            current = Some((name, at));
        }
        at += line.len();
    }
    let (name, start) = current?;
    texts.insert(name, &file[start..at]);
    Some(texts)
}

/// The entries by process.
type Entries = BTreeMap<String, Entry>;

/// The keys of an entry, flattened, with their values.
type Entry = BTreeMap<String, Value>;

fn entries(text: &str) -> anyhow::Result<Entries> {
    let file: Value = serde_yaml::from_str(text).context("cannot read a rendered file")?;
    let processes = file["processes"].as_object().into_iter().flatten();
    Ok(processes
        .map(|(name, entry)| {
            let mut flat = Entry::new();
            flatten(&mut flat, "", entry);
            (name.clone(), flat)
        })
        .collect())
}

fn flatten(flat: &mut Entry, path: &str, value: &Value) {
    let join = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| flatten(flat, &join(key), value)),
        // The environment is the only list: `NAME=value`.
        Value::Array(items) => {
            for item in items.iter().filter_map(Value::as_str) {
                let (name, value) = item.split_once('=').unwrap_or((item, ""));
                flat.insert(join(name), Value::from(value));
            }
        }
        scalar => drop(flat.insert(path.to_owned(), scalar.clone())),
    }
}

fn changed(old: &Entry, new: &Entry) -> Vec<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_process_and_key() {
        let file = |text: &str| format!("processes:\n{text}");
        let old = file(
            "  a:\n    command: \"x\"\n    environment:\n      - \"A=1\"\n      - \"B=secret\"\n  \
             b:\n    command: \"y\"\n  c:\n    command: \"z\"\n",
        );
        let new = file(
            "  a:\n    command: \"x\"\n    environment:\n      - \"A=1\"\n      - \"B=other\"\n    \
             shutdown:\n      signal: 2\n  b:\n    command: \"y\"\n  d:\n    command: \"z\"\n",
        );
        let changed = vec!["environment.B".to_owned(), "shutdown.signal".to_owned()];
        let expected = [
            ("a", Difference::Changed(changed)),
            ("b", Difference::None),
            ("c", Difference::Removed),
            ("d", Difference::Added),
        ];
        let expected = expected.map(|(name, difference)| (name.to_owned(), difference));
        let expected = BTreeMap::from(expected);
        assert_eq!(difference(&old, &new).unwrap(), expected);
        // The same in a form that we do not write, which is parsed as a whole.
        let other = |text: &str| text.replace("  ", "   ");
        assert_eq!(texts(&other(&old)), None);
        for (old, new) in [(other(&old), new.clone()), (old, other(&new))] {
            assert_eq!(difference(&old, &new).unwrap(), expected);
        }
    }

    #[test]
    fn lines_of_processes() {
        let file = "a: 1\nprocesses:\n  \"x-1\":\n    k:\n      - \"processes:\"\n  long:\n    \
                    k: 2\nshell:\n  l: 3\n";
        let expected = [
            ("x-1", "  \"x-1\":\n    k:\n      - \"processes:\"\n"),
            ("long", "  long:\n    k: 2\n"),
        ];
        assert_eq!(texts(file), Some(Texts::from(expected)));
        for other in [
            "",
            "processes: {}\n",
            "processes:\n",
            "processes:\n  a: {}\n",
            "processes:\n  a:\n    k: 1\n  a:\n    k: 2\n",
            "processes:\n  \"\\x61\":\n    k: 1\n",
            "processes:\n  a: &anchor\n    k: 1\n",
        ] {
            assert_eq!(texts(other), None, "{other}");
        }
    }
}
