//! The time from the save of a record until the controller notices it, and until a client does that
//! only subscribes to PocketBase's events.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use kit::http::events::Events;
use serde_json::{Value, json};

use super::{CHANGE_LIMIT, SEEN_MARGIN_MS, Sandbox, alone, apply, save};
use crate::bench::report::BenchReport;
use crate::bench::timing::{median, millis};
use engine::base::interrupt::Interrupt;
use engine::base::poll::wait_until;
use engine::topology::ask::Records;
use engine::topology::record::{COLLECTION, Client, State};

/// Number of measured changes.
const CHANGES: usize = 15;
/// The path of PocketBase's events.
const PATH: &str = "/api/realtime";
/// How long an event may take.
const EVENT_LIMIT: Duration = Duration::from_secs(5);
/// Poll interval of the record while the controller handles it.
const POLL: Duration = Duration::from_millis(5);

/// Adds the row. The changes are invalid, so that only the answer follows.
pub(super) fn seen(sandbox: &Sandbox, report: &mut BenchReport) -> anyhow::Result<()> {
    let mut records = Records::open(sandbox.ctx(), "cargo xtask up")?;
    let runtime = kit::runtime::current_thread()?;
    let port = sandbox.port("pocketbase", "http")?;
    let endpoint = kit::http::Endpoint::tcp("127.0.0.1", port);
    let mut client = Client::new(endpoint, sandbox.ctx().paths.controller_secret());
    let mut events = runtime.block_on(subscribe(&mut client))?;
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for number in 0..CHANGES {
        let spec = json!({"topology": format!("none-{number}")});
        // Wall-clock times, as the controller writes them, in whole milliseconds.
        let (saved, begun) = (Timestamp::now(), Instant::now());
        let generation = save(&mut records, &spec)?.generation;
        runtime.block_on(told_of(&mut events, &spec))?;
        bare.push(millis(begun));
        let since = answered(&mut records, generation)?;
        ours.push(since.duration_since(saved).as_secs_f64() * 1000.0);
        runtime.block_on(quiet(&mut events))?;
    }
    apply(sandbox, &alone())?;
    report.compare(
        "record saved to its change seen by the controller",
        "a bare client of PocketBase's events",
        (median(ours), median(bare)),
        (1.0, SEEN_MARGIN_MS),
    );
    Ok(())
}

async fn subscribe(client: &mut Client) -> anyhow::Result<Events> {
    client.token().await?;
    let mut events = Events::open(client.endpoint(), PATH, &[], EVENT_LIMIT).await?;
    let first = events.next_within(EVENT_LIMIT).await?;
    let first = first.context("PocketBase ended the stream of events")?;
    let connected: Value = serde_json::from_str(&first.data)?;
    let topics = [format!("{COLLECTION}/*")];
    let body = json!({"clientId": connected["clientId"], "subscriptions": topics});
    client.tell("POST", PATH, Some(&body)).await?;
    Ok(events)
}

/// Waits for the event with this specification.
async fn told_of(events: &mut Events, spec: &Value) -> anyhow::Result<()> {
    loop {
        let event = events.next_within(EVENT_LIMIT).await?;
        let event = event.context("PocketBase ended the stream of events")?;
        let told: Value = serde_json::from_str(&event.data).unwrap_or_default();
        if told["record"]["spec"] == *spec {
            return Ok(());
        }
    }
}

/// Skips an event of the controller's answer, so that it is not taken for the next change.
async fn quiet(events: &mut Events) -> anyhow::Result<()> {
    let more = tokio::time::timeout(POLL, events.next()).await;
    more.map_or(Ok(()), |event| event.map(drop).map_err(Into::into))
}

/// Returns when the controller refused a generation.
fn answered(records: &mut Records, generation: u64) -> anyhow::Result<Timestamp> {
    let deadline = Instant::now() + CHANGE_LIMIT;
    let since = || {
        let record = records.find()?;
        let failed = record.status.generation == generation && record.status.state == State::Failed;
        Ok::<_, anyhow::Error>(failed.then_some(record.status.since))
    };
    let since = wait_until(deadline, POLL, &Interrupt::default(), since)?.done();
    let since = since.context("the controller did not answer a change")?;
    since.parse().context("no time")
}
