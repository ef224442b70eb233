//! Checks a parsed JSON document against the schema and reports all errors at once.
//!
//! A general validator would bring some sixty packages and no line numbers; this one implements the
//! keywords of our own schema and records the line of each value.

use jsonc_parser::ast::{Object, Value as Node};
use jsonc_parser::common::Ranged as _;
use serde_json::Value;

use super::lines::{Lines, Problem};
use crate::names::nearest;

/// Keys of process-compose that a manifest may not use, with the reason.
const REFUSED_KEYS: [(&str, &str); 1] = [(
    "liveness_probe",
    "it does nothing for a process that is not a daemon; use `readiness_probe`",
)];

/// Values of enumerations that were valid elsewhere, with their replacements.
const REPLACED_VALUES: [(&str, &str); 1] = [("go-build", "cargo-build")];

/// Walks `node` along `schema`.
pub(super) struct Shape<'a> {
    text: &'a str,
    definitions: &'a Value,
    /// All problems found.
    pub(super) problems: Vec<Problem>,
    /// Line of each key path.
    pub(super) lines: Lines,
}

impl<'a> Shape<'a> {
    /// Creates a walk over `text` with the types of `schema`.
    pub(super) fn new(text: &'a str, schema: &'a Value) -> Self {
        let definitions = &schema["$defs"];
        Self {
            text,
            definitions,
            problems: Vec::new(),
            lines: Lines::default(),
        }
    }

    /// Checks `node`, whose key path is `path`.
    pub(super) fn check(&mut self, node: &Node<'_>, schema: &Value, path: &str) {
        let line = self.line(node.start());
        self.lines.insert(path, line);
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let allowed = choices
                .iter()
                .filter_map(|choice| choice["const"].as_str())
                .collect();
            return self.check_choice(node, allowed, path, line);
        }
        if let Some(choices) = schema["enum"].as_array() {
            let allowed = choices.iter().filter_map(Value::as_str).collect();
            return self.check_choice(node, allowed, path, line);
        }
        let kinds = kinds(schema);
        let expected = kinds
            .iter()
            .find(|expected| **expected == kind_in_schema(node));
        match (expected.or(kinds.first()).copied(), node) {
            (Some("object"), Node::Object(object)) => self.check_object(object, schema, path, line),
            (Some("array"), Node::Array(array)) => {
                for (index, element) in array.elements.iter().enumerate() {
                    self.check(element, &schema["items"], &format!("{path}[{index}]"));
                }
            }
            (Some("string"), Node::StringLit(text)) => {
                if text.value.contains('\0') {
                    self.problem(
                        line,
                        path,
                        "holds a NUL character, which no process can be given",
                    );
                }
            }
            (Some("boolean"), Node::BooleanLit(_)) => {}
            (Some("integer"), Node::NumberLit(number)) => {
                self.check_integer(number.value, schema, path, line);
            }
            (Some(_), found) => {
                let found = kind(found);
                let allowed = alternatives(&kinds);
                self.problem(line, path, format!("must be {allowed}, not {found}"));
            }
            // A free value: only duplicate keys are an error.
            (None, node) => self.check_free(node, path),
        }
    }

    fn check_object(&mut self, object: &Object<'_>, schema: &Value, path: &str, line: usize) {
        self.check_duplicates(object, path);
        let properties = schema["properties"].as_object();
        let further = &schema["additionalProperties"];
        for property in &object.properties {
            let name = property.name.as_str();
            let inner = join(path, name);
            if let Some(schema) = properties.and_then(|properties| properties.get(name)) {
                self.check(&property.value, schema, &inner);
            } else if further.is_object() {
                self.check(&property.value, further, &inner);
            } else if further.as_bool() == Some(true) {
                self.check_free(&property.value, &inner);
            } else {
                let allowed = properties
                    .into_iter()
                    .flat_map(|map| map.keys())
                    .map(String::as_str);
                let line = self.line(property.range.start);
                self.problem(
                    line,
                    &inner,
                    unknown_key(name, &allowed.collect::<Vec<_>>()),
                );
            }
        }
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !object
                .properties
                .iter()
                .any(|property| property.name.as_str() == name)
            {
                self.problem(line, &join(path, name), "is missing");
            }
        }
    }

    fn check_duplicates(&mut self, object: &Object<'_>, path: &str) {
        for (index, property) in object.properties.iter().enumerate() {
            let name = property.name.as_str();
            let first = object.properties[..index]
                .iter()
                .find(|other| other.name.as_str() == name);
            if let Some(first) = first {
                let first = self.line(first.range.start);
                let line = self.line(property.range.start);
                self.problem(
                    line,
                    &join(path, name),
                    format!("is given twice, first on line {first}"),
                );
            }
        }
    }

    fn check_free(&mut self, node: &Node<'_>, path: &str) {
        self.lines.insert(path, self.line(node.start()));
        match node {
            Node::Object(object) => {
                self.check_duplicates(object, path);
                for property in &object.properties {
                    self.check_free(&property.value, &join(path, property.name.as_str()));
                }
            }
            Node::Array(array) => {
                for (index, element) in array.elements.iter().enumerate() {
                    self.check_free(element, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn check_choice(&mut self, node: &Node<'_>, allowed: Vec<&str>, path: &str, line: usize) {
        let list = allowed
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let Node::StringLit(text) = node else {
            return self.problem(
                line,
                path,
                format!("must be one of {list}, not {}", kind(node)),
            );
        };
        let value = text.value.as_ref();
        if allowed.contains(&value) {
            return;
        }
        let replaced = REPLACED_VALUES
            .iter()
            .find(|(old, _)| *old == value)
            .map(|(_, new)| *new);
        let meant = replaced.or_else(|| nearest(value, allowed));
        let meant = meant.map_or_else(String::new, |meant| format!("; say `{meant}`"));
        self.problem(
            line,
            path,
            format!("is `{value}`, but must be one of {list}{meant}"),
        );
    }

    fn check_integer(&mut self, number: &str, schema: &Value, path: &str, line: usize) {
        let low = schema["minimum"].as_i64().unwrap_or(i64::MIN);
        let high = schema["maximum"]
            .as_i64()
            .unwrap_or(match schema["format"].as_str() {
                Some("uint8") => i64::from(u8::MAX),
                Some("uint16") => i64::from(u16::MAX),
                Some("uint32") => i64::from(u32::MAX),
                _ => i64::MAX,
            });
        match number.parse::<i64>() {
            Ok(value) if (low..=high).contains(&value) => {}
            Ok(value) => self.problem(
                line,
                path,
                format!("is {value}, but must be {low} to {high}"),
            ),
            Err(_) => self.problem(line, path, format!("must be a whole number, not {number}")),
        }
    }

    fn resolve<'s>(&self, schema: &'s Value) -> &'s Value
    where
        'a: 's,
    {
        let name = schema["$ref"]
            .as_str()
            .and_then(|path| path.strip_prefix("#/$defs/"));
        name.map_or(schema, |name| &self.definitions[name])
    }

    fn problem(&mut self, line: usize, path: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            line,
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// Returns the number of the line with the byte at `offset`, from 1.
    fn line(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn unknown_key(name: &str, allowed: &[&str]) -> String {
    if let Some((_, reason)) = REFUSED_KEYS.iter().find(|(key, _)| *key == name) {
        return format!("is not supported: {reason}");
    }
    let meant = nearest(name, allowed.iter().copied());
    let meant = meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`? "));
    format!(
        "is not a known key; {meant}allowed here: {}",
        allowed.join(", ")
    )
}

/// Returns the types that a schema allows.
fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    }
}

/// Returns the word of a schema for the type of a value.
fn kind_in_schema(node: &Node<'_>) -> &'static str {
    match node {
        Node::StringLit(_) => "string",
        Node::NumberLit(_) => "integer",
        Node::BooleanLit(_) => "boolean",
        Node::Object(_) => "object",
        Node::Array(_) => "array",
        Node::NullKeyword(_) => "null",
    }
}

/// Returns the types that are allowed, as words: `a string, an object or an array`.
fn alternatives(kinds: &[&str]) -> String {
    let words: Vec<&str> = kinds.iter().map(|kind| article(kind)).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn article(kind: &str) -> &'static str {
    match kind {
        "object" => "an object",
        "array" => "an array",
        "integer" => "a whole number",
        "boolean" => "true or false",
        _ => "a string",
    }
}

fn kind(node: &Node<'_>) -> &'static str {
    match node {
        Node::StringLit(_) => "a string",
        Node::NumberLit(_) => "a number",
        Node::BooleanLit(_) => "a boolean",
        Node::Object(_) => "an object",
        Node::Array(_) => "an array",
        Node::NullKeyword(_) => "null",
    }
}
