//! `observe`: prints the events of a running stack.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use anyhow::Context as _;
use kit::names::word;
use kit::{Exit, Failure};
use serde_json::{Value, json};
use service_nats::client::Message;
use service_nats::jetstream::{Begin, Follow};
use tokio::time::{Instant, sleep};

use crate::SCHEMA_VERSION;
use crate::checkout::context::Ctx;
use crate::supervisor::alive;
use crate::supervisor::timing;
use crate::topology::events::{self, Event, STREAM};

/// How long NATS may be away while the stack runs: a restart takes a second, a recovery of many
/// streams takes longer.
const AWAY_LIMIT: Duration = Duration::from_mins(1);
/// How often a connection to a server that is away is tried.
const RETRY: Duration = Duration::from_millis(100);
/// Our name in the monitoring of the server.
const CLIENT_NAME: &str = "core observe";
/// All subjects.
pub const ALL: &str = "core.>";

/// Which events are printed, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The subject, with wildcards.
    pub subject: String,
    /// Prints also events since then, in milliseconds since the Unix epoch.
    pub since: Option<i64>,
    /// Whether to print one JSON object per line.
    pub json: bool,
}

/// Returns what is wrong with a subject; `None` if events can have it.
pub fn problem(subject: &str) -> Option<&'static str> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let last = tokens.len() - 1;
    if tokens.iter().any(|token| token.is_empty()) {
        return Some("has an empty part");
    }
    if subject.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("has white space");
    }
    let wild = |token: &str| token.contains(['*', '>']) && token.len() > 1;
    let early = |(index, token): (usize, &&str)| *token == ">" && index < last;
    if tokens.iter().any(|token| wild(token)) || tokens.iter().enumerate().any(early) {
        return Some("has a wildcard that is no part, or `>` before its end");
    }
    let begins = matches!(tokens[0], "core" | "*" | ">");
    (!begins).then_some("does not begin with `core`, as all events do")
}

/// Prints events until Ctrl-C, until the reader closes the pipe, or until the stack has stopped,
/// which is an error.
pub fn observe(ctx: &Ctx, options: &Options) -> anyhow::Result<()> {
    let is_alive = || alive::is_held(&ctx.paths.alive_lock());
    if !is_alive()? {
        let failure = Failure::new(Exit::NotRunning, "there is no running stack");
        return Err(failure.hint("cargo xtask up").into());
    }
    let mut follower = Follower {
        ctx,
        options,
        begin: options.since.map(|since| Begin::Time(timing::at(since))),
        deadline: Instant::now() + AWAY_LIMIT,
        is_told: false,
    };
    kit::runtime::current_thread()?.block_on(async {
        tokio::select! {
            biased;
            signal = tokio::signal::ctrl_c() => signal.context("cannot watch for signals"),
            ended = follower.until_stopped() => ended,
        }
    })
}

struct Follower<'a> {
    ctx: &'a Ctx,
    options: &'a Options,
    /// Where to continue; `None` before the stream was first seen.
    begin: Option<Begin>,
    /// Until when NATS may be away.
    deadline: Instant,
    /// Whether the start was reported.
    is_told: bool,
}

impl Follower<'_> {
    async fn until_stopped(&mut self) -> anyhow::Result<()> {
        loop {
            let Err(error) = self.follow().await else {
                return Ok(());
            };
            if !alive::is_held(&self.ctx.paths.alive_lock())? {
                let failure = Failure::new(Exit::NotRunning, "the stack has stopped");
                return Err(failure.hint("cargo xtask up").into());
            }
            if Instant::now() >= self.deadline {
                let failure = Failure::new(Exit::Timeout, "NATS tells of no events");
                let failure = failure.source(error).hint("cargo xtask status");
                return Err(failure.into());
            }
            sleep(RETRY).await;
        }
    }

    /// Prints events until the reader closes the pipe, or NATS is lost.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let jetstream = events::connect(&self.ctx.paths, CLIENT_NAME).await?;
        let stream = jetstream.stream(STREAM).await?;
        let stream = stream.with_context(|| format!("there is no stream `{STREAM}`"))?;
        let next = stream.state.last_seq + 1;
        let begin = match self.begin.take() {
            None => Begin::Sequence(next),
            // The numbers of a stream that was created again begin at 1.
            Some(Begin::Sequence(number)) => Begin::Sequence(number.min(next)),
            Some(time) => time,
        };
        self.begin = Some(begin.clone());
        let filter = Some(self.options.subject.as_str()).filter(|subject| *subject != ALL);
        let mut follow = Follow::begin(&jetstream, STREAM, filter, &begin).await?;
        if !self.is_told {
            let subject = &self.options.subject;
            self.ctx
                .ui
                .line(format!("following `{subject}`; Ctrl-C ends it"));
            self.is_told = true;
        }
        loop {
            self.deadline = Instant::now() + AWAY_LIMIT;
            let next = follow.next().await;
            // Until now the server was there.
            self.deadline = Instant::now() + AWAY_LIMIT;
            let (number, message) = next?;
            self.begin = Some(Begin::Sequence(number + 1));
            let line = if self.options.json {
                document(number, &message)
            } else {
                sentence(&message)
            };
            match self.ctx.ui.stream(line) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("cannot write to stdout")?,
            }
        }
    }
}

/// Formats one JSON object: the event, its subject and its number in the stream.
fn document(number: u64, message: &Message) -> String {
    let event = serde_json::from_slice(&message.payload).ok();
    let mut object = event.filter(Value::is_object).unwrap_or_else(|| {
        // Any client of NATS may have written anything.
        json!({"schema_version": SCHEMA_VERSION, "payload": text(message)})
    });
    object["subject"] = json!(message.subject);
    object["sequence"] = json!(number);
    object.to_string()
}

/// Formats one line for people.
fn sentence(message: &Message) -> String {
    let Ok(event) = serde_json::from_slice::<Event>(&message.payload) else {
        return format!("{}: {}", message.subject, text(message).escape_debug());
    };
    let about = match (&event.process, &event.service) {
        (Some(process), _) => process.clone(),
        (None, Some(service)) => format!("topology of {service}"),
        (None, None) => message.subject.clone(),
    };
    let mut line = format!("{}  {about:<16}  {:<9}", event.time, word(event.event));
    for (name, number) in [
        ("pid", event.pid.map(i64::from)),
        ("exit code", event.exit_code.map(i64::from)),
        (
            "restarts",
            event.restarts.map(i64::from).filter(|count| *count > 0),
        ),
        (
            "generation",
            event.generation.and_then(|number| number.try_into().ok()),
        ),
    ] {
        if let Some(number) = number {
            let _ = write!(line, "  {name} {number}");
        }
    }
    if let Some(reason) = event.reason.filter(|reason| !reason.is_empty()) {
        let _ = write!(line, "  {}", reason.replace('\n', "; ").escape_debug());
    }
    line.trim_end().to_owned()
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

#[cfg(test)]
mod tests {
    use service_nats::client::Headers;

    use super::*;

    fn message(payload: &str) -> Message {
        Message {
            subject: "core.process.nats.crashed".to_owned(),
            reply: None,
            status: None,
            description: String::new(),
            headers: Headers::new(),
            payload: payload.as_bytes().to_vec(),
        }
    }

    const CRASH: &str = r#"{"schema_version":1,"time":"2026-01-02T03:04:05.678Z","instance":"/x",
        "event":"crashed","process":"nats","pid":7,"exit_code":137,"restarts":0,"reason":"a\nb"}"#;

    #[test]
    fn lines_for_people_and_programs() {
        let line = sentence(&message(CRASH));
        let expected = "2026-01-02T03:04:05.678Z  nats              crashed    pid 7  \
            exit code 137  a; b";
        assert_eq!(line, expected);
        let object: Value = serde_json::from_str(&document(9, &message(CRASH))).unwrap();
        assert_eq!(object["sequence"], 9);
        assert_eq!(object["subject"], "core.process.nats.crashed");
        assert_eq!(object["exit_code"], 137);
    }

    #[test]
    fn what_somebody_else_published_is_shown_on_one_line() {
        let strange = message("a\nb");
        assert_eq!(sentence(&strange), "core.process.nats.crashed: a\\nb");
        let object: Value = serde_json::from_str(&document(1, &strange)).unwrap();
        assert_eq!(object["payload"], "a\nb");
    }

    #[test]
    fn subjects_that_no_event_has() {
        for good in [
            "core.>",
            "core.process.*.crashed",
            "*.topology.>",
            ">",
            "core.process.nats",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in [
            "",
            "core.",
            "core..x",
            "core.a b",
            "core.>.x",
            "core.a*",
            "cor.>",
            "process.x",
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
