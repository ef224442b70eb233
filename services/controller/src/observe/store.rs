//! Stores events in NATS. A connection lives as long as there are events to store.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use engine::checkout::paths::Paths;
use engine::topology::events::{self, Event, STREAM};
use kit::output::Notes;
use service_nats::jetstream::JetStream;

use super::Patience;
use super::fold::{self, Fact, Known, Seen};
use super::outbox::{Notice, Outbox};

/// Our name in the monitoring of the server.
const CLIENT_NAME: &str = "core controller";

pub(super) struct Store {
    paths: Paths,
    outbox: Arc<Outbox>,
    notes: Notes,
    /// The known state of each process, first read from the stream.
    known: HashMap<String, Option<Known>>,
    /// Events to store, from the last notice that was taken.
    events: VecDeque<Event>,
    /// A notice whose known state is not read yet.
    notice: Option<Notice>,
}

impl Store {
    pub(super) fn new(paths: &Paths, outbox: Arc<Outbox>, notes: Notes) -> Self {
        Self {
            paths: paths.clone(),
            outbox,
            notes,
            known: HashMap::new(),
            events: VecDeque::new(),
            notice: None,
        }
    }

    /// Stores notices in their order, for ever.
    pub(super) async fn run(mut self) {
        let mut patience = Patience::new();
        loop {
            if self.notice.is_none() && self.events.is_empty() {
                self.outbox.filled().await;
            }
            match self.drain().await {
                Ok(()) => patience.renew(),
                Err(error) => {
                    let complaint = format!("events wait for NATS: {error:#}");
                    if patience.is_new(&complaint) {
                        self.notes.note(&complaint);
                    }
                    patience.wait().await;
                }
            }
            let lost = self.outbox.lost();
            if lost > 0 {
                let text = format!("{lost} changes of states are lost: NATS was away for too long");
                self.notes.note(&text);
            }
        }
    }

    /// Stores all notices, as far as possible.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let jetstream = events::connect(&self.paths, CLIENT_NAME).await?;
        events::ensure_stream(&jetstream).await?;
        loop {
            while let Some(event) = self.events.front() {
                let payload = serde_json::to_vec(event)?;
                let (subject, id) = (event.subject(), event.id());
                jetstream.publish(&subject, &id, &payload).await?;
                self.events.pop_front();
            }
            if self.notice.is_none() {
                self.notice = self.outbox.take();
            }
            match &self.notice {
                None => return Ok(()),
                Some(Notice::Event(event)) => self.events.push_back((**event).clone()),
                Some(Notice::Seen(seen)) => {
                    let seen = seen.clone();
                    self.seen(&jetstream, &seen).await?;
                }
            }
            self.notice = None;
        }
    }

    /// Derives events from a state.
    async fn seen(&mut self, jetstream: &JetStream, seen: &Seen) -> anyhow::Result<()> {
        let name = &seen.state.name;
        if !self.known.contains_key(name) {
            let known = last(jetstream, name).await?;
            self.known.insert(name.clone(), known);
        }
        let known = self.known.get(name).and_then(Option::as_ref);
        if let Some((now, facts)) = fold::step(known, seen) {
            self.known.insert(name.clone(), Some(now));
            let events = facts.into_iter().map(|fact| self.event(name, fact));
            let events: Vec<Event> = events.collect();
            self.events.extend(events);
        }
        Ok(())
    }

    fn event(&self, process: &str, fact: Fact) -> Event {
        Event {
            process: Some(process.to_owned()),
            pid: fact.pid,
            exit_code: fact.exit_code,
            restarts: Some(fact.restarts),
            first_start: fact.first_start,
            reason: fact.reason.map(str::to_owned),
            ..Event::new(fact.kind, fact.at, &self.paths)
        }
    }
}

/// Returns the state of a process in the stream. A message that is no event, since others may
/// publish, too, is ignored.
async fn last(jetstream: &JetStream, process: &str) -> anyhow::Result<Option<Known>> {
    let subject = events::of_process(process);
    let message = jetstream.last_message(STREAM, &subject).await?;
    let event = message.and_then(|message| serde_json::from_slice(&message.payload).ok());
    Ok(event.and_then(|event| Known::of(&event)))
}
