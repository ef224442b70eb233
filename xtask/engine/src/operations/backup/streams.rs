//! The streams in a backup, with their consumers. Restored streams are closed until all are
//! verified: publishing into one is impossible, so no acknowledgement can be lost.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fs, io};

use anyhow::{Context as _, anyhow, bail};
use kit::{Exit, Failure};
use serde_json::Value;
use service_nats::jetstream::{Backup, JetStream, StreamInfo, StreamState, restore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::archive::Archive;
use super::manifest::{Consumer, Skipped, Stream};
use super::progress::Progress;
use crate::topology::events;
use crate::topology::streams::carry::{closed, same};
use crate::topology::streams::content::content_of;
use crate::topology::streams::places::{Place, Places};
use crate::topology::streams::plan::at_destination;

/// Prefix of the subject of a stream that is not verified yet.
const PRIVATE_SUBJECT: &str = "core.restoring";
/// How often a stream is copied again because messages left it while they were read.
const ATTEMPTS: usize = 3;
/// How long JetStream may take to answer after its servers were started: a hub elects first.
const READY_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
/// How long one request may take. An answer takes milliseconds; with many streams, a second.
const LOOK_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
/// How long reading the messages of one stream may take in total: only an upper bound.
const READ_LIMIT: std::time::Duration = std::time::Duration::from_hours(1);
/// How often a request is repeated.
const READY_POLL: std::time::Duration = std::time::Duration::from_millis(50);
/// Retention that removes consumed messages.
const CONSUMED: [&str; 2] = ["workqueue", "interest"];

/// Copies of all streams.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) streams: Vec<Stream>,
    pub(crate) skipped: Vec<Skipped>,
    /// The copies by their entries.
    pub(crate) files: Vec<(String, PathBuf)>,
}

/// Copies every stream into a file in `directory`.
pub(crate) async fn take(
    places: &Places<'_>,
    directory: &Path,
    progress: &Progress<'_>,
) -> anyhow::Result<Taken> {
    let mut taken = Taken::default();
    for place in places.all() {
        let (js, streams) = led(places, &place).await?;
        for info in streams {
            let (domain, name) = (place.domain().to_owned(), info.name().to_owned());
            if info.config["storage"] == "memory" {
                let reason = "it is in memory alone, which its server cannot copy".to_owned();
                taken.skipped.push(Skipped {
                    domain,
                    name,
                    reason,
                });
                continue;
            }
            progress.stage(format!("copying the stream `{name}`"), info.state.bytes)?;
            let file = directory.join(taken.files.len().to_string());
            let copied = take_one(&js, domain, &name, &file, progress).await;
            let stream = copied.with_context(|| format!("cannot copy the stream `{name}`"))?;
            taken.files.push((stream.entry.clone(), file));
            taken.streams.push(stream);
        }
    }
    Ok(taken)
}

/// Returns a place and its streams, once all of them have leaders: a hub that has just started, or
/// lost a node, elects first and does not answer before.
async fn led(places: &Places<'_>, place: &Place) -> anyhow::Result<(JetStream, Vec<StreamInfo>)> {
    let look = async || {
        let js = places.connect(place).await?;
        let streams = all(&js, place).await?;
        Ok((js, streams))
    };
    answered(LOOK_LIMIT, look).await.map_err(|error| {
        let seconds = READY_LIMIT.as_secs();
        let message = format!("{} keeps no streams after {seconds} s", place.shown());
        let failure = Failure::new(kit::failure::exit_of(&error).max(Exit::Unhealthy), message);
        let hint = "wait for its nodes: cargo xtask status";
        failure.source(error).hint(hint).into()
    })
}

/// Repeats a request until it succeeds. A hub elects leaders after its start and for a new stream;
/// a request before that is refused or never answered. One request may take `limit`.
async fn answered<T>(
    limit: std::time::Duration,
    ask: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let answer = tokio::time::timeout(limit, ask()).await;
        let answer = answer.unwrap_or_else(|_| Err(anyhow!("JetStream does not answer")));
        if answer.is_ok() || Instant::now() >= deadline {
            return answer;
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// Returns all streams of a place except that of events, which is specific to one instance; fails
/// if one has no leader that reports it.
async fn all(js: &JetStream, place: &Place) -> anyhow::Result<Vec<StreamInfo>> {
    let names = js.stream_names().await?;
    let streams = js.streams().await?;
    let known: BTreeSet<&str> = streams.iter().map(StreamInfo::name).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) {
        let message = format!("no server leads the stream `{name}` of {}", place.shown());
        let failure = Failure::new(Exit::Unhealthy, message);
        return Err(failure
            .hint("wait for its nodes: cargo xtask status")
            .into());
    }
    let is_user_s = |stream: &StreamInfo| stream.name() != events::STREAM;
    Ok(streams.into_iter().filter(is_user_s).collect())
}

async fn take_one(
    js: &JetStream,
    domain: String,
    name: &str,
    file: &Path,
    progress: &Progress<'_>,
) -> anyhow::Result<Stream> {
    let mut attempt = 1;
    loop {
        let consumers = js.consumers(name).await?;
        let backup = Backup::begin(js, name).await?;
        let (config, state) = (backup.config.clone(), backup.state.clone());
        let raw_state = backup.raw_state.clone();
        let mut sink = Sink {
            file: File::create(file)?,
            progress,
        };
        backup.write_to(&mut sink).await?;
        let read = content_of(js, &config, &state).await?;
        let is_whole = read.messages == state.messages;
        if is_whole || attempt == ATTEMPTS {
            return Ok(Stream {
                entry: format!("nats/{domain}/{name}.snapshot"),
                domain,
                name: name.to_owned(),
                config,
                state: raw_state,
                messages: state.messages,
                first_seq: state.first_seq,
                last_seq: state.last_seq,
                content: is_whole.then(|| read.hex()),
                consumers: consumers.iter().map(consumer).collect(),
            });
        }
        attempt += 1;
    }
}

fn consumer(info: &Value) -> Consumer {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    Consumer {
        name: info["name"].as_str().unwrap_or_default().to_owned(),
        durable: info["config"]["durable_name"].is_string(),
        ack_floor: number(&info["ack_floor"]["stream_seq"]),
        pending: number(&info["num_ack_pending"]),
    }
}

/// Returns the names of all streams except that of events.
pub(crate) async fn holds(places: &Places<'_>) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for place in places.all() {
        let (_, streams) = led(places, &place).await?;
        names.extend(streams.iter().map(|stream| stream.name().to_owned()));
    }
    Ok(names)
}

/// Returns the place of a domain.
pub(crate) fn place(places: &Places<'_>, domain: &str) -> anyhow::Result<Place> {
    let mut all = places.all().into_iter();
    let found = all.find(|place| place.domain() == domain);
    found.with_context(|| format!("there is no JetStream domain `{domain}`"))
}

/// Creates every stream of an archive, closed, and verifies its content. Mirrors come last: their
/// origins must exist.
pub(crate) async fn put_back(
    places: &Places<'_>,
    archive: &Archive,
    progress: &Progress<'_>,
) -> anyhow::Result<()> {
    let streams = &archive.manifest.streams;
    let (mirrors, others): (Vec<&Stream>, Vec<&Stream>) =
        streams.iter().partition(|stream| is_mirror(&stream.config));
    for stream in others.into_iter().chain(mirrors) {
        let place = place(places, &stream.domain)?;
        let js = connect(places, &place).await?;
        let size = archive.manifest.entries.iter();
        let size = size.filter(|entry| entry.path == stream.entry);
        let size = size.map(|entry| entry.size).sum();
        progress.stage(format!("restoring the stream `{}`", stream.name), size)?;
        let replicas_max = places.replicas_max(&place);
        let restored = put_back_one(&js, stream, replicas_max, archive, progress).await;
        restored.with_context(|| format!("cannot restore the stream `{}`", stream.name))?;
    }
    Ok(())
}

/// Connects to servers that were just started.
async fn connect(places: &Places<'_>, place: &Place) -> anyhow::Result<JetStream> {
    let connect = async || {
        let js = places.connect(place).await?;
        js.stream_names().await?;
        Ok(js)
    };
    answered(LOOK_LIMIT, connect).await
}

/// Returns a stream, once it has a leader.
async fn found(js: &JetStream, name: &str) -> anyhow::Result<Option<StreamInfo>> {
    answered(LOOK_LIMIT, async || Ok(js.stream(name).await?)).await
}

async fn put_back_one(
    js: &JetStream,
    stream: &Stream,
    replicas_max: u64,
    archive: &Archive,
    progress: &Progress<'_>,
) -> anyhow::Result<()> {
    let mut config = at_destination(&stream.config, replicas_max);
    if can_be_closed(&config) {
        config = closed(&config, PRIVATE_SUBJECT);
    }
    let is_again = Cell::new(false);
    let put = async || {
        // The hub may have begun what it gave no answer to: no other client makes streams here yet.
        if is_again.replace(true) {
            js.delete_restored(&stream.name).await?;
        }
        let mut source = Source {
            entry: archive.open(&stream.entry)?,
            progress,
        };
        Ok(restore(js, &config, &stream.state, &mut source).await?)
    };
    let made = answered(READ_LIMIT, put).await?;
    let now = found(js, &stream.name).await?.context("it is gone")?;
    let state: StreamState = serde_json::from_value(stream.state.clone())?;
    if stream.content.is_some() && !is_unsteady(&stream.config) {
        if !same(&state, &now.state) {
            bail!("it has other messages than it had");
        }
        let read = async || Ok(content_of(js, &now.config, &now.state).await?);
        let content = answered(READ_LIMIT, read).await?;
        if Some(content.hex()) != stream.content {
            bail!("the content of its messages is not what it was");
        }
    } else if made.state.last_seq < state.last_seq || made.state.messages > state.messages {
        bail!("it has other messages than it had");
    }
    for wanted in stream.consumers.iter().filter(|consumer| consumer.durable) {
        let ask = async || Ok(js.consumer(&stream.name, &wanted.name).await?);
        let found = answered(LOOK_LIMIT, ask).await?;
        let found = found.as_ref().map(consumer);
        if found.is_none_or(|found| found.ack_floor < wanted.ack_floor) {
            bail!("its consumer `{}` is not where it was", wanted.name);
        }
    }
    Ok(())
}

/// Fails unless every stream of an archive exists with its content.
pub(crate) async fn are_there(places: &Places<'_>, archive: &Archive) -> anyhow::Result<()> {
    for stream in &archive.manifest.streams {
        let js = connect(places, &place(places, &stream.domain)?).await?;
        let now = found(&js, &stream.name).await?;
        let state: StreamState = serde_json::from_value(stream.state.clone())?;
        let is_there = now.is_some_and(|now| {
            same(&state, &now.state)
                || (is_unsteady(&stream.config) && now.state.last_seq >= state.last_seq)
        });
        if !is_there {
            bail!("the stream `{}` did not outlive a restart", stream.name);
        }
    }
    Ok(())
}

/// Restores the configuration of every stream. Can be repeated after an interruption.
pub(crate) async fn open_all(
    places: &Places<'_>,
    streams: &[(String, Value)],
) -> anyhow::Result<()> {
    for (domain, config) in streams.iter().filter(|(_, config)| can_be_closed(config)) {
        let place = place(places, domain)?;
        let js = connect(places, &place).await?;
        let name = config["name"].as_str().unwrap_or_default();
        let Some(now) = found(&js, name).await? else {
            continue;
        };
        if now.subjects() != [format!("{PRIVATE_SUBJECT}.{name}")] {
            continue;
        }
        let config = at_destination(config, places.replicas_max(&place));
        let opened = answered(LOOK_LIMIT, async || Ok(js.update_stream(&config).await?)).await;
        opened.with_context(|| format!("cannot open the stream `{name}`"))?;
    }
    Ok(())
}

fn is_mirror(config: &Value) -> bool {
    config["mirror"].is_object()
}

/// Whether its subjects can be changed, and changed back: publishing into a mirror or a sealed
/// stream is impossible anyway.
fn can_be_closed(config: &Value) -> bool {
    !is_mirror(config) && config["sealed"] != true
}

/// Whether a stream may lose or gain messages without a publisher.
fn is_unsteady(config: &Value) -> bool {
    let retention = config["retention"].as_str().unwrap_or_default();
    CONSUMED.contains(&retention)
        || is_mirror(config)
        || config["allow_msg_ttl"] == true
        || (config["sealed"] == true && config["max_age"] != 0)
}

/// A file that is written within the runtime: a write to the page cache does not block.
struct Sink<'a> {
    file: File,
    progress: &'a Progress<'a>,
}

impl AsyncWrite for Sink<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.file.write(bytes)?;
        self.progress.count(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.file.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// An entry of an archive, read within the runtime.
struct Source<'a, R> {
    entry: R,
    progress: &'a Progress<'a>,
}

impl<R: Read + Unpin> AsyncRead for Source<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.entry.read(buffer.initialize_unfilled())?;
        buffer.advance(read);
        self.progress.count(read as u64);
        Poll::Ready(Ok(()))
    }
}

/// Returns the bytes of the files in a directory.
pub(crate) fn size(directory: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(directory)? {
        size += entry?.metadata()?.len();
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_change_by_itself_is_told_apart() {
        assert!(!is_unsteady(&json!({"retention": "limits", "max_age": 5})));
        for unsteady in [
            json!({"retention": "workqueue"}),
            json!({"retention": "limits", "mirror": {"name": "A"}}),
            json!({"retention": "limits", "allow_msg_ttl": true}),
            json!({"sealed": true, "max_age": 5}),
        ] {
            assert!(is_unsteady(&unsteady), "{unsteady}");
        }
        assert!(can_be_closed(&json!({"sealed": false})));
        assert!(!can_be_closed(&json!({"sealed": true})));
    }
}
