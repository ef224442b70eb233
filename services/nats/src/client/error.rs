//! What can go wrong between a client and a server.

use std::io;
use std::sync::Arc;

/// Why an exchange with a server failed. The kinds are those that a caller must tell apart.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there.
    #[error("nothing listens at `{address}`")]
    Refused {
        /// Where.
        address: String,
    },
    /// The server does not let this user in.
    #[error("`{address}` refused the login: {reason}")]
    Denied {
        /// Where.
        address: String,
        /// The server's words.
        reason: String,
    },
    /// A deadline passed.
    #[error("waited too long for {what}")]
    Timeout {
        /// What was waited for.
        what: String,
    },
    /// Nobody listens on the subject of a request.
    #[error("nothing answers `{subject}`")]
    NoResponders {
        /// The subject.
        subject: String,
    },
    /// Headers and payload are more than the server takes.
    #[error("a message of {size} bytes is more than the {max} the server takes")]
    TooLarge {
        /// Bytes of headers and payload.
        size: usize,
        /// What the server takes, in bytes.
        max: usize,
    },
    /// What is to be sent cannot be written in the protocol.
    #[error("{what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
    },
    /// More messages came than were read, and some are lost.
    #[error("messages of `{subject}` came faster than they were read")]
    Overrun {
        /// The subject of the subscription.
        subject: String,
    },
    /// The connection is closed.
    #[error("the connection to `{address}` is closed: {reason}")]
    Closed {
        /// Where.
        address: String,
        /// Why, as far as is known.
        reason: String,
    },
    /// The connection could not be made, read or written.
    #[error("the exchange with `{address}` failed")]
    Io {
        /// Where.
        address: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The server says what is no NATS.
    #[error("`{address}` does not speak NATS: {what}")]
    Protocol {
        /// Where.
        address: String,
        /// What is wrong.
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
