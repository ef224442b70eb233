//! One call of the API: a request, an answer in JSON, an error with a code.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{ANSWER_LIMIT, JetStream};
use crate::client::{ClientError, Headers};

/// Most pages of a list: a server that always has one more must not hold us.
const PAGES_MAX: usize = 10_000;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum JetStreamError {
    /// The exchange with the server failed. Without JetStream there is no responder.
    #[error("JetStream did not answer `{call}`")]
    Client {
        /// The call.
        call: String,
        /// The cause.
        source: ClientError,
    },
    /// The server refused it.
    #[error("JetStream refused `{call}`: {description}")]
    Refused {
        /// The call.
        call: String,
        /// The code of the API, 10059 for an unknown stream.
        code: u32,
        /// The server's message.
        description: String,
    },
    /// The answer has an unexpected form.
    #[error("the answer to `{call}` cannot be used: {what}")]
    Answer {
        /// The call.
        call: String,
        /// The problem.
        what: String,
    },
    /// The local file of a copy could not be read or written.
    #[error("cannot copy the stream `{stream}`")]
    Copy {
        /// Its name.
        stream: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl JetStreamError {
    /// Whether the server refused with the code `wanted`.
    pub fn is_code(&self, wanted: u32) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }

    pub(crate) fn client(call: &str, source: ClientError) -> Self {
        Self::Client {
            call: call.to_owned(),
            source,
        }
    }

    pub(crate) fn answer(call: &str, what: impl std::fmt::Display) -> Self {
        Self::Answer {
            call: call.to_owned(),
            what: what.to_string(),
        }
    }
}

/// Parses an answer: its content, or the error in it.
pub(crate) fn outcome(call: &str, payload: &[u8]) -> Result<Value, JetStreamError> {
    let answer: Value =
        serde_json::from_slice(payload).map_err(|error| JetStreamError::answer(call, error))?;
    let error = &answer["error"];
    if error.is_null() {
        return Ok(answer);
    }
    let number = |key: &str| {
        error[key]
            .as_u64()
            .and_then(|code| u32::try_from(code).ok())
    };
    Err(JetStreamError::Refused {
        call: call.to_owned(),
        code: number("err_code").or(number("code")).unwrap_or_default(),
        description: error["description"].as_str().unwrap_or_default().to_owned(),
    })
}

/// Converts an answer to its type.
pub(super) fn read<T: DeserializeOwned>(call: &str, answer: Value) -> Result<T, JetStreamError> {
    serde_json::from_value(answer).map_err(|error| JetStreamError::answer(call, error))
}

/// Returns the answer, or `None` when the server reports the code `absent` (not found).
pub(super) fn optional<T: DeserializeOwned>(
    call: &str,
    answer: Result<Value, JetStreamError>,
    absent: u32,
) -> Result<Option<T>, JetStreamError> {
    match answer {
        Ok(answer) => read(call, answer).map(Some),
        Err(error) if error.is_code(absent) => Ok(None),
        Err(error) => Err(error),
    }
}

impl JetStream {
    /// Sends one call, such as `STREAM.INFO.ORDERS`, and returns its answer.
    pub async fn call(&self, call: &str, body: &Value) -> Result<Value, JetStreamError> {
        let subject = format!("{}.{call}", self.prefix);
        let body = body.to_string();
        let none = Headers::new();
        let answer = self
            .client
            .request(&subject, &none, body.as_bytes(), ANSWER_LIMIT);
        let answer = answer
            .await
            .map_err(|error| JetStreamError::client(call, error))?;
        outcome(call, &answer.payload)
    }

    /// Returns the subject of a call, for exchanges of more than one answer.
    pub(super) fn subject(&self, call: &str) -> String {
        format!("{}.{call}", self.prefix)
    }

    /// Returns all entries of a paged list.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        call: &str,
        key: &str,
    ) -> Result<Vec<T>, JetStreamError> {
        let mut all = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut page = self.call(call, &json!({"offset": all.len()})).await?;
            let entries: Option<Vec<T>> = read(call, page[key].take())?;
            let entries = entries.unwrap_or_default();
            let is_empty = entries.is_empty();
            all.extend(entries);
            let total = page["total"].as_u64().unwrap_or_default();
            if is_empty || all.len() as u64 >= total {
                return Ok(all);
            }
        }
        Err(JetStreamError::answer(call, "the list has no end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_an_answer_is_an_error() {
        let text = br#"{"error": {"code": 404, "err_code": 10059, "description": "not found"}}"#;
        let error = outcome("STREAM.INFO.X", text).unwrap_err();
        assert!(error.is_code(10059));
        assert!(error.to_string().ends_with("`STREAM.INFO.X`: not found"));
        assert!(outcome("X", b"").is_err());
        assert_eq!(outcome("X", b"{\"a\":1}").unwrap()["a"], 1);
    }
}
