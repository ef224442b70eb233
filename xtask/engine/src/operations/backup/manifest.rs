//! PURE: the description of an archive in itself.

use std::collections::BTreeMap;

use kit::{Exit, Failure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_nats::topology::Spec;

use crate::SCHEMA_VERSION;
use crate::checkout::applied::Versions;

/// Its entry, the first of an archive.
pub(crate) const ENTRY: &str = "manifest.json";

/// The content of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Version of this document.
    pub schema_version: u32,
    /// The version of Core that wrote it.
    pub core_version: String,
    /// When it was made, RFC 3339 in UTC.
    pub created: String,
    /// The topology of NATS that contains the streams.
    pub topology: Spec,
    /// The programs of each service, by service.
    pub services: BTreeMap<String, Versions>,
    /// The database.
    pub database: Database,
    /// The streams, by domain and name.
    pub streams: Vec<Stream>,
    /// Streams that are not in it.
    pub skipped: Vec<Skipped>,
    /// All entries after this one, in their order.
    pub entries: Vec<Entry>,
}

/// An entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the archive.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// The database at the time of its backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Database {
    /// The entry with PocketBase's own backup.
    pub entry: String,
    /// The superuser whose password was generated, if there is one.
    pub superuser: Option<String>,
    /// Rows per table.
    pub rows: BTreeMap<String, u64>,
    /// The unpacked size of PocketBase's backup in bytes; an older Core did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked: Option<u64>,
    /// Whether uploaded files are at S3, and so not in the backup.
    pub files_elsewhere: bool,
}

/// A stream at the time of its backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stream {
    /// The JetStream domain it is in.
    pub domain: String,
    /// Its name.
    pub name: String,
    /// The entry with the server's own backup.
    pub entry: String,
    /// Its configuration.
    pub config: Value,
    /// Its state as the server reports it.
    pub state: Value,
    /// Number of messages.
    pub messages: u64,
    /// Sequence number of the first message.
    pub first_seq: u64,
    /// Sequence number of the last message.
    pub last_seq: u64,
    /// SHA-256 over all messages in their order; missing for a stream that messages leave while
    /// they are read.
    pub content: Option<String>,
    /// Its consumers; the backup may contain more progress than these.
    pub consumers: Vec<Consumer>,
}

/// A consumer of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Consumer {
    /// Its name.
    pub name: String,
    /// Whether it exists without clients.
    pub durable: bool,
    /// The message of the stream up to which all are acknowledged.
    pub ack_floor: u64,
    /// Number of delivered messages without an acknowledgement.
    pub pending: u64,
}

/// A stream that is not in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The JetStream domain it is in.
    pub domain: String,
    /// Its name.
    pub name: String,
    /// The reason.
    pub reason: String,
}

impl Manifest {
    /// Parses it; another version is refused before anything else is parsed.
    pub(crate) fn parse(text: &[u8]) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let refuse = |message: String| Failure::new(Exit::Invalid, message);
        let version: Version = serde_json::from_slice(text)
            .map_err(|error| refuse(format!("`{ENTRY}` says no version")).source(error))?;
        if version.schema_version != SCHEMA_VERSION {
            let message = format!(
                "the archive is of version {}, and this Core reads version {SCHEMA_VERSION}",
                version.schema_version
            );
            return Err(refuse(message)
                .hint("restore it with the Core that wrote it, named in its first entry")
                .into());
        }
        serde_json::from_slice(text).map_err(|error| {
            refuse(format!("`{ENTRY}` is malformed"))
                .source(error)
                .into()
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a manifest with nothing but these entries.
    pub(crate) fn manifest(entries: Vec<Entry>) -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            core_version: "0".to_owned(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            topology: Spec::SingleNode,
            services: BTreeMap::new(),
            database: Database {
                entry: "pocketbase.zip".to_owned(),
                superuser: None,
                rows: BTreeMap::new(),
                unpacked: None,
                files_elsewhere: false,
            },
            streams: Vec::new(),
            skipped: Vec::new(),
            entries,
        }
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let error = Manifest::parse(br#"{"schema_version": 99, "new": []}"#).unwrap_err();
        assert_eq!(kit::failure::exit_of(&error), Exit::Invalid);
        assert!(error.to_string().contains("of version 99"), "{error}");
        let own = manifest(Vec::new());
        let text = serde_json::to_vec(&own).unwrap();
        assert_eq!(Manifest::parse(&text).unwrap(), own);
        assert!(Manifest::parse(b"{}").is_err());
    }
}
