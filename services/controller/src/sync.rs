//! One look at all records, and what follows from it.

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

/// How often a look may be followed at once by another: each is for one step that it made.
const LOOKS_MAX: usize = 8;

/// The longest message that is written, in characters: a field of the record is bounded.
const MESSAGE_MAX: usize = 8000;

/// The controller's hands.
pub(crate) struct Sync {
    pub(crate) client: Client,
    pub(crate) stack: Arc<dyn Stack>,
    /// The change at work.
    pub(crate) work: Option<Work>,
    /// What came of the last one, until the record says so.
    pub(crate) outcome: Option<Outcome>,
    /// Where the ends of changes are told.
    pub(crate) events: Events,
    /// What PocketBase refused last for each record: told once, not at each look.
    pub(crate) refusals: BTreeMap<String, String>,
}

/// Tells of topologies.
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

/// When to look again, without a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Now and then.
    Sometime,
    /// Soon: somebody else is changing the stack.
    Soon,
    /// After a pause: PocketBase refused what was to be written, which may pass.
    AfterPause,
}

impl Sync {
    /// Makes everything what the records say, as far as that is possible now.
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
                        // One record that cannot be written must not keep us from the others.
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
        // Others keep changing what we change, or this is a bug: not as fast as we can, then.
        Ok(Again::Soon)
    }

    /// Makes the first record, or that which somebody has deleted. Says whether it did.
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

    /// Does a step. Says whether the records are others by it.
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
            // Whoever was faster is seen by the next look.
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

    /// Says once that PocketBase does not let us write what became of a record.
    fn refused(&mut self, record: &Record, error: &anyhow::Error, output: &Output) {
        let text = format!("{error:#}");
        if self.refusals.get(&record.id) != Some(&text) {
            output.note(&told(record, &format!("cannot be written to: {text}")));
            self.refusals.insert(record.id.clone(), text);
        }
    }

    /// Writes down what came of the last change. It stays remembered until it is written. Says
    /// whether there was one: the records are others by it.
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

    /// Writes the end of what `begun` asked for, into the history and into the record as it is
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
        // The history first: whoever waits for the status finds it there.
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
            // The record itself says more than a line about it.
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
            // That streams may be moved is said for one change, not for good.
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

/// Whether a record, or what else is in the database, is the reason.
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
