//! A client that publishes continuously, each message with an id until it is acknowledged: its
//! counts show what a change of the hub loses or stores twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use service_nats::client::{Client, Headers};

use super::nats::Nats;
use super::{SOON, within};

/// How long one acknowledgement may take before the message is sent again.
const ACK_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two attempts, and between two messages: some 200 a second.
const PAUSE: Duration = Duration::from_millis(5);
/// How long one message may take in all: two elections.
const MESSAGE_LIMIT: Duration = Duration::from_secs(40);

/// Requests to a publisher.
#[derive(Debug, Default)]
struct Flags {
    /// Stop once its last message is stored.
    stop: AtomicBool,
    /// Stop, stored or not.
    given_up: AtomicBool,
}

/// A running publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    flags: Arc<Flags>,
    /// Taken when it is joined.
    thread: Option<JoinHandle<BTreeMap<String, u64>>>,
}

impl Drop for Publisher {
    /// After a test that failed, the next one may have the same ports.
    fn drop(&mut self) {
        self.flags.stop.store(true, Ordering::Relaxed);
        self.flags.given_up.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Publisher {
    /// Publishes to `STREAM.load` of each stream in turn, through the first of the client ports
    /// that answers.
    pub(crate) fn start(ports: &[u16], streams: &[&str]) -> Self {
        let flags = Arc::<Flags>::default();
        let (ports, told) = (ports.to_vec(), flags.clone());
        let streams: Vec<String> = streams.iter().map(|name| (*name).to_owned()).collect();
        let thread = thread::spawn(move || publish(&ports, &streams, &told));
        Self {
            flags,
            thread: Some(thread),
        }
    }

    /// Stops it, and fails the test unless each stream contains each message once. `nats` is a
    /// connection to the hub; the streams were empty before.
    #[track_caller]
    pub(crate) fn nothing_was_lost(mut self, nats: &mut Nats) {
        self.flags.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is joined once");
        let acknowledged = thread.join().expect("the publisher got through");
        for (stream, count) in acknowledged {
            assert!(count > 0, "nothing was published to `{stream}`");
            let mut seen = Value::Null;
            // A new leader may not have applied everything yet.
            let all = within(SOON, || {
                let info = nats.api(&format!("STREAM.INFO.{stream}"), &json!({}));
                seen = info["state"]["messages"].clone();
                (seen == json!(count)).then_some(())
            });
            assert!(all.is_some(), "`{stream}` has {seen} of {count} messages");
        }
    }
}

fn publish(ports: &[u16], streams: &[String], flags: &Flags) -> BTreeMap<String, u64> {
    let runtime = kit::runtime::current_thread().expect("a runtime");
    runtime.block_on(async {
        let mut acknowledged = BTreeMap::new();
        let mut client = None;
        for number in 0_u64.. {
            let stream = &streams[usize::try_from(number).unwrap_or(0) % streams.len()];
            let begun = Instant::now();
            while !stored(&mut client, ports, stream, number).await {
                if flags.given_up.load(Ordering::Relaxed) {
                    return acknowledged;
                }
                assert!(
                    begun.elapsed() < MESSAGE_LIMIT,
                    "`{stream}` takes no message"
                );
                tokio::time::sleep(PAUSE).await;
            }
            *acknowledged.entry(stream.clone()).or_default() += 1;
            if flags.stop.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        acknowledged
    })
}

/// Makes one attempt to publish a message.
async fn stored(client: &mut Option<Client>, ports: &[u16], stream: &str, number: u64) -> bool {
    if client.is_none() {
        for port in ports {
            *client = Client::connect(*port, None, "publisher").await.ok();
            if client.is_some() {
                break;
            }
        }
    }
    let Some(connected) = client else {
        return false;
    };
    let headers = Headers::new().with("Nats-Msg-Id", format!("message-{number}"));
    let subject = format!("{stream}.load");
    let answer = connected
        .request(&subject, &headers, b"load", ACK_LIMIT)
        .await;
    let Ok(answer) = answer else {
        *client = None;
        return false;
    };
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    answer["seq"].is_u64()
}
