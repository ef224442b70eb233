//! Reads all records once and acts on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use engine::checkout::hints::describe;
use engine::checkout::paths::Paths;
use engine::operations::change::Change;
use engine::supervisor::timing;
use engine::topology::events::{Event, Kind};
use engine::topology::record::{Client, Edit, Entry, Record, RecordError, State, Status};
use kit::output::Output;
use serde_json::json;
use service_nats::topology::{Origin, SERVICE};

use crate::decide::{Step, decide};
use crate::observe::{Notice, Outbox};
use crate::stack::{Stack, World};
use crate::work::{Outcome, Work};

/// How often a round may be followed at once by another: each made one step.
const LOOKS_MAX: usize = 8;

/// The longest message that is written, in characters: the field of the record is bounded.
const MESSAGE_MAX: usize = 8000;

/// Applies decisions to the stack and to the records.
pub(crate) struct Sync {
    pub(crate) client: Client,
    pub(crate) stack: Arc<dyn Stack>,
    /// The running change.
    pub(crate) work: Option<Work>,
    /// The result of the last change, until the record has it.
    pub(crate) outcome: Option<Outcome>,
    /// Where the ends of changes are published.
    pub(crate) events: Events,
    /// PocketBase's last refusal for each record: printed once, not in each round.
    pub(crate) refusals: BTreeMap<String, String>,
}

/// Publishes events of topologies.
pub(crate) struct Events {
    pub(crate) paths: Paths,
    pub(crate) outbox: Arc<Outbox>,
}

impl Events {
    fn tell(&self, entry: &Entry) {
        let kind = match entry.state {
            State::Applied => Kind::Applied,
            State::Failed => Kind::Failed,
            State::Pending | State::Applying => return,
        };
        self.outbox.add(Notice::Event(Box::new(Event {
            service: Some(entry.service.clone()),
            generation: Some(entry.generation),
            spec: Some(entry.spec.clone()),
            reason: Some(entry.message.clone()).filter(|message| !message.is_empty()),
            ..Event::new(kind, timing::now(), &self.paths)
        })));
    }
}

/// When to read again, without a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// After the usual interval.
    Sometime,
    /// Soon: another command is changing the stack.
    Soon,
    /// After a pause: PocketBase refused a write, which may pass.
    AfterPause,
}

impl Sync {
    /// Makes the stack match the records, as far as that is possible now.
    pub(crate) async fn run(&mut self, output: &Output) -> anyhow::Result<Again> {
        for _ in 0..LOOKS_MAX {
            let records = self.client.list().await?;
            if self.report(&records, output).await? {
                continue;
            }
            let world = self.stack.look().context("cannot look at the stack")?;
            let mut again = Again::Sometime;
            let mut acted = self.seed(&records, &world, output).await?;
            for record in &records {
                if self.work.is_some() && record.service == SERVICE {
                    continue;
                }
                match decide(record, &world) {
                    Step::Nothing => {}
                    Step::Later => again = Again::Soon,
                    // `down` wants the lock that a change would take.
                    Step::Apply(_) if self.stack.is_stopping() => again = Again::Soon,
                    step => match self.act(record, step, output).await {
                        Ok(others) => {
                            self.refusals.remove(&record.id);
                            acted |= others;
                        }
                        // One record that cannot be written must not block the others.
                        Err(error) if is_of_the_data(&error) => {
                            self.refused(record, &error, output);
                            again = Again::AfterPause;
                        }
                        Err(error) => return Err(error),
                    },
                }
            }
            if !acted {
                return Ok(again);
            }
        }
        // Other writers keep changing the same, or this is a bug: slow down.
        Ok(Again::Soon)
    }

    /// Creates the first record, or one that a user deleted. Returns whether it did.
    async fn seed(
        &mut self,
        records: &[Record],
        world: &World,
        output: &Output,
    ) -> anyhow::Result<bool> {
        let is_there = records.iter().any(|record| record.service == SERVICE);
        if is_there || self.work.is_some() || !world.services.contains(SERVICE) {
            return Ok(false);
        }
        let spec = json!(world.spec);
        let status = Status::default().next(1, State::Applied, String::new(), Some(&spec));
        let create = self.client.create(SERVICE, &spec, world.origin, &status);
        create.await?;
        output.note(&format!("made the record of `{SERVICE}`"));
        Ok(true)
    }

    /// Performs a step. Returns whether it changed the records.
    async fn act(&mut self, record: &Record, step: Step, output: &Output) -> anyhow::Result<bool> {
        let done = match step {
            Step::Nothing | Step::Later => return Ok(false),
            Step::Declare(spec) => {
                let edit = Edit {
                    spec: Some(json!(spec)),
                    ..Edit::default()
                };
                self.client.change(record, &edit).await.map(drop)
            }
            Step::Confirm => {
                self.write_outcome(record, record, State::Applied, "", output)
                    .await
            }
            Step::Refuse(why) => {
                if !self.refusals.contains_key(&record.id) {
                    output.note(&told(record, &format!("is refused\n{why}")));
                }
                self.write_outcome(record, record, State::Failed, &why, output)
                    .await
            }
            Step::Apply(change) => return self.begin(record, change, output).await,
        };
        match done {
            // The next round sees the faster writer.
            Ok(()) | Err(RecordError::Conflict | RecordError::Gone) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn begin(
        &mut self,
        record: &Record,
        change: Change,
        output: &Output,
    ) -> anyhow::Result<bool> {
        let status = record
            .status
            .next(record.generation, State::Applying, String::new(), None);
        match self.client.report(&record.id, &status).await {
            Ok(_) => {}
            Err(RecordError::Gone) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        output.note(&told(record, "is being applied"));
        self.work = Some(Work::begin(self.stack.clone(), record.clone(), change)?);
        Ok(false)
    }

    /// Reports once that PocketBase refused the status of a record.
    fn refused(&mut self, record: &Record, error: &anyhow::Error, output: &Output) {
        let text = format!("{error:#}");
        if self.refusals.get(&record.id) != Some(&text) {
            output.note(&told(record, &format!("cannot be written to: {text}")));
            self.refusals.insert(record.id.clone(), text);
        }
    }

    /// Writes the result of the last change, and keeps it until it is written. Returns whether
    /// there was one: it changes the records.
    async fn report(&mut self, records: &[Record], output: &Output) -> anyhow::Result<bool> {
        let Some(outcome) = self.outcome.take() else {
            return Ok(false);
        };
        let begun = &outcome.record;
        if outcome.given_up {
            output.note(&told(begun, "is given up for now"));
            return Ok(true);
        }
        let (state, message) = match &outcome.result {
            Ok(()) => (State::Applied, String::new()),
            Err(error) => (State::Failed, describe(error)),
        };
        if let Some(now) = records.iter().find(|record| record.id == begun.id) {
            match self
                .write_outcome(now, begun, state, &message, output)
                .await
            {
                Ok(()) | Err(RecordError::Gone) => {}
                Err(error) if error.is_of_the_data() => {
                    self.refused(begun, &error.into(), output);
                }
                Err(error) => {
                    self.outcome = Some(outcome);
                    return Err(error.into());
                }
            }
        }
        let what = match state {
            State::Applied => "is applied".to_owned(),
            _ => format!("could not be applied\n{message}"),
        };
        output.note(&told(begun, &what));
        Ok(true)
    }

    /// Writes the result of the change of `begun` into the history and into the record as it is
    /// `now`.
    async fn write_outcome(
        &mut self,
        now: &Record,
        begun: &Record,
        state: State,
        message: &str,
        output: &Output,
    ) -> Result<(), RecordError> {
        let message: String = message.chars().take(MESSAGE_MAX).collect();
        // The history first: a reader that waits for the status finds it there.
        let entry = Entry {
            service: begun.service.clone(),
            generation: begun.generation,
            origin: begun.origin,
            spec: begun.spec.clone(),
            state,
            message: message.clone(),
            created: String::new(),
        };
        match self.client.append(&entry).await {
            Ok(()) => {}
            // The record itself matters more than a line about it.
            Err(error) if error.is_of_the_data() => {
                output.note(&told(
                    begun,
                    &format!("gets no line in the history: {error}"),
                ));
            }
            Err(error) => return Err(error),
        }
        self.events.tell(&entry);
        let applied = (state == State::Applied).then_some(&begun.spec);
        let status = now.status.next(begun.generation, state, message, applied);
        let written = self.client.report(&now.id, &status).await?;
        let moved = state == State::Applied && begun.move_streams;
        if moved && written.generation == begun.generation {
            // The permission to move streams is valid for one change, not for good.
            let edit = Edit {
                move_streams: Some(false),
                ..Edit::default()
            };
            match self.client.change(&written, &edit).await {
                Ok(_) | Err(RecordError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether a record, or other data in the database, is the cause.
pub(crate) fn is_of_the_data(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<RecordError>();
    error.is_some_and(RecordError::is_of_the_data)
}

fn told(record: &Record, what: &str) -> String {
    let by = match record.origin {
        Origin::Manifest => "the manifest",
        Origin::User => "a user",
    };
    let (service, generation) = (&record.service, record.generation);
    format!("generation {generation} of `{service}`, by {by}, {what}")
}
