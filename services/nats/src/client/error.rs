//! Errors between a client and a server.

use std::io;
use std::sync::Arc;

/// Why an exchange with a server failed. The variants are those that a caller must distinguish.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No server listens there.
    #[error("nothing listens at `{address}`")]
    Refused {
        /// The address.
        address: String,
    },
    /// The server refuses the login.
    #[error("`{address}` refused the login: {reason}")]
    Denied {
        /// The address.
        address: String,
        /// The server's message.
        reason: String,
    },
    /// A deadline passed.
    #[error("waited too long for {what}")]
    Timeout {
        /// The event that was awaited.
        what: String,
    },
    /// No client subscribes to the subject of a request.
    #[error("nothing answers `{subject}`")]
    NoResponders {
        /// The subject.
        subject: String,
    },
    /// Headers and payload exceed the server's limit.
    #[error("a message of {size} bytes is more than the {max} the server takes")]
    TooLarge {
        /// Bytes of headers and payload.
        size: usize,
        /// The server's limit in bytes.
        max: usize,
    },
    /// The input cannot be expressed in the protocol.
    #[error("{what}")]
    Invalid {
        /// The problem.
        what: String,
    },
    /// Messages came faster than they were read, and some are lost.
    #[error("messages of `{subject}` came faster than they were read")]
    Overrun {
        /// The subject of the subscription.
        subject: String,
    },
    /// The connection is closed.
    #[error("the connection to `{address}` is closed: {reason}")]
    Closed {
        /// The address.
        address: String,
        /// The reason, if known.
        reason: String,
    },
    /// The connection could not be opened, read or written.
    #[error("the exchange with `{address}` failed")]
    Io {
        /// The address.
        address: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The server does not speak the NATS protocol.
    #[error("`{address}` does not speak NATS: {what}")]
    Protocol {
        /// The address.
        address: String,
        /// The problem.
        what: String,
    },
}

impl ClientError {
    pub(crate) fn timeout(what: impl Into<String>) -> Self {
        Self::Timeout { what: what.into() }
    }

    pub(super) fn io(address: &str, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            return Self::Refused {
                address: address.to_owned(),
            };
        }
        Self::Io {
            address: address.to_owned(),
            source: Arc::new(error),
        }
    }

    pub(super) fn protocol(address: &str, what: impl Into<String>) -> Self {
        Self::Protocol {
            address: address.to_owned(),
            what: what.into(),
        }
    }
}
