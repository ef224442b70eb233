//! A small NATS client: the protocol by hand, as far as the tests need it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How long a hub may be silent before it is asked again.
const SILENCE: Duration = Duration::from_secs(8);

/// The code of JetStream's error that a stream finds too few nodes.
const NO_SUITABLE_PEERS: u64 = 10_005;

/// How long a mirror may take to contain its origin's messages: nats-server retries an origin that
/// it did not find after 10 s, then after 20, then after 30.
pub(crate) const MIRRORED: Duration = Duration::from_mins(2);

fn here(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Nats {
    stream: BufReader<TcpStream>,
    inboxes: usize,
}

impl Nats {
    /// Connects to a port of this machine, without credentials.
    #[track_caller]
    pub(crate) fn connect(port: u16) -> Self {
        Self::with_options(here(port), &json!({}))
    }

    /// Like [`Self::connect`], to any address.
    #[track_caller]
    pub(crate) fn connect_at(address: SocketAddr) -> Self {
        Self::with_options(address, &json!({}))
    }

    /// Connects as a user.
    #[track_caller]
    pub(crate) fn log_in(port: u16, user: &str, password: &str) -> Self {
        Self::with_options(here(port), &json!({"user": user, "pass": password}))
    }

    #[track_caller]
    fn with_options(address: SocketAddr, more: &Value) -> Self {
        let stream = TcpStream::connect(address).expect("NATS accepts connections");
        stream
            .set_read_timeout(Some(ANSWER_LIMIT))
            .expect("a limit can be set");
        // A request is several writes: the last one would wait 40 ms for an acknowledgement.
        let at_once = stream.set_nodelay(true);
        at_once.expect("small frames are sent at once");
        let mut nats = Self {
            stream: BufReader::new(stream),
            inboxes: 0,
        };
        assert!(nats.line().starts_with("INFO "), "NATS greets first");
        let mut options = json!({"verbose": false, "pedantic": false, "headers": true,
            "no_responders": true, "name": "e2e", "lang": "rust", "version": "0"});
        for (name, value) in more.as_object().into_iter().flatten() {
            options[name] = value.clone();
        }
        nats.send(&format!("CONNECT {options}\r\nPING\r\n"));
        assert_eq!(nats.line(), "PONG");
        nats
    }

    /// Sends a request and returns the answer's payload. Retries while there is no responder: a hub
    /// elects a leader after a stream is created.
    #[track_caller]
    pub(crate) fn request(&mut self, subject: &str, payload: &str) -> String {
        super::eventually("somebody who answers", super::SOON, || {
            self.request_once(subject, payload)
        })
    }

    fn request_once(&mut self, subject: &str, payload: &str) -> Option<String> {
        self.ask(subject, payload);
        self.receive_unless_nobody().map(|(_, payload)| payload)
    }

    /// Sends a request, whose answer is to be received.
    fn ask(&mut self, subject: &str, payload: &str) {
        self.inboxes += 1;
        let (inbox, id) = (format!("_INBOX.e2e.{}", self.inboxes), self.inboxes);
        let length = payload.len();
        self.send(&format!("SUB {inbox} {id}\r\nUNSUB {id} 1\r\n"));
        self.send(&format!("PUB {subject} {inbox} {length}\r\n{payload}\r\n"));
    }

    /// Whether anything arrives within a limit.
    fn hears(&mut self, limit: Duration) -> bool {
        let limited = self.stream.get_ref().set_read_timeout(Some(limit));
        limited.expect("a limit can be set");
        let heard = self.stream.fill_buf().is_ok();
        let restored = self.stream.get_ref().set_read_timeout(Some(ANSWER_LIMIT));
        restored.expect("a limit can be set");
        heard
    }

    /// Publishes a message that the server must refuse; returns its error.
    #[track_caller]
    pub(crate) fn refused(&mut self, subject: &str, payload: &str) -> String {
        let length = payload.len();
        self.send(&format!("PUB {subject} {length}\r\n{payload}\r\nPING\r\n"));
        let refusal = self.line();
        if refusal != "PONG" {
            assert_eq!(self.line(), "PONG");
        }
        refusal
    }

    /// Sends a request of the JetStream API, which must succeed. A hub that has just started is
    /// asked again: its leader may not yet have heard of enough nodes, as each is healthy before it
    /// has found the others, or a request is lost while they elect another one.
    #[track_caller]
    pub(crate) fn api(&mut self, name: &str, body: &Value) -> Value {
        let is_repeatable = !name.contains("DELETE");
        super::eventually("an answer of JetStream", super::SOON, || {
            self.ask(&format!("$JS.API.{name}"), &body.to_string());
            if is_repeatable && !self.hears(SILENCE) {
                return None;
            }
            let (_, answer) = self.receive_unless_nobody()?;
            let answer: Value = serde_json::from_str(&answer).expect("JetStream answers in JSON");
            if answer["error"]["err_code"] == NO_SUITABLE_PEERS {
                return None;
            }
            assert!(answer["error"].is_null(), "{name}: {answer}");
            Some(answer)
        })
    }

    /// Creates a stream of the subject `NAME.>` whose messages are on disk.
    #[track_caller]
    pub(crate) fn make_stream(&mut self, name: &str) {
        let body = json!({"name": name, "subjects": [format!("{name}.>")], "storage": "file",
            "retention": "limits", "allow_direct": true});
        self.api(&format!("STREAM.CREATE.{name}"), &body);
    }

    /// Returns the names of users' streams, without that of Core's own events.
    #[track_caller]
    pub(crate) fn stream_names(&mut self) -> Vec<String> {
        let answer = self.api("STREAM.NAMES", &json!({}));
        let names = answer["streams"].as_array().cloned().unwrap_or_default();
        let names = names.iter().filter_map(Value::as_str);
        let names = names.filter(|name| *name != engine::topology::events::STREAM);
        names.map(str::to_owned).collect()
    }

    /// Publishes into a stream and waits for the acknowledgement. Returns the sequence number.
    #[track_caller]
    pub(crate) fn publish(&mut self, subject: &str, payload: &str) -> u64 {
        let answer = self.request(subject, payload);
        let answer: Value = serde_json::from_str(&answer).expect("JetStream answers in JSON");
        answer["seq"]
            .as_u64()
            .unwrap_or_else(|| panic!("not stored: {answer}"))
    }

    /// Like [`Self::publish`], with an id by which the server recognizes a repeated message.
    #[track_caller]
    pub(crate) fn publish_once(&mut self, subject: &str, id: &str, payload: &str) -> Value {
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
        self.publish_with(subject, &headers, payload)
    }

    /// Like [`Self::publish`], with a whole block of headers.
    #[track_caller]
    pub(crate) fn publish_with(&mut self, subject: &str, headers: &str, payload: &str) -> Value {
        self.inboxes += 1;
        let (inbox, sid) = (format!("_INBOX.e2e.{}", self.inboxes), self.inboxes);
        let (head, all) = (headers.len(), headers.len() + payload.len());
        self.send(&format!(
            "SUB {inbox} {sid}\r\nUNSUB {sid} 1\r\nHPUB {subject} {inbox} {head} {all}\r\n\
             {headers}{payload}\r\n"
        ));
        let answer = self.message();
        serde_json::from_str(&answer).expect("JetStream answers in JSON")
    }

    /// Publishes `NUMBER` for each number, and waits only for the first acknowledgement, which
    /// shows that the stream exists.
    #[track_caller]
    pub(crate) fn publish_numbers(&mut self, subject: &str, mut numbers: std::ops::Range<u64>) {
        let Some(first) = numbers.next() else { return };
        self.publish(subject, &first.to_string());
        self.inboxes += 1;
        let (inbox, id) = (format!("_INBOX.e2e.{}", self.inboxes), self.inboxes);
        let count = numbers.end - numbers.start;
        self.send(&format!("SUB {inbox} {id}\r\nUNSUB {id} {count}\r\n"));
        let lines = numbers.map(|number| {
            let payload = number.to_string();
            format!("PUB {subject} {inbox} {}\r\n{payload}\r\n", payload.len())
        });
        let lines: String = lines.collect();
        self.send(&lines);
        for _ in 0..count {
            let answer = self.message();
            assert!(answer.contains("\"seq\""), "not stored: {answer}");
        }
    }

    /// Returns the payload of a stored message.
    #[track_caller]
    pub(crate) fn stored(&mut self, stream: &str, sequence: u64) -> String {
        let body = json!({"seq": sequence}).to_string();
        self.request(&format!("$JS.API.DIRECT.GET.{stream}"), &body)
    }

    /// Subscribes to a subject; the server knows the subscription when this returns.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, subject: &str) {
        self.send(&format!("SUB {subject} listener\r\nPING\r\n"));
        assert_eq!(self.line(), "PONG");
    }

    /// Sends a message that need not have a receiver.
    pub(crate) fn tell(&mut self, subject: &str, payload: &str) {
        let length = payload.len();
        self.send(&format!("PUB {subject} {length}\r\n{payload}\r\n"));
    }

    fn send(&mut self, text: &str) {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .expect("NATS can be written to");
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("NATS answers");
        line.trim_end().to_owned()
    }

    /// Fetches messages of a pull consumer and acknowledges the first of them. Returns their
    /// payloads.
    #[track_caller]
    pub(crate) fn fetch(
        &mut self,
        stream: &str,
        consumer: &str,
        count: usize,
        acks: usize,
    ) -> Vec<String> {
        self.inboxes += 1;
        let (inbox, id) = (format!("_INBOX.e2e.{}", self.inboxes), self.inboxes);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let body = json!({"batch": count}).to_string();
        self.send(&format!("SUB {inbox} {id}\r\nUNSUB {id} {count}\r\n"));
        self.send(&format!(
            "PUB {subject} {inbox} {}\r\n{body}\r\n",
            body.len()
        ));
        let received: Vec<_> = (0..count).map(|_| self.receive()).collect();
        for (reply, _) in &received[..acks] {
            let reply = reply.as_deref().expect("it is to be acknowledged");
            self.request(reply, "+ACK");
        }
        received.into_iter().map(|(_, payload)| payload).collect()
    }

    /// Returns the payload of the next message.
    #[track_caller]
    pub(crate) fn message(&mut self) -> String {
        self.receive().1
    }

    /// Returns the next message, `MSG subject sid [reply] SIZE`, or with headers `HMSG subject sid
    /// [reply] HEADERS SIZE`: the subject for an answer and the payload.
    #[track_caller]
    fn receive(&mut self) -> (Option<String>, String) {
        let received = self.receive_unless_nobody();
        received.expect("somebody is there to answer")
    }

    /// Like `receive`; returns `None` when the server reports that there is no responder.
    #[track_caller]
    fn receive_unless_nobody(&mut self) -> Option<(Option<String>, String)> {
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split(' ').collect();
            let number = |word: &str| word.parse::<usize>().expect("a size is a number");
            let (headers, size) = match words.as_slice() {
                ["MSG", .., size] => (0, number(size)),
                ["HMSG", .., headers, size] => (number(headers), number(size)),
                ["PING"] => {
                    self.send("PONG\r\n");
                    continue;
                }
                other => panic!("NATS says {other:?}"),
            };
            let mut bytes = vec![0; size + 2];
            self.stream
                .read_exact(&mut bytes)
                .expect("NATS sends the whole message");
            // A request without a responder is repeated, and both may be answered after all.
            let is_late = |id: &str| id.parse().is_ok_and(|id: usize| id < self.inboxes);
            if is_late(words[2]) {
                continue;
            }
            let head = String::from_utf8_lossy(&bytes[..headers]).into_owned();
            if head.starts_with("NATS/1.0 503") {
                return None;
            }
            assert!(
                !head.starts_with("NATS/1.0 4") && !head.starts_with("NATS/1.0 5"),
                "{head}"
            );
            let sizes = if words[0] == "MSG" { 1 } else { 2 };
            let reply = (words.len() == 4 + sizes).then(|| words[3].to_owned());
            let payload = String::from_utf8_lossy(&bytes[headers..size]).into_owned();
            return Some((reply, payload));
        }
    }
}
