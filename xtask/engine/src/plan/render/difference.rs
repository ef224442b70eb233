//! PURE: how process-compose reacts to a changed file, and which keys are the cause.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde_json::Value;

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

/// Compares two rendered files, per process.
pub fn difference(old: &str, new: &str) -> anyhow::Result<BTreeMap<String, Difference>> {
    let (old, new) = (entries(old)?, entries(new)?);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let compare = |name: &String| match (old.get(name), new.get(name)) {
        (None, _) => Difference::Added,
        (_, None) => Difference::Removed,
        (Some(old), Some(new)) if old == new => Difference::None,
        (Some(old), Some(new)) => Difference::Changed(changed(old, new)),
    };
    Ok(names
        .into_iter()
        .map(|name| (name.clone(), compare(name)))
        .collect())
}

/// The keys of an entry, flattened, with their values.
type Entry = BTreeMap<String, Value>;

fn entries(text: &str) -> anyhow::Result<BTreeMap<String, Entry>> {
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
        assert_eq!(difference(&old, &new).unwrap(), BTreeMap::from(expected));
    }
}
