//! PURE: the headers of a message, in the format `NATS/1.0`.

use super::error::ClientError;

/// The first bytes of the block.
const VERSION: &str = "NATS/1.0";

/// Headers in their order. A name may occur more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// The content of a received block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) status: Option<u16>,
    pub(crate) description: String,
    pub(crate) headers: Headers,
}

impl Headers {
    /// Creates an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Returns the first value of a name, ignoring case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the last value of a name: a server appends its values to those of a client.
    pub fn last(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .rfind(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns all names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the block as it is sent; empty without headers.
    pub(super) fn encode(&self) -> Result<Vec<u8>, ClientError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let mut block = format!("{VERSION}\r\n");
        for (name, value) in self.iter() {
            let bad_name = name.is_empty() || name.contains([':', '\r', '\n', ' ']);
            if bad_name || value.contains(['\r', '\n']) {
                return Err(ClientError::Invalid {
                    what: format!("`{name}` cannot be sent as a header"),
                });
            }
            for part in [name, ": ", value, "\r\n"] {
                block.push_str(part);
            }
        }
        block.push_str("\r\n");
        Ok(block.into_bytes())
    }

    /// Parses a block: `NATS/1.0 [STATUS [DESCRIPTION]]`, then one header per line. Returns `None`
    /// if it is malformed.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Block> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let rest = lines.next()?.strip_prefix(VERSION)?.trim();
        let (status, description) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut headers = Self::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            headers = headers.with(name.trim(), value.trim());
        }
        Some(Block {
            status: status.parse().ok(),
            description: description.trim().to_owned(),
            headers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_as_it_was_written() {
        let headers = Headers::new()
            .with("Nats-Msg-Id", "1")
            .with("X", "a: b")
            .with("X", "second");
        let block = Headers::decode(&headers.encode().unwrap()).unwrap();
        assert_eq!(block.headers, headers);
        assert_eq!(block.status, None);
        assert_eq!(block.headers.get("nats-msg-id"), Some("1"));
        assert_eq!(block.headers.get("x"), Some("a: b"));
        assert!(Headers::new().encode().unwrap().is_empty());
    }

    #[test]
    fn a_status_may_have_words() {
        let block = Headers::decode(b"NATS/1.0 503 No Responders\r\n\r\n").unwrap();
        assert_eq!(
            (block.status, &*block.description),
            (Some(503), "No Responders")
        );
        let block = Headers::decode(b"NATS/1.0 204\r\n\r\n").unwrap();
        assert_eq!((block.status, &*block.description), (Some(204), ""));
        assert_eq!(Headers::decode(b"HTTP/1.1 200\r\n\r\n"), None);
    }

    #[test]
    fn what_would_break_the_protocol_is_not_written() {
        for (name, value) in [("A\r\nB", "x"), ("A", "x\ny"), ("", "x"), ("A:", "x")] {
            assert!(
                Headers::new().with(name, value).encode().is_err(),
                "{name:?}"
            );
        }
    }
}
