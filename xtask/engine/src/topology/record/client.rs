//! The client of the record: one request at a time, each under a deadline, with a token of the
//! controller's account.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kit::disk;
use kit::http::{self, Endpoint, HttpError, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_nats::topology::Origin;
use tokio::time::Instant;

use super::{COLLECTION, Edit, Entry, Record, Status, read};
use crate::checkout::applied::Applied;
use crate::checkout::paths::Paths;

/// The service that stores the record, and the port for requests.
pub(crate) const DATABASE: &str = "pocketbase";
const DATABASE_PORT: &str = "http";
/// The collection of the history.
const HISTORY: &str = "core_topology_history";
/// How long one answer may take. PocketBase answers within milliseconds; the limit detects one that
/// hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum of records that are read: there is one per service.
const RECORDS_MAX: usize = 500;

/// Why the record cannot be read or written, in the kinds that a caller must distinguish.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The secret is missing: PocketBase has not run here, or only with a Core without a record.
    #[error("cannot read `{}`", file.display())]
    NoSecret {
        /// The file with the secret.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// PocketBase does not accept the token or the secret. The token is dropped.
    #[error("PocketBase does not know us (status {0})")]
    Unauthorised(u16),
    /// Another program changed the record first.
    #[error("the record was changed by another client meanwhile")]
    Conflict,
    /// The record is missing.
    #[error("the record is gone")]
    Gone,
    /// PocketBase refused the request.
    #[error("PocketBase refused (status {status}): {message}")]
    Refused {
        /// The status of the answer.
        status: u16,
        /// Its message.
        message: String,
    },
    /// The request has no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer has an unexpected form.
    #[error("cannot understand the answer of PocketBase")]
    Malformed(#[source] serde_json::Error),
}

impl RecordError {
    /// Whether PocketBase works and accepts us, and the content of its database is the cause:
    /// another connection or another try would change nothing.
    pub fn is_of_the_data(&self) -> bool {
        match self {
            // Too many requests and internal failures of PocketBase are temporary.
            Self::Refused { status, .. } => (400..500).contains(status) && *status != 429,
            Self::Malformed(_) | Self::Gone | Self::Conflict => true,
            Self::NoSecret { .. } | Self::Unauthorised(_) | Self::Http(_) => false,
        }
    }

    /// Whether a limit or a middleware of the user's refused the request. Core's own routes never
    /// answer so, and the controller's account may do all that it requests: PocketBase accepts us.
    pub fn is_by_rules_of_the_user(&self) -> bool {
        matches!(
            self,
            Self::Unauthorised(403)
                | Self::Refused { status: 429, .. }
                | Self::Http(HttpError::Status {
                    status: 403 | 429,
                    ..
                })
        )
    }
}

/// A client of the record. Requests a token if needed, and a new one after half its validity.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    secret_file: PathBuf,
    /// PocketBase's data directory, if known: PocketBase does not report when it cannot write.
    data: Option<PathBuf>,
    token: Option<Token>,
}

struct Token {
    text: String,
    good_until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The content of the file that PocketBase's wrapper writes.
#[derive(Deserialize)]
struct SecretFile {
    secret: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
    expires_seconds: u64,
}

/// PocketBase's description of a refusal.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
    data: Value,
}

impl Client {
    /// Creates a client of the PocketBase at `endpoint`, whose wrapper keeps its secret in
    /// `secret_file`: see [`crate::paths::Paths::controller_secret`].
    pub fn new(endpoint: Endpoint, secret_file: PathBuf) -> Self {
        Self {
            endpoint,
            secret_file,
            data: None,
            token: None,
        }
    }

    /// Returns the client, which adds a full disk at `data` to the report of a refusal.
    #[must_use]
    pub fn with_data(self, data: PathBuf) -> Self {
        Self {
            data: Some(data),
            ..self
        }
    }

    /// Creates a client of the PocketBase of a running stack; `None` if the stack has none.
    pub fn of_running(applied: &Applied, paths: &Paths) -> Option<Self> {
        let process = applied.stack.processes.get(DATABASE)?;
        let endpoint = process.ports.get(DATABASE_PORT)?.endpoint();
        let data = paths.data().join(DATABASE);
        Some(Self::new(endpoint, paths.controller_secret()).with_data(data))
    }

    /// Returns the address of PocketBase.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Drops the token: the next request obtains another one.
    pub fn drop_token(&mut self) {
        self.token = None;
    }

    /// Returns a token of the controller's account; requests one from PocketBase if it has none.
    pub async fn token(&mut self) -> Result<String, RecordError> {
        if let Some(token) = &self.token
            && Instant::now() < token.good_until
        {
            return Ok(token.text.clone());
        }
        let answer = self.ask_core("POST", "/core/token", None, ANSWER_TIMEOUT);
        let answer: TokenAnswer = answer.await?;
        let life = Duration::from_secs(answer.expires_seconds);
        self.token = Some(Token {
            text: answer.token.clone(),
            good_until: Instant::now() + life / 2,
        });
        Ok(answer.token)
    }

    /// Sends a request to a route of Core's own hooks, with the secret of this start instead of a
    /// token. The answer may take `within`.
    pub async fn ask_core<T: DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<T, RecordError> {
        let text = fs::read(&self.secret_file).map_err(|source| RecordError::NoSecret {
            file: self.secret_file.clone(),
            source,
        })?;
        let file: SecretFile = parse(&text)?;
        let headers = [("X-Core-Secret", file.secret.as_str())];
        let answer = self.send(method, path, &headers, body, within).await?;
        parse(&answer.body)
    }

    /// Returns every record.
    pub async fn list(&mut self) -> Result<Vec<Record>, RecordError> {
        let path = format!("{}?perPage={RECORDS_MAX}&skipTotal=1", records(COLLECTION));
        let answer = self.request("GET", &path, None).await?;
        read::records(&answer.body).map_err(RecordError::Malformed)
    }

    /// Returns the record of a service.
    pub async fn find(&mut self, service: &str) -> Result<Option<Record>, RecordError> {
        let records = self.list().await?;
        Ok(records.into_iter().find(|record| record.service == service))
    }

    /// Creates the record of a service; `status` is that of its first generation.
    pub async fn create(
        &mut self,
        service: &str,
        spec: &impl Serialize,
        origin: Origin,
        status: &Status,
    ) -> Result<Record, RecordError> {
        let body = json!({
            "service": service,
            "spec": spec,
            "origin": origin,
            "generation": 1,
            "status": status,
        });
        self.write("POST", &records(COLLECTION), &body).await
    }

    /// Changes a record in one step, if it still equals `record`; otherwise changes nothing
    /// ([`RecordError::Conflict`]).
    pub async fn change(&mut self, record: &Record, edit: &Edit) -> Result<Record, RecordError> {
        let mut body = json!(edit);
        body["if_generation"] = json!(record.generation);
        let path = format!("{}/{}", records(COLLECTION), record.id);
        self.write("PATCH", &path, &body).await
    }

    /// Writes the status. For the controller.
    pub async fn report(&mut self, id: &str, status: &Status) -> Result<Record, RecordError> {
        let path = format!("{}/{id}", records(COLLECTION));
        let body = json!({"status": status});
        self.write("PATCH", &path, &body).await
    }

    /// Returns the last `limit` entries of the history of a service, the newest first.
    pub async fn history(
        &mut self,
        service: &str,
        limit: usize,
    ) -> Result<Vec<Entry>, RecordError> {
        let path = format!(
            "{}?perPage={limit}&skipTotal=1&sort=-%40rowid&filter=service%3D%22{service}%22",
            records(HISTORY)
        );
        let answer = self.request("GET", &path, None).await?;
        read::entries(&answer.body).map_err(RecordError::Malformed)
    }

    /// Adds an entry to the history.
    pub async fn append(&mut self, entry: &Entry) -> Result<(), RecordError> {
        let body = json!(entry);
        self.tell("POST", &records(HISTORY), Some(&body)).await
    }

    /// Sends a request with the token, and parses the answer, which must be a success.
    pub async fn ask<T: DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, RecordError> {
        parse(&self.request(method, path, body).await?.body)
    }

    /// Sends a request with the token, and ignores the content of the answer.
    pub async fn tell(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(), RecordError> {
        self.request(method, path, body).await.map(drop)
    }

    /// Writes a record; returns the record as it is now.
    async fn write(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Record, RecordError> {
        let answer = self.request(method, path, Some(body)).await?;
        read::one_record(&answer.body).map_err(RecordError::Malformed)
    }

    async fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, RecordError> {
        let token = self.token().await?;
        let headers = [("Authorization", token.as_str())];
        self.send(method, path, &headers, body, ANSWER_TIMEOUT)
            .await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Response, RecordError> {
        let headers = [&[("Content-Type", "application/json")], headers].concat();
        let body = body.map(Value::to_string);
        let body = body.as_deref().map(str::as_bytes);
        let answer = http::request(&self.endpoint, method, path, &headers, body, within).await?;
        match answer.status {
            200..=299 => Ok(answer),
            status @ (401 | 403) => {
                self.drop_token();
                Err(RecordError::Unauthorised(status))
            }
            404 => Err(RecordError::Gone),
            409 => Err(RecordError::Conflict),
            status => {
                let said = refusal(&answer.body);
                let full = self.data.as_deref().and_then(disk::shortage);
                let told = [Some(said).filter(|said| !said.is_empty()), full];
                let message = told.into_iter().flatten().collect::<Vec<_>>().join(" ");
                Err(RecordError::Refused { status, message })
            }
        }
    }
}

fn records(collection: &str) -> String {
    format!("/api/collections/{collection}/records")
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, RecordError> {
    serde_json::from_slice(body).map_err(RecordError::Malformed)
}

/// Returns PocketBase's message, with its details on each field.
fn refusal(body: &[u8]) -> String {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let fields = refusal.data.as_object().into_iter().flatten();
    let fields = fields.filter_map(|(name, problem)| {
        let problem = problem["message"].as_str()?;
        Some(format!(" `{name}`: {problem}"))
    });
    format!("{}{}", refusal.message, fields.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_fields() {
        let body = json!({
            "status": 400,
            "message": "Failed to create record.",
            "data": {"service": {"code": "x", "message": "Value must be unique."}},
        });
        assert_eq!(
            refusal(body.to_string().as_bytes()),
            "Failed to create record. `service`: Value must be unique."
        );
        assert_eq!(refusal(b"<html>"), "");
    }

    #[test]
    fn no_secret_is_told_apart() {
        let runtime = kit::runtime::current_thread().unwrap();
        let endpoint = Endpoint::tcp("127.0.0.1", 1);
        let mut client = Client::new(endpoint, "/nonexistent/controller.json".into());
        let error = runtime.block_on(client.list()).unwrap_err();
        assert!(matches!(error, RecordError::NoSecret { .. }), "{error:?}");
    }
}
