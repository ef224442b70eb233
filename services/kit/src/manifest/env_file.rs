//! The shape of `process.env_file`: one path, or several.
//!
//! Owns both forms of it in JSON. Must not read a file.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// The files with variables of a process, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct EnvFiles(pub Vec<EnvFile>);

/// A file with variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvFile {
    /// Its path, relative to the root.
    pub path: String,
    /// Whether it may be missing.
    pub optional: bool,
}

impl EnvFiles {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the key of a file in the manifest, for messages.
    pub fn key(index: usize) -> String {
        format!("process.env_file[{index}]")
    }
}

/// The forms that one file may have.
#[derive(Deserialize)]
#[serde(untagged)]
enum One {
    Path(String),
    Object {
        path: String,
        #[serde(default)]
        optional: bool,
    },
}

/// The forms that all files may have.
#[derive(Deserialize)]
#[serde(untagged)]
enum All {
    One(One),
    Several(Vec<One>),
}

impl From<One> for EnvFile {
    fn from(one: One) -> Self {
        let (path, optional) = match one {
            One::Path(path) => (path, false),
            One::Object { path, optional } => (path, optional),
        };
        Self { path, optional }
    }
}

impl<'de> Deserialize<'de> for EnvFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let files = match All::deserialize(deserializer)? {
            All::One(one) => vec![one],
            All::Several(several) => several,
        };
        Ok(Self(files.into_iter().map(EnvFile::from).collect()))
    }
}

impl JsonSchema for EnvFiles {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EnvFiles".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut files = one();
        files.insert("type".to_owned(), ["string", "object", "array"].into());
        files.insert("items".to_owned(), one().to_value());
        files
    }
}

/// Returns the schema of one file.
fn one() -> Schema {
    json_schema!({
        "type": ["string", "object"],
        "properties": {
            "path": {"type": "string", "description": "The path, relative to the root."},
            "optional": {
                "type": "boolean",
                "description": "Whether the file may be missing. Default: false."
            }
        },
        "required": ["path"],
        "additionalProperties": false
    })
}
