//! The client, JetStream and the commands of the system account, against the real nats-server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use serde_json::{Value, json};
use service_nats::client::{Client, ClientError, Headers, Message};
use service_nats::jetstream::{
    self, Backup, Begin, Follow, JetStream, each_message, each_stored_message,
};
use tokio::sync::Notify;

use harness::{SOON, Server, run, until};

#[test]
fn a_publisher_and_a_subscriber_share_a_connection() {
    let server = Server::alone();
    run(async {
        let client = server.client().await;
        assert_eq!(client.info().server_name, "test");
        assert_eq!(client.info().domain.as_deref(), Some("test"));
        let mut news = client.subscribe("news.*", 2000).await.unwrap();
        client.flush(SOON).await.unwrap();
        let publisher = client.clone();
        let task = tokio::spawn(async move {
            for number in 0..1000_u32 {
                let headers = Headers::new().with("N", number.to_string());
                let sent = publisher.publish("news.a", None, &headers, b"text").await;
                sent.unwrap();
            }
        });
        for number in 0..1000_u32 {
            let message = news.next(SOON).await.unwrap();
            assert_eq!(message.headers.get("N"), Some(&*number.to_string()));
            assert_eq!(message.payload, b"text");
        }
        task.await.unwrap();
        let error = client.request("nobody", &Headers::new(), b"", SOON).await;
        let error = error.unwrap_err();
        assert!(matches!(error, ClientError::NoResponders { .. }), "{error}");
        let large = vec![0; client.info().max_payload];
        client
            .publish("large", None, &Headers::new(), &large)
            .await
            .unwrap();
        client.close().await.unwrap();
    });
}

#[test]
fn a_wrong_password_is_told_apart() {
    let server = Server::alone();
    run(async {
        let mut login = Server::login("app");
        login.password = "wrong".to_owned();
        let error = Client::connect(server.port, Some(&login), "test").await;
        let error = error.unwrap_err();
        assert!(matches!(error, ClientError::Denied { .. }), "{error}");
    });
}

#[test]
fn a_server_that_dies_ends_what_waits() {
    let mut server = Server::alone();
    run(async {
        let client = server.client().await;
        let mut news = client.subscribe("news", 1).await.unwrap();
        server.kill();
        let error = news.next(SOON).await.unwrap_err();
        assert!(!matches!(error, ClientError::Timeout { .. }), "{error}");
        assert!(
            client
                .publish("a", None, &Headers::new(), b"")
                .await
                .is_err()
        );
    });
}

#[test]
fn streams_and_consumers() {
    let server = Server::alone();
    run(async {
        let js = server.jetstream().await;
        assert_eq!(js.stream("A").await.unwrap(), None);
        let config = json!({"name": "A", "subjects": ["a.>"], "metadata": {"x": "y"}});
        let made = js.create_stream(&config).await.unwrap();
        assert_eq!(
            (made.name(), made.subjects()),
            ("A", vec!["a.>".to_owned()])
        );
        let body = json!({"name": "C", "durable_name": "C", "ack_policy": "explicit"});
        js.put_consumer("A", &body).await.unwrap();
        assert_eq!(js.consumers("A").await.unwrap().len(), 1);
        assert!(js.consumer("A", "C").await.unwrap().is_some());
        assert_eq!(js.consumer("A", "D").await.unwrap(), None);
        harness::store(&js, "a.b", 3).await;
        assert_eq!(js.message_count("A").await.unwrap(), 3);
        let mut changed = made.config;
        changed["subjects"] = json!(["b.>"]);
        let changed = js.update_stream(&changed).await.unwrap();
        assert_eq!(changed.subjects(), ["b.>"]);
        assert_eq!(changed.config["metadata"]["x"], "y");
        let refused = js
            .create_stream(&json!({"name": "B", "subjects": ["b.c"]}))
            .await;
        assert!(refused.unwrap_err().is_code(10065), "overlaps");
        for number in 0..300 {
            let name = format!("S{number:03}");
            let config = json!({"name": name, "subjects": [name], "storage": "memory"});
            js.create_stream(&config).await.unwrap();
        }
        assert_eq!(js.stream_names().await.unwrap().len(), 301);
        let streams = js.streams().await.unwrap();
        assert_eq!((streams.len(), streams[300].name()), (301, "S299"));
        assert!(js.delete_stream("A").await.unwrap());
        assert!(!js.delete_stream("A").await.unwrap());
        let own = JetStream::in_domain(server.client().await, "test");
        assert_eq!(own.stream_names().await.unwrap().len(), 300);
    });
}

/// A message as it was read: number, subject, time, its own headers and payload.
type Read = (u64, String, String, Vec<(String, String)>, Vec<u8>);

/// Reads the messages of a stream of `retention`, and checks their number.
async fn read(js: &JetStream, name: &str, retention: &str) -> Vec<Read> {
    let info = js.stream(name).await.unwrap().unwrap();
    let mut config = info.config;
    config["retention"] = json!(retention);
    let mut all = Vec::new();
    let keep = |number, message: &Message| all.push(as_read(number, message));
    let (first, last) = (info.state.first_seq, info.state.last_seq);
    let count = each_stored_message(js, &config, first, last, keep).await;
    assert_eq!(count.unwrap(), info.state.messages, "{name}");
    assert_eq!(all.len() as u64, info.state.messages, "{name}");
    all
}

fn as_read(number: u64, message: &Message) -> Read {
    let last = |name| message.headers.last(name).unwrap().to_owned();
    let headers = message.headers.iter();
    let own = headers.filter(|(name, _)| !name.starts_with("Nats-"));
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (subject, time) = (last("Nats-Subject"), last("Nats-Time-Stamp"));
    (
        number,
        subject,
        time,
        own.collect(),
        message.payload.clone(),
    )
}

/// Makes a stream `A` with more messages than a batch has, headers, gaps inside and at both ends.
async fn with_gaps(js: &JetStream, more: Value) {
    let mut config = json!({"name": "A", "subjects": ["a.>"], "allow_direct": true});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    js.create_stream(&config).await.unwrap();
    if config["retention"] == "interest" {
        let body = json!({"durable_name": "C", "ack_policy": "explicit"});
        js.put_consumer("A", &body).await.unwrap();
    }
    for number in 0..1500_u32 {
        let headers = match number % 3 {
            0 => Headers::new(),
            1 => Headers::new()
                .with("N", "1")
                .with("N", "")
                .with("n", "a: b"),
            _ => Headers::new().with("Nats-Msg-Id", number.to_string()),
        };
        let payload = vec![b'x'; number as usize % 7];
        let subject = format!("a.{}", number % 10);
        let sent = js.client().publish(&subject, None, &headers, &payload);
        sent.await.unwrap();
    }
    until("the messages", || async {
        (js.message_count("A").await.unwrap() == 1500).then_some(())
    })
    .await;
    for number in [1, 2, 5, 512, 513, 700, 1499, 1500] {
        let body = json!({"seq": number});
        js.call("STREAM.MSG.DELETE.A", &body).await.unwrap();
    }
}

#[test]
fn all_ways_to_read_a_stream_agree_and_leave_no_consumer() {
    let server = Server::alone();
    run(async {
        let js = server.jetstream().await;
        for (more, consumers) in [
            (json!({}), 0),
            (json!({"allow_direct": false}), 0),
            (json!({"retention": "interest"}), 1),
            (json!({"retention": "workqueue"}), 0),
            // Another consumer is refused.
            (json!({"max_consumers": 1}), 1),
        ] {
            with_gaps(&js, more.clone()).await;
            if consumers == 1 {
                let body = json!({"durable_name": "C", "ack_policy": "explicit"});
                js.put_consumer("A", &body).await.unwrap();
            }
            let before = js.stream("A").await.unwrap().unwrap();
            let retention = before.config["retention"].as_str().unwrap().to_owned();
            let all = read(&js, "A", &retention).await;
            assert_eq!(all.len(), 1492, "{more}");
            // By requests alone.
            assert!(read(&js, "A", "workqueue").await == all, "{more}");
            if before.config["allow_direct"] == true {
                let mut direct = Vec::new();
                let keep = |number, message: &Message| direct.push(as_read(number, message));
                each_message(&js, "A", 1, 1500, keep).await.unwrap();
                assert!(direct == all, "{more}");
            }
            let mut middle = Vec::new();
            let keep = |number, _: &Message| middle.push(number);
            let count = each_stored_message(&js, &before.config, 3, 6, keep).await;
            assert_eq!((count.unwrap(), middle), (3, vec![3, 4, 6]), "{more}");
            let after = js.stream("A").await.unwrap().unwrap();
            assert_eq!(after.state, before.state, "{more}");
            assert_eq!(js.consumers("A").await.unwrap().len(), consumers, "{more}");
            js.delete_stream("A").await.unwrap();
        }
    });
}

#[test]
fn a_stream_is_read_whole_when_its_reader_loses_the_consumer() {
    let server = Server::alone();
    run(async {
        let js = server.jetstream().await;
        with_gaps(&js, json!({})).await;
        let all = read(&js, "A", "limits").await;
        let config = js.stream("A").await.unwrap().unwrap().config;
        let (mut again, mut deleted) = (Vec::new(), None);
        let keep = |number, message: &Message| {
            again.push(as_read(number, message));
            let js = js.clone();
            deleted.get_or_insert_with(|| {
                tokio::spawn(async move {
                    for consumer in js.consumers("A").await.unwrap() {
                        let name = consumer["name"].as_str().unwrap();
                        let call = format!("CONSUMER.DELETE.A.{name}");
                        js.call(&call, &json!({})).await.unwrap();
                    }
                })
            });
        };
        each_stored_message(&js, &config, 1, 1500, keep)
            .await
            .unwrap();
        deleted.unwrap().await.unwrap();
        assert!(again == all);
    });
}

#[test]
fn a_reader_that_was_interrupted_leaves_no_consumer() {
    let server = Server::alone();
    run(async {
        let js = server.jetstream().await;
        with_gaps(&js, json!({})).await;
        let config = js.stream("A").await.unwrap().unwrap().config;
        let begun = Notify::new();
        let keep = |_, _: &Message| begun.notify_one();
        tokio::select! {
            biased;
            () = begun.notified() => {}
            _ = each_stored_message(&js, &config, 1, 1500, keep) => panic!("not interrupted"),
        }
        assert_eq!(js.consumers("A").await.unwrap().len(), 1);
        until("the end of the consumer", || async {
            js.consumers("A").await.unwrap().is_empty().then_some(())
        })
        .await;
    });
}

#[test]
fn a_stream_comes_back_from_a_file_with_its_consumers() {
    let (server, other) = (Server::alone(), Server::alone());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    run(async {
        let js = server.jetstream().await;
        let config = json!({"name": "A", "subjects": ["a"], "allow_direct": true});
        js.create_stream(&config).await.unwrap();
        let body = json!({"name": "C", "durable_name": "C", "ack_policy": "explicit"});
        js.put_consumer("A", &body).await.unwrap();
        // More than one window of chunks, with bytes that cannot be compressed.
        harness::store_random(&js, "a", 80, 100_000).await;
        harness::take(&js, "A", "C", 5, 2).await;
        js.call("STREAM.MSG.DELETE.A", &json!({"seq": 40}))
            .await
            .unwrap();

        let backup = Backup::begin(&js, "A").await.unwrap();
        assert_eq!(backup.state.messages, 79);
        let (config, state) = (backup.config.clone(), backup.raw_state.clone());
        let mut file = tokio::fs::File::create(&path).await.unwrap();
        let size = backup.write_to(&mut file).await.unwrap();
        assert_eq!(size, tokio::fs::metadata(&path).await.unwrap().len());
        assert!(size > 5_000_000, "{size}");

        let target = other.jetstream().await;
        let mut file = tokio::fs::File::open(&path).await.unwrap();
        let info = jetstream::restore(&target, &config, &state, &mut file)
            .await
            .unwrap();
        assert_eq!((info.state.messages, info.state.last_seq), (79, 80));
        let mut contents = Vec::new();
        for js in [&js, &target] {
            let mut seen = Vec::new();
            let keep = |number, message: &service_nats::client::Message| {
                seen.push((number, message.payload.clone()));
            };
            let count = each_message(js, "A", 1, 80, keep).await.unwrap();
            assert_eq!(count, 79);
            contents.push(seen);
            let consumer = js.consumer("A", "C").await.unwrap().unwrap();
            assert_eq!(consumer["num_ack_pending"], 3);
            assert_eq!(consumer["ack_floor"]["stream_seq"], 2);
        }
        assert!(contents[0] == contents[1]);
        let mut file = tokio::fs::File::open(&path).await.unwrap();
        let again = jetstream::restore(&target, &config, &state, &mut file).await;
        assert!(again.is_err(), "the name is taken");
    });
}

#[test]
fn a_damaged_backup_leaves_nothing() {
    let server = Server::alone();
    run(async {
        let js = server.jetstream().await;
        js.create_stream(&json!({"name": "A", "subjects": ["a"]}))
            .await
            .unwrap();
        harness::store_random(&js, "a", 20, 100_000).await;
        let mut bytes = Vec::new();
        let backup = Backup::begin(&js, "A").await.unwrap();
        let (config, state) = (backup.config.clone(), backup.raw_state.clone());
        backup.write_to(&mut bytes).await.unwrap();
        js.delete_stream("A").await.unwrap();
        let half = bytes.len() / 2;
        let restored = jetstream::restore(&js, &config, &state, &mut &bytes[..half]).await;
        assert!(restored.is_err());
        js.delete_restored("A").await.unwrap();
        assert_eq!(js.stream("A").await.unwrap(), None);
        let whole = jetstream::restore(&js, &config, &state, &mut &bytes[..])
            .await
            .unwrap();
        assert_eq!(whole.state.messages, 20);
    });
}

#[test]
fn the_cluster_takes_orders_of_its_system_account() {
    let hub = Server::hub();
    run(async {
        let cluster = hub[0].cluster().await;
        let leader = until("a leader", || async { hub[0].meta_leader().await }).await;
        let target = if leader == "test-2" {
            "test-3"
        } else {
            "test-2"
        };
        cluster.step_down_meta(Some(target)).await.unwrap();
        until("another leader", || async {
            let leader = hub[0].meta_leader().await;
            leader.filter(|leader| leader == target)
        })
        .await;
        let js = hub[0].jetstream().await;
        let config = json!({"name": "A", "subjects": ["a"], "num_replicas": 3});
        js.create_stream(&config).await.unwrap();
        harness::store(&js, "a", 10).await;
        let unknown = cluster.evacuate("nobody").await.unwrap_err();
        assert!(unknown.to_string().contains("SERVER.EVACUATE"), "{unknown}");
        let mut config = js.stream("A").await.unwrap().unwrap().config;
        config["num_replicas"] = json!(1);
        js.update_stream(&config).await.unwrap();
        // If it were removed before it is empty, the only copy of a stream would be lost.
        let (leaves, node) = if target == "test-2" {
            ("test-3", &hub[2])
        } else {
            ("test-2", &hub[1])
        };
        cluster.evacuate(leaves).await.unwrap();
        until("an empty server", || async {
            (node.streams().await == Some(0)).then_some(())
        })
        .await;
        cluster.remove(leaves).await.unwrap();
        until("two members", || async {
            (hub[0].members().await == 2).then_some(())
        })
        .await;
        assert_eq!(js.message_count("A").await.unwrap(), 10);
    });
}

#[test]
fn what_is_stored_once_is_found_and_followed() {
    let server = Server::alone();
    run(async {
        let js = server.jetstream().await;
        let error = js.publish("log.a.x", "1", b"0").await.unwrap_err();
        assert!(error.to_string().contains("`log.a.x`"), "{error}");
        let config = json!({"name": "LOG", "subjects": ["log.>"], "allow_direct": true});
        js.create_stream(&config).await.unwrap();
        assert!(js.last_message("LOG", "log.a.*").await.unwrap().is_none());
        assert!(js.publish("log.a.x", "1", b"0").await.unwrap());
        assert!(
            !js.publish("log.a.x", "1", b"0").await.unwrap(),
            "it is there"
        );
        assert!(js.publish("log.b.y", "2", b"1").await.unwrap());
        assert!(js.publish("log.a.y", "3", b"2").await.unwrap());
        let last = js.last_message("LOG", "log.a.*").await.unwrap().unwrap();
        assert_eq!(last.payload, b"2");

        let begin = Begin::Time("2020-01-01T00:00:00Z".to_owned());
        let mut all = Follow::begin(&js, "LOG", None, &begin).await.unwrap();
        let from = Begin::Sequence(2);
        let mut some = Follow::begin(&js, "LOG", Some("log.a.>"), &from)
            .await
            .unwrap();
        for number in 1..=3_u64 {
            assert_eq!(all.next().await.unwrap().0, number);
        }
        assert_eq!(some.next().await.unwrap().0, 3);
        assert!(js.publish("log.a.z", "4", b"3").await.unwrap());
        for follow in [&mut all, &mut some] {
            let (number, message) = follow.next().await.unwrap();
            assert_eq!((number, &*message.subject), (4, "log.a.z"));
        }
        server.jetstream().await.delete_stream("LOG").await.unwrap();
        let error = Follow::begin(&js, "LOG", None, &from).await.unwrap_err();
        assert!(error.is_code(10059), "{error}");
    });
}
