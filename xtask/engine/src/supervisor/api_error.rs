//! Why the supervisor did not carry out a request: parsed from its answer, only here.
//!
//! process-compose answers every refusal with 400 and a sentence; the sentences are those of
//! 1.120.0.

use std::error::Error;
use std::fmt;

use kit::http::{HttpError, Response};
use serde::Deserialize;

/// A request without the expected answer.
#[derive(Debug)]
pub struct ApiError {
    /// Method and path.
    request: String,
    /// What went wrong.
    pub kind: Kind,
}

/// The causes that callers have to distinguish.
#[derive(Debug)]
pub enum Kind {
    /// No program listens on the socket.
    Unreachable(HttpError),
    /// No answer came before the deadline. The request may still be carried out.
    Silent(HttpError),
    /// The connection ended before the answer did. The request may have been carried out.
    Cut(HttpError),
    /// The answer is not JSON of the known form.
    Unreadable(serde_json::Error),
    /// The process cannot be started, because the supervisor counts it as running.
    AlreadyRunning,
    /// The process cannot be stopped or signalled: the supervisor has released it.
    NotRunning,
    /// The process is not in the file that the supervisor has read.
    UnknownProcess,
    /// No process was left to signal: the supervisor (1.120.0) watches for the exit only after it
    /// has sent the signal. It misses an earlier exit, waits for the whole shutdown timeout and
    /// finds nothing to kill. All else was done, but the process is not started again.
    MissedEnd,
    /// Anything else.
    Refused {
        /// The status of the answer.
        status: u16,
        /// Its text.
        text: String,
    },
}

impl ApiError {
    /// Returns the body of a successful answer.
    pub(super) fn check(
        method: &str,
        path: &str,
        answer: Result<Response, HttpError>,
    ) -> Result<Vec<u8>, Self> {
        let kind = match answer {
            Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer.body),
            Ok(answer) => Kind::refused(answer.status, &answer.body),
            Err(error) => Kind::unanswered(error),
        };
        let request = format!("{method} {path}");
        Err(Self { request, kind })
    }

    /// Returns the error for an answer of an unknown form.
    pub(super) fn unreadable(method: &str, path: &str, error: serde_json::Error) -> Self {
        Self {
            request: format!("{method} {path}"),
            kind: Kind::Unreadable(error),
        }
    }
}

impl Kind {
    fn unanswered(error: HttpError) -> Self {
        match error {
            HttpError::Refused(_) | HttpError::ConnectTimeout(_) => Self::Unreachable(error),
            HttpError::Silent(_) => Self::Silent(error),
            _ => Self::Cut(error),
        }
    }

    fn refused(status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let text = match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) => refusal.error,
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        let text = text.trim();
        // Failures of several processes are on one line each.
        let lines = || text.lines().map(str::trim);
        let missed = ["no such process", "os: process already finished"];
        let is_unknown =
            |line: &str| line.ends_with("does not exist") || line.starts_with("no such process: ");
        if text.is_empty() {
        } else if lines().all(|line| missed.contains(&line)) {
            return Self::MissedEnd;
        } else if lines().all(|line| line.ends_with("is already running")) {
            return Self::AlreadyRunning;
        } else if lines().all(|line| line.ends_with("is not running")) {
            return Self::NotRunning;
        } else if lines().all(is_unknown) {
            return Self::UnknownProcess;
        }
        Self::Refused {
            status,
            text: text.to_owned(),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        write!(f, "cannot ask the supervisor for `{request}`")?;
        match &self.kind {
            Kind::Unreachable(_) | Kind::Silent(_) | Kind::Cut(_) => Ok(()),
            Kind::Unreadable(_) => f.write_str(": its answer cannot be read"),
            Kind::AlreadyRunning => f.write_str(": the process is running already"),
            Kind::NotRunning => f.write_str(": the process is not running"),
            Kind::UnknownProcess => f.write_str(": it does not know the process"),
            Kind::MissedEnd => f.write_str(": the process had ended"),
            Kind::Refused { status, text } => write!(f, ": it answered {status}: {text}"),
        }
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Unreachable(error) | Kind::Silent(error) | Kind::Cut(error) => Some(error),
            Kind::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &str) -> Kind {
        Kind::refused(400, body.as_bytes())
    }

    #[test]
    fn refusals_are_told_apart() {
        let says = |text: &str| kind(&serde_json::json!({"error": text}).to_string());
        assert!(matches!(
            says("process a is already running"),
            Kind::AlreadyRunning
        ));
        assert!(matches!(says("process a is not running"), Kind::NotRunning));
        assert!(matches!(
            says("process a does not exist"),
            Kind::UnknownProcess
        ));
        assert!(matches!(says("no such process: a"), Kind::UnknownProcess));
        assert!(matches!(says("no such process"), Kind::MissedEnd));
        assert!(matches!(
            says("no such process\nno such process"),
            Kind::MissedEnd
        ));
        assert!(matches!(
            says("os: process already finished"),
            Kind::MissedEnd
        ));
        for other in [
            "no such process\nfailed to parse f.yaml",
            "yaml: line 3",
            "",
        ] {
            let Kind::Refused { status: 400, text } = says(other) else {
                panic!("{other:?}");
            };
            assert_eq!(text, other);
        }
        assert!(matches!(kind("not JSON"), Kind::Refused { text, .. } if text == "not JSON"));
    }
}
