//! Tests with a scripted server of a few lines.

use std::future::Future;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Longest duration of any step on a machine under load.
const SOON: Duration = Duration::from_secs(10);
/// How long a test waits for an event that must not happen.
const BRIEF: Duration = Duration::from_millis(50);
const INFO: &str =
    "INFO {\"server_name\":\"fake\",\"max_payload\":64,\"headers\":true,\"domain\":\"d\"}\r\n";

/// The server's end of a connection.
struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    async fn say(&mut self, text: &str) {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .await
            .unwrap();
    }

    /// Returns the reply subject of the next request.
    async fn request(&mut self) -> String {
        loop {
            let line = self.line().await;
            if line.starts_with("PUB ") || line.starts_with("HPUB ") {
                return line.split(' ').nth(2).unwrap().to_owned();
            }
        }
    }
}

/// Runs a scripted server that accepts the login, and a client of it.
fn check<S: Future<Output = ()>, C: Future<Output = ()>>(
    server: impl FnOnce(Peer) -> S,
    client: impl FnOnce(Client) -> C,
) {
    let runtime = kit::runtime::current_thread().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut peer = Peer {
                stream: BufReader::new(stream),
            };
            peer.say(INFO).await;
            let hello = peer.line().await;
            assert!(hello.starts_with("CONNECT {"), "{hello}");
            assert!(hello.contains("\"no_responders\":true"), "{hello}");
            assert!(peer.line().await.starts_with("SUB _INBOX."));
            assert_eq!(peer.line().await, "PING");
            peer.say("PONG\r\n").await;
            server(peer).await;
        };
        let ask = async {
            let connected = Client::connect_to(address, None, "test").await.unwrap();
            client(connected).await;
        };
        timeout(SOON, async { tokio::join!(serve, ask) })
            .await
            .unwrap();
    });
}

#[test]
fn each_request_gets_its_own_answer() {
    check(
        |mut peer| async move {
            let first = peer.request().await;
            let second = peer.request().await;
            peer.say(&format!(
                "MSG {second} 1 1\r\n2\r\nPING\r\nMSG {first} 1 1\r\n1\r\n"
            ))
            .await;
            while peer.line().await != "PONG" {}
        },
        |client| async move {
            let none = Headers::new();
            let other = client.clone();
            let (one, two) = tokio::join!(
                client.request("a", &none, b"", SOON),
                other.request("b", &none, b"", SOON)
            );
            assert_eq!(one.unwrap().payload, b"1");
            assert_eq!(two.unwrap().payload, b"2");
        },
    );
}

#[test]
fn nobody_there_and_nobody_answering_are_told_apart() {
    check(
        |mut peer| async move {
            let first = peer.request().await;
            peer.say(&format!("HMSG {first} 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"))
                .await;
            peer.request().await;
            peer.line().await;
            peer.line().await;
        },
        |client| async move {
            let none = Headers::new();
            let error = client.request("a", &none, b"", SOON).await.unwrap_err();
            assert!(matches!(error, ClientError::NoResponders { .. }), "{error}");
            let error = client.request("b", &none, b"", BRIEF).await.unwrap_err();
            assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        },
    );
}

#[test]
fn a_closed_connection_ends_every_wait_with_the_servers_words() {
    check(
        |mut peer| async move {
            peer.request().await;
            peer.say("-ERR 'Stale Connection'\r\n").await;
        },
        |client| async move {
            let mut news = client.subscribe("news", 1).await.unwrap();
            let error = client.request("a", &Headers::new(), b"", SOON).await;
            let error = error.unwrap_err().to_string();
            assert!(error.contains("Stale Connection"), "{error}");
            assert!(matches!(
                news.next(SOON).await,
                Err(ClientError::Closed { .. })
            ));
            let later = client.publish("a", None, &Headers::new(), b"").await;
            assert!(matches!(later, Err(ClientError::Closed { .. })));
        },
    );
}

#[test]
fn a_slow_reader_loses_its_subscription_and_nobody_elses() {
    check(
        |mut peer| async move {
            while !peer.line().await.starts_with("SUB news ") {}
            peer.say("MSG news 2 1\r\na\r\nMSG news 2 1\r\nb\r\nMSG news 2 1\r\nc\r\n")
                .await;
            // The answer comes after the request, before or after the end of the subscription.
            let (mut reply, mut ended) = (None, false);
            while reply.is_none() || !ended {
                let line = peer.line().await;
                ended |= line == "UNSUB 2";
                let request = line.starts_with("PUB a ").then(|| line.split(' ').nth(2));
                reply = request.flatten().map(str::to_owned).or(reply);
            }
            let reply = reply.unwrap();
            peer.say(&format!("MSG {reply} 1 2\r\nok\r\n")).await;
        },
        |client| async move {
            let mut news = client.subscribe("news", 2).await.unwrap();
            let answer = client.request("a", &Headers::new(), b"", SOON).await;
            assert_eq!(answer.unwrap().payload, b"ok");
            assert_eq!(news.next(SOON).await.unwrap().payload, b"a");
            assert_eq!(news.next(SOON).await.unwrap().payload, b"b");
            let error = news.next(SOON).await.unwrap_err();
            assert!(matches!(error, ClientError::Overrun { .. }), "{error}");
        },
    );
}

#[test]
fn a_message_that_is_too_large_is_not_sent() {
    check(
        |mut peer| async move { assert_eq!(peer.line().await, "") },
        |client| async move {
            let sent = client.publish("a", None, &Headers::new(), &[0; 65]).await;
            let expected = matches!(sent, Err(ClientError::TooLarge { size: 65, max: 64 }));
            assert!(expected, "{sent:?}");
        },
    );
}

#[test]
fn a_server_that_lets_nobody_in_is_named() {
    let runtime = kit::runtime::current_thread().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let answer = format!("{INFO}-ERR 'Authorization Violation'\r\n");
            stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert!(line.contains("hunter2"));
        };
        let login = Login {
            user: "u".to_owned(),
            password: "hunter2".to_owned(),
        };
        let connect = Client::connect_to(address, Some(&login), "test");
        let ((), error) = tokio::join!(serve, connect);
        let error = error.unwrap_err();
        assert!(matches!(error, ClientError::Denied { .. }), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        drop(listener);
        let error = Client::connect_to(address, None, "test").await.unwrap_err();
        assert!(matches!(error, ClientError::Refused { .. }), "{error}");
    });
}

#[test]
fn what_was_sent_before_the_close_arrives() {
    check(
        |mut peer| async move {
            while !peer.line().await.starts_with("PUB last ") {}
            assert_eq!(peer.line().await, "word");
            assert_eq!(peer.line().await, "PING");
            peer.say("PONG\r\n").await;
            assert_eq!(peer.line().await, "", "the end");
        },
        |client| async move {
            let clone = client.clone();
            let sent = client.publish("last", None, &Headers::new(), b"word").await;
            sent.unwrap();
            client.close().await.unwrap();
            let again = clone.publish("more", None, &Headers::new(), b"").await;
            assert!(matches!(again, Err(ClientError::Closed { .. })));
        },
    );
}
