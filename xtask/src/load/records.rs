//! A writer and a reader of PocketBase's collection `core_probe`, through Caddy.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kit::http::Endpoint;
use kit::http::kept::Kept;
use serde::Deserialize;
use serde_json::json;

use super::http::ANSWER_LIMIT;
use super::tally::{Client, Found, Tally};
use super::{Sent, Work, chain};
use engine::checkout::paths::Paths;
use engine::topology::record;

/// The prefix of our runs of records.
const PREFIX: &str = "load-";
/// The path of the records.
const RECORDS: &str = "/api/collections/core_probe/records";
/// Pause between two records, and between two reads.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the write of a record is retried.
const WRITE_LIMIT: Duration = Duration::from_secs(20);
/// Records of one page; PocketBase allows 1000.
const PAGE: usize = 500;
/// The most pages that are read: more records than a day of load makes.
const PAGES_MAX: usize = 10_000;

/// The records of one run.
pub(super) struct Records {
    caddy: Endpoint,
    token: String,
    run: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    value: u64,
}

impl Records {
    /// Starts a run: `caddy` receives the requests, `home` is PocketBase itself. Removes the data
    /// of killed runs.
    pub(super) async fn begin(
        caddy: Endpoint,
        home: Endpoint,
        paths: &Paths,
        run: &str,
    ) -> anyhow::Result<Self> {
        let mut tokens = record::Client::new(home.clone(), paths.controller_secret());
        let records = Self {
            caddy,
            token: tokens.token().await?,
            run: run.to_owned(),
        };
        records.remove(home).await?;
        Ok(records)
    }

    async fn ask(
        &self,
        kept: &mut Kept,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", self.token.as_str()),
        ];
        let body = body.map(str::as_bytes);
        let answer = kept.request(method, path, &headers, body, ANSWER_LIMIT);
        let answer = answer.await?;
        Ok((answer.status, answer.body))
    }

    /// Writes until the end. A record that was not acknowledged is sent again with the same id.
    pub(super) async fn write(&self, work: Work) -> Sent {
        let mut kept = Kept::new(self.caddy.clone());
        let attempt = async |number, is_repeated, _: &mut Tally| {
            // 15 characters, as in PocketBase's ids.
            let id = format!("{}{number:08}", self.run);
            let body = json!({"id": id, "run": format!("{PREFIX}{}", self.run), "value": number});
            let body = body.to_string();
            match self.ask(&mut kept, "POST", RECORDS, Some(&body)).await? {
                (200, _) => Ok(()),
                // An error for a duplicate acknowledges a record that was sent before.
                (400, _) if is_repeated => Ok(()),
                (status, body) => {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    bail!("PocketBase answered {status}: {}", text.trim())
                }
            }
        };
        work.send(PAUSE, WRITE_LIMIT, attempt).await
    }

    /// Reads the newest record until the end.
    pub(super) async fn read(&self, work: Work) -> Client {
        let mut tally = Tally::begin(Instant::now());
        let mut kept = Kept::new(self.caddy.clone());
        let path = format!("{}&perPage=1&sort=-value", Self::list(&self.run));
        while work.goes_on() {
            match self.ask(&mut kept, "GET", &path, None).await {
                Ok((200, _)) => work.done(&mut tally),
                Ok((status, _)) => tally.give_up(format!("PocketBase answered {status}")),
                Err(error) => tally.give_up(chain(&*error)),
            }
            tokio::time::sleep(PAUSE).await;
        }
        tally.end(Instant::now())
    }

    /// Returns the path of the records of a run, or of all with this prefix.
    fn list(run: &str) -> String {
        format!("{RECORDS}?skipTotal=1&fields=id,value&filter=run~%22{PREFIX}{run}%25%22")
    }

    async fn page(&self, kept: &mut Kept, run: &str, number: usize) -> anyhow::Result<Vec<Item>> {
        let path = format!("{}&perPage={PAGE}&page={number}&sort=id", Self::list(run));
        let (status, body) = self.ask(kept, "GET", &path, None).await?;
        if status != 200 {
            bail!("PocketBase answered {status} to the list of records");
        }
        let page: Page = serde_json::from_slice(&body).context("cannot read the records")?;
        Ok(page.items)
    }

    /// Compares the stored records with the acknowledged ones. `home` is PocketBase's address after
    /// the change.
    pub(super) async fn count(&self, written: Sent, home: Endpoint) -> anyhow::Result<Client> {
        let mut kept = Kept::new(home);
        let mut found = Found::default();
        for number in 1..=PAGES_MAX {
            let items = self.page(&mut kept, &self.run, number).await?;
            for item in &items {
                found.add(item.value);
            }
            if items.len() < PAGE {
                break;
            }
        }
        Ok(Client {
            lost: found.lost(&written.acknowledged),
            duplicated: found.duplicated(),
            ..written.client
        })
    }

    /// Removes every record of any run.
    pub(super) async fn remove(&self, home: Endpoint) -> anyhow::Result<()> {
        let mut kept = Kept::new(home);
        for _ in 0..PAGES_MAX {
            let items = self.page(&mut kept, "", 1).await?;
            for item in &items {
                let path = format!("{RECORDS}/{}", item.id);
                let (status, _) = self.ask(&mut kept, "DELETE", &path, None).await?;
                // A record that a repeated request does not find is removed.
                if !matches!(status, 204 | 404) {
                    bail!("PocketBase answered {status} to the removal of a record");
                }
            }
            if items.len() < PAGE {
                return Ok(());
            }
        }
        bail!("the records have no end")
    }
}
