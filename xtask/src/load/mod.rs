//! Clients of a running stack that repeat the same requests during a change and count errors and
//! gaps: a publisher and a consumer of NATS, a writer and a reader of PocketBase, clients of Caddy.
//!
//! Owns the data they write and removes it at the end. Must not change the stack.

mod http;
mod records;
mod stream;
mod tally;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use kit::http::Endpoint;
use kit::{Exit, Failure};
use serde::Serialize;

use records::Records;
use stream::{Consumed, Stream};
use tally::Tally;

pub use tally::Client;
pub use targets::Targets;

/// How long the clients may take until each of them has received an answer.
const BEGIN_LIMIT: Duration = Duration::from_secs(20);
/// How long the clients continue after the change: its effects may be late.
const TAIL: Duration = Duration::from_millis(300);
/// How long an operation is retried after that. The change has waited for health, so a later
/// failure is permanent. Longer than two attempts of the slowest client.
const AFTER_LIMIT: Duration = Duration::from_secs(5);
/// Pause before a retry.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Characters of a run's name. With the number of a record they form an id for PocketBase.
const RUN_LENGTH: usize = 7;

/// The results of all clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// The name of this run in its data.
    pub run: String,
    /// How long the clients worked, in milliseconds.
    pub duration_ms: f64,
    /// Each client by name.
    pub clients: BTreeMap<String, Client>,
}

impl LoadReport {
    /// Whether every request was done, exactly once.
    pub fn is_faultless(&self) -> bool {
        self.clients.values().all(Client::is_faultless)
    }

    /// Returns the longest time without an answer of the clients whose name is `wanted`, in
    /// milliseconds.
    pub fn longest_gap_ms(&self, wanted: impl Fn(&str) -> bool) -> f64 {
        let clients = self.clients.iter().filter(|(name, _)| wanted(name));
        clients.map(|(_, c)| c.longest_gap_ms).fold(0.0, f64::max)
    }
}

/// Running clients, on a separate thread. Dropping it stops them and removes their data.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<anyhow::Result<LoadReport>>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The time of the end.
    over: OnceLock<Instant>,
    published: AtomicBool,
}

/// The shared state of each client.
#[derive(Debug, Clone)]
struct Work {
    shared: Arc<Shared>,
    /// Receives the first answer of each client.
    begun: Sender<()>,
}

/// What a client has sent.
struct Sent {
    client: Client,
    /// The numbers that were acknowledged.
    acknowledged: BTreeSet<u64>,
}

impl Work {
    /// Sends numbers from 1 until the end, with a pause after each. `attempt` receives the number
    /// and whether it may have been sent before; it is repeated until it succeeds, for `limit`.
    async fn send(
        &self,
        pause: Duration,
        limit: Duration,
        mut attempt: impl AsyncFnMut(u64, bool, &mut Tally) -> anyhow::Result<()>,
    ) -> Sent {
        let mut tally = Tally::begin(Instant::now());
        let mut acknowledged = BTreeSet::new();
        for number in 1.. {
            if !self.goes_on() {
                break;
            }
            let deadline = Instant::now() + limit;
            let mut is_repeated = false;
            loop {
                let Err(error) = attempt(number, is_repeated, &mut tally).await else {
                    self.done(&mut tally);
                    acknowledged.insert(number);
                    break;
                };
                let error = format!("{error:#}");
                if self.gives_up(deadline) {
                    tally.give_up(error);
                    break;
                }
                tally.retry(error);
                is_repeated = true;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            tokio::time::sleep(pause).await;
        }
        Sent {
            client: tally.end(Instant::now()),
            acknowledged,
        }
    }

    fn goes_on(&self) -> bool {
        self.shared.over.get().is_none()
    }

    /// Whether to give up an operation that has failed so far.
    fn gives_up(&self, deadline: Instant) -> bool {
        let over = self.shared.over.get();
        let is_late = over.is_some_and(|over| over.elapsed() >= AFTER_LIMIT);
        is_late || Instant::now() >= deadline
    }

    fn done(&self, tally: &mut Tally) {
        if tally.done(Instant::now()) {
            // The receiver is gone when the start took too long.
            let _ = self.begun.send(());
        }
    }

    fn published(&self) {
        self.shared.published.store(true, Ordering::Relaxed);
    }

    fn is_published(&self) -> bool {
        self.shared.published.load(Ordering::Relaxed)
    }
}

impl Load {
    /// Starts the clients and waits until each of them has received an answer.
    pub fn begin(targets: Targets) -> anyhow::Result<Self> {
        let (begun, heard) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let work = Work {
            shared: shared.clone(),
            begun,
        };
        let count = targets.count();
        let thread = thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || run(targets, &work))
            .context("cannot start a thread")?;
        let load = Self {
            shared,
            thread: Some(thread),
        };
        match wait(&heard, count) {
            Ok(()) => Ok(load),
            Err(error) => {
                load.end()?;
                Err(error)
            }
        }
    }

    /// Continues for a moment, stops the clients and counts.
    pub fn finish(self) -> anyhow::Result<LoadReport> {
        thread::sleep(TAIL);
        self.end()
    }

    fn end(mut self) -> anyhow::Result<LoadReport> {
        self.join().unwrap_or_else(|| Err(anyhow!("it has ended")))
    }

    fn join(&mut self) -> Option<anyhow::Result<LoadReport>> {
        self.shared.over.get_or_init(Instant::now);
        let ended = self.thread.take()?.join();
        Some(ended.unwrap_or_else(|_| Err(anyhow!("the clients ended by a panic"))))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

fn wait(begun: &Receiver<()>, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + BEGIN_LIMIT;
    for _ in 0..count {
        let left = deadline.saturating_duration_since(Instant::now());
        match begun.recv_timeout(left) {
            Ok(()) => {}
            // The thread has ended, and returns the reason.
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let message = "the running stack does not answer all clients of the probe";
                let failure = Failure::new(Exit::Unhealthy, message);
                return Err(failure.hint("cargo xtask status").into());
            }
        }
    }
    Ok(())
}

impl Targets {
    /// Returns the number of clients.
    fn count(&self) -> usize {
        let pages = self.caddy.as_ref().map_or(0, |_| 2 * http::PAGES.len());
        let both = self.caddy.as_ref().and(self.pocketbase.as_ref());
        let records = both.map_or(0, |_| 2);
        let stream = self.nats.as_ref().map_or(0, |_| 2);
        pages + records + stream
    }
}

/// The thread: from the start of the first client to the removal of its data.
fn run(targets: Targets, work: &Work) -> anyhow::Result<LoadReport> {
    let runtime = kit::runtime::current_thread()?;
    let run: String = kit::secret::generate()?
        .to_lowercase()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(RUN_LENGTH)
        .collect();
    runtime.block_on(async {
        let all = All::begin(&targets, &run).await?;
        let worked = Box::pin(all.work(work)).await;
        // Where the data can be counted and removed, unless the stack is gone.
        let now = targets.now().unwrap_or(targets);
        let counted = all.count(worked, &now).await;
        all.remove(&now).await?;
        counted
    })
}

/// Everything under load.
struct All {
    run: String,
    stream: Option<Stream>,
    records: Option<Records>,
    caddy: Option<Endpoint>,
}

/// The results of all clients.
struct Worked {
    duration: Duration,
    pages: Vec<(String, Client)>,
    written: Option<(Sent, Client)>,
    published: Option<(Sent, Consumed)>,
}

impl All {
    async fn begin(targets: &Targets, run: &str) -> anyhow::Result<Self> {
        let mut all = Self {
            run: run.to_owned(),
            stream: None,
            records: None,
            caddy: targets.caddy.clone(),
        };
        if let (Some(home), Some(caddy)) = (&targets.pocketbase, &targets.caddy) {
            let begun = Records::begin(caddy.clone(), home.clone(), &targets.paths, run);
            all.records = Some(begun.await.context("cannot write to PocketBase")?);
        }
        if let Some(nats) = targets.nats.clone() {
            let made = Stream::make(nats, run).await;
            all.stream = Some(made.context("cannot make a stream")?);
        }
        Ok(all)
    }

    async fn work(&self, work: &Work) -> Worked {
        let begun = Instant::now();
        let records = async {
            let records = self.records.as_ref()?;
            Some(tokio::join!(
                records.write(work.clone()),
                records.read(work.clone())
            ))
        };
        let stream = async {
            let stream = self.stream.as_ref()?;
            Some(tokio::join!(
                stream.publish(work.clone()),
                stream.consume(work.clone())
            ))
        };
        let (pages, written, published) = tokio::join!(self.pages(work), records, stream);
        Worked {
            duration: begun.elapsed(),
            pages,
            written,
            published,
        }
    }

    async fn count(&self, worked: Worked, now: &Targets) -> anyhow::Result<LoadReport> {
        let mut clients: BTreeMap<String, Client> = worked.pages.into_iter().collect();
        if let (Some(records), Some((written, reader))) = (&self.records, worked.written) {
            let home = now.pocketbase.clone().context("PocketBase is gone")?;
            let counted = records.count(written, home).await;
            let writer = counted.context("cannot count the records")?;
            clients.insert("pocketbase writer".to_owned(), writer);
            clients.insert("pocketbase reader".to_owned(), reader);
        }
        if let (Some(stream), Some((published, consumed))) = (&self.stream, worked.published) {
            let nats = now.nats.as_ref().context("NATS is gone")?;
            let counted = stream.count(published, consumed, nats).await;
            let (publisher, consumer) = counted.context("cannot count the messages")?;
            clients.insert("nats publisher".to_owned(), publisher);
            clients.insert("nats consumer".to_owned(), consumer);
        }
        Ok(LoadReport {
            run: self.run.clone(),
            duration_ms: worked.duration.as_secs_f64() * 1000.0,
            clients,
        })
    }

    /// Removes the data. Both parts are tried.
    async fn remove(&self, now: &Targets) -> anyhow::Result<()> {
        let records = match (&self.records, &now.pocketbase) {
            (Some(records), Some(home)) => records.remove(home.clone()).await,
            _ => Ok(()),
        };
        if let (Some(stream), Some(nats)) = (&self.stream, &now.nats) {
            let removed = stream.remove(nats).await;
            removed.context("cannot remove the stream of the probe")?;
        }
        records.context("cannot remove the records of the probe")
    }

    async fn pages(&self, work: &Work) -> Vec<(String, Client)> {
        let Some(caddy) = &self.caddy else {
            return Vec::new();
        };
        let [own, other] = http::PAGES;
        let client = |page, keep| http::client(work.clone(), caddy.clone(), page, keep);
        let (a, b, c, d) = tokio::join!(
            client(own, false),
            client(own, true),
            client(other, false),
            client(other, true),
        );
        let name = |page, kept| format!("http {page} {kept}");
        vec![
            (name(own, "new connection"), a),
            (name(own, "kept connection"), b),
            (name(other, "new connection"), c),
            (name(other, "kept connection"), d),
        ]
    }
}

/// Returns an error with all its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
