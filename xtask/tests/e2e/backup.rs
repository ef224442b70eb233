//! Backup and restore: into another instance, over existing data, killed in the middle.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::http::{self, Answer};
use crate::harness::nats::{MIRRORED, Nats};
use crate::harness::{SOON, Sandbox, eventually, same};
use crate::topology::{HUB_AND_REGION, port, sandbox as with_topology};

/// Number of messages in a stream.
const MESSAGES: u64 = 200;
/// The journal of a running restore.
pub(crate) const JOURNAL: &str = ".data/restore.json";
/// The content of the uploaded file.
const ATTACHED: &str = "the text of a file";

/// Returns a token of the generated superuser.
#[track_caller]
fn token(sandbox: &Sandbox) -> String {
    let made_up = sandbox.read(".data/pocketbase/superuser.json");
    let made_up: Value = serde_json::from_str(&made_up).unwrap();
    let body = json!({"identity": made_up["email"], "password": made_up["password"]});
    let path = "/api/collections/_superusers/auth-with-password";
    let answer = http::post(database(sandbox), path, None, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[track_caller]
fn database(sandbox: &Sandbox) -> u16 {
    sandbox.port("pocketbase.http")
}

#[track_caller]
fn get(sandbox: &Sandbox, path: &str) -> Answer {
    let token = token(sandbox);
    let headers = [("Authorization", &*token)];
    http::request(database(sandbox), "GET", path, &headers, "").unwrap()
}

/// Creates a collection of notes, each with a file.
#[track_caller]
fn make_notes(sandbox: &Sandbox) {
    let fields = json!([{"name": "title", "type": "text"}, {"name": "file", "type": "file"}]);
    let collection = json!({"name": "notes", "type": "base", "fields": fields});
    let token = token(sandbox);
    let made = http::post(
        database(sandbox),
        "/api/collections",
        Some(&token),
        &collection,
    );
    assert_eq!(made.status, 200, "{made:?}");
}

#[track_caller]
pub(crate) fn write_note(sandbox: &Sandbox, title: &str) {
    let token = token(sandbox);
    let headers = [
        ("Authorization", &*token),
        ("Content-Type", "multipart/form-data; boundary=BOUND"),
    ];
    let part = "--BOUND\r\nContent-Disposition: form-data; name=";
    let body = format!(
        "{part}\"title\"\r\n\r\n{title}\r\n{part}\"file\"; filename=\"a.txt\"\r\n\
         Content-Type: text/plain\r\n\r\n{ATTACHED}\r\n--BOUND--\r\n"
    );
    let path = "/api/collections/notes/records";
    let made = http::request(database(sandbox), "POST", path, &headers, &body).unwrap();
    assert_eq!(made.status, 200, "{made:?}");
}

/// Returns all notes, in order, complete.
#[track_caller]
pub(crate) fn notes(sandbox: &Sandbox) -> Value {
    let path = "/api/collections/notes/records?sort=title&perPage=500&skipTotal=1";
    get(sandbox, path).json()["items"].take()
}

/// Creates streams of each kind, with consumers at different positions.
#[track_caller]
fn make_streams(nats: &mut Nats) {
    let orders = json!({"name": "ORDERS", "subjects": ["ORDERS.>"],
        "max_age": 86_400_000_000_000_u64, "duplicate_window": 3_600_000_000_000_u64});
    nats.api("STREAM.CREATE.ORDERS", &orders);
    same(
        "first",
        &nats.publish_once("ORDERS.new", "id-1", "0")["seq"],
        &json!(1),
    );
    nats.publish_numbers("ORDERS.new", 1..MESSAGES);
    let config = json!({"durable_name": "SHIPPING", "ack_policy": "explicit",
        "filter_subject": "ORDERS.new", "ack_wait": 3_600_000_000_000_u64});
    let body = json!({"stream_name": "ORDERS", "config": config});
    nats.api("CONSUMER.CREATE.ORDERS.SHIPPING", &body);
    same("shipped", nats.fetch("ORDERS", "SHIPPING", 7, 4).len(), 7);
    nats.make_stream("DIRECT");
    nats.publish_numbers("DIRECT.a", 0..MESSAGES);
    nats.api("STREAM.MSG.DELETE.DIRECT", &json!({"seq": 5}));
    let jobs = json!({"name": "JOBS", "subjects": ["JOBS"], "retention": "workqueue"});
    nats.api("STREAM.CREATE.JOBS", &jobs);
    nats.publish_numbers("JOBS", 0..10);
    nats.make_stream("EMPTY");
}

/// Returns all properties of the streams that a restore must preserve.
#[track_caller]
fn streams(nats: &mut Nats) -> Value {
    let mut all = json!({});
    for name in ["DIRECT", "EMPTY", "JOBS", "ORDERS"] {
        let mut info = nats.api(&format!("STREAM.INFO.{name}"), &json!({}));
        let mut messages = Vec::new();
        let last = info["state"]["last_seq"].as_u64().unwrap();
        for sequence in (1..=last).filter(|sequence| *sequence != 5) {
            let body = json!({"seq": sequence});
            messages.push(nats.api(&format!("STREAM.MSG.GET.{name}"), &body)["message"].take());
        }
        all[name] = json!({"config": info["config"].take(), "messages": messages,
            "count": info["state"]["messages"], "last": last});
    }
    let consumer = nats.api("CONSUMER.INFO.ORDERS.SHIPPING", &json!({}));
    all["consumer"] = json!([
        consumer["config"],
        consumer["ack_floor"]["stream_seq"],
        consumer["delivered"]["stream_seq"],
        consumer["num_ack_pending"],
        consumer["num_pending"],
    ]);
    all
}

#[track_caller]
fn connect(sandbox: &Sandbox) -> Nats {
    Nats::connect(sandbox.port("nats.client"))
}

#[track_caller]
fn stream_names(sandbox: &Sandbox) -> Vec<String> {
    connect(sandbox).stream_names()
}

/// Returns a stack with data, and an archive of it.
#[track_caller]
pub(crate) fn filled() -> (Sandbox, String) {
    let sandbox = Sandbox::core();
    sandbox.up();
    make_notes(&sandbox);
    write_note(&sandbox, "first");
    make_streams(&mut connect(&sandbox));
    let file = sandbox.path("a.tar").display().to_string();
    sandbox.run(&format!("backup {file}")).succeeds();
    (sandbox, file)
}

#[track_caller]
fn list(sandbox: &Sandbox, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(sandbox.path(directory)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_restored_into_another_instance() {
    let first = Sandbox::core();
    let refused = first.run("backup").ends(3);
    assert!(
        refused.stderr.contains("hint: cargo xtask up"),
        "{}",
        refused.stderr
    );
    first.up();
    make_notes(&first);
    for title in ["first", "second"] {
        write_note(&first, title);
    }
    let mut nats = connect(&first);
    make_streams(&mut nats);
    let memory = json!({"name": "CACHE", "subjects": ["CACHE"], "storage": "memory"});
    nats.api("STREAM.CREATE.CACHE", &memory);
    let told = first.run("backup --json").succeeds();
    assert!(
        told.stderr.contains("`CACHE` is not in the backup"),
        "{}",
        told.stderr
    );
    let report = told.json();
    let file = report["file"].as_str().unwrap();
    let mode = fs::metadata(file).unwrap().permissions().mode();
    same("mode", mode & 0o777, 0o600);
    for stream in report["streams"].as_array().unwrap() {
        assert!(stream["content"].is_string(), "{stream}");
    }
    let refused = first.run(&format!("backup {file}")).ends(10);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    first.run(&format!("backup {file} --force")).succeeds();
    same(
        "backups of PocketBase's own",
        list(&first, ".data/pocketbase/pb_data/backups"),
        Vec::new(),
    );
    assert!(!first.path(".core-stack/backup").exists());
    let (notes_before, streams_before) = (notes(&first), streams(&mut nats));
    first.down();

    let second = Sandbox::core();
    second.run(&format!("restore {file}")).ends(3);
    second.up();
    let caddy = second.pid("caddy");
    let report = second
        .run(&format!("restore {file} --json"))
        .succeeds()
        .json();
    same("notes", notes(&second), notes_before.clone());
    let note = &notes_before[1];
    let path = format!(
        "/api/files/notes/{}/{}",
        note["id"].as_str().unwrap(),
        note["file"].as_str().unwrap()
    );
    same("file", get(&second, &path).body.as_str(), ATTACHED);
    let mut nats = connect(&second);
    same("streams", streams(&mut nats), streams_before);
    let again = nats.publish_once("ORDERS.new", "id-1", "0");
    same("duplicate", &again["duplicate"], &json!(true));
    same("next", nats.publish("ORDERS.new", "x"), MESSAGES + 1);
    same(
        "pending acks are not given again",
        nats.fetch("ORDERS", "SHIPPING", 1, 0),
        vec!["7".to_owned()],
    );
    same("caddy", second.pid("caddy"), caddy);
    assert!(second.path(report["replaced"].as_str().unwrap()).is_dir());
    assert!(!second.path(JOURNAL).exists());
    assert!(!second.path(".data/pocketbase/staged").exists());
    second.wait_healthy();
    same(
        "changes nothing",
        &second.up()["outcome"],
        &json!("unchanged"),
    );
}

/// Creates a stream of each retention, with and without direct access, and one that is sealed; each
/// with headers and with gaps inside and at the end. Returns their names.
#[track_caller]
fn make_every_kind(nats: &mut Nats) -> Vec<String> {
    let mut names = Vec::new();
    for retention in ["limits", "interest", "workqueue"] {
        for direct in [false, true] {
            let name = format!("{retention}-{direct}");
            let config = json!({"name": name, "subjects": [format!("{name}.>")],
                "retention": retention, "allow_direct": direct});
            nats.api(&format!("STREAM.CREATE.{name}"), &config);
            let config = json!({"durable_name": "C", "ack_policy": "explicit"});
            let body = json!({"stream_name": name, "config": config});
            nats.api(&format!("CONSUMER.CREATE.{name}.C"), &body);
            nats.publish_numbers(&format!("{name}.a"), 0..600);
            // The last one has a status, as a server sends it in place of a message.
            for block in [
                "NATS/1.0\r\nA: 1\r\nA: 2\r\nB:\r\n\r\n",
                "NATS/1.0\r\nNats-Sequence: 7\r\nNats-Subject: x\r\n\r\n",
                "NATS/1.0 404 No Messages\r\n\r\n",
            ] {
                nats.publish_with(&format!("{name}.b"), block, "x");
            }
            let last = nats.publish(&format!("{name}.b"), "");
            for number in [1, 5, 513, last] {
                let body = json!({"seq": number});
                nats.api(&format!("STREAM.MSG.DELETE.{name}"), &body);
            }
            names.push(name);
        }
    }
    let mut config = json!({"name": "sealed", "subjects": ["sealed"]});
    nats.api("STREAM.CREATE.sealed", &config);
    nats.publish_numbers("sealed", 0..10);
    config["sealed"] = json!(true);
    nats.api("STREAM.UPDATE.sealed", &config);
    names.push("sealed".to_owned());
    names
}

/// Returns what a stream is, with all of its messages and the names of its consumers.
#[track_caller]
fn whole(nats: &mut Nats, name: &str) -> Value {
    let mut info = nats.api(&format!("STREAM.INFO.{name}"), &json!({}));
    let (state, mut messages) = (info["state"].take(), Vec::new());
    let mut next = 1;
    while messages.len() as u64 != state["messages"].as_u64().unwrap() {
        let body = json!({"seq": next, "next_by_subj": ">"});
        let message = nats.api(&format!("STREAM.MSG.GET.{name}"), &body)["message"].take();
        next = message["seq"].as_u64().unwrap() + 1;
        messages.push(message);
    }
    let mut consumers = nats.api(&format!("CONSUMER.NAMES.{name}"), &json!({}));
    json!({"config": info["config"].take(), "messages": messages,
        "consumers": consumers["consumers"].take(),
        "first": state["first_seq"], "last": state["last_seq"]})
}

#[test]
fn streams_of_every_kind_come_back_whole_and_keep_their_consumers() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let mut nats = connect(&sandbox);
    let names = make_every_kind(&mut nats);
    let all = |nats: &mut Nats| -> Vec<Value> {
        let all = names.iter().map(|name| whole(nats, name));
        all.collect()
    };
    let before = all(&mut nats);
    let file = sandbox.path("a.tar").display().to_string();
    let backup = sandbox.run(&format!("backup {file} --json"));
    let report = backup.succeeds().json();
    for stream in report["streams"].as_array().unwrap() {
        assert!(stream["content"].is_string(), "{stream}");
    }
    assert!(all(&mut nats) == before, "a backup changes nothing");
    sandbox.run(&format!("restore {file} --replace")).succeeds();
    for (name, before) in names.iter().zip(&before) {
        same(name, &whole(&mut connect(&sandbox), name), before);
    }
}

#[test]
fn what_is_there_is_replaced_only_when_asked_for_and_kept() {
    let (sandbox, file) = filled();
    let mut nats = connect(&sandbox);
    let (notes_before, streams_before) = (notes(&sandbox), streams(&mut nats));
    write_note(&sandbox, "later");
    nats.publish("DIRECT.later", "x");
    nats.make_stream("LATER");
    let (notes_now, pid) = (notes(&sandbox), sandbox.pid("nats"));
    let refused = sandbox.run(&format!("restore {file}")).ends(10);
    let message = "the stack holds data: the streams `DIRECT`, `EMPTY`, `JOBS`, `LATER`, `ORDERS` \
        and the collections `notes`\n";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);

    let whole = fs::read(&file).unwrap();
    let cut = &whole[..whole.len() - 512];
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (name, bytes) in [
        ("cut.tar", cut),
        ("flipped.tar", &flipped),
        ("empty.tar", &[]),
    ] {
        let bad = sandbox.path(name);
        fs::write(&bad, bytes).unwrap();
        let refused = sandbox
            .run(&format!("restore {} --replace", bad.display()))
            .ends(10);
        assert!(
            refused.stderr.contains("is no whole backup"),
            "{}",
            refused.stderr
        );
    }
    same("notes", notes(&sandbox), notes_now.clone());
    same("nats", sandbox.pid("nats"), pid);
    same("later", nats.publish("DIRECT.later", "x"), MESSAGES + 2);
    assert!(!sandbox.path(".data/pocketbase/staged").exists());

    let report = sandbox
        .run(&format!("restore {file} --replace --json"))
        .succeeds()
        .json();
    same("notes", notes(&sandbox), notes_before);
    same("streams", streams(&mut connect(&sandbox)), streams_before);
    same(
        "names",
        stream_names(&sandbox),
        ["DIRECT", "EMPTY", "JOBS", "ORDERS"]
            .map(str::to_owned)
            .to_vec(),
    );
    let kept = report["replaced"].as_str().unwrap();
    for path in [
        "nats/jetstream/APP/streams/LATER",
        "pocketbase/pb_data/data.db",
    ] {
        assert!(sandbox.path(&format!("{kept}/{path}")).exists(), "{path}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_store_on_a_disk_of_its_own_is_restored() {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    let sandbox = Sandbox::core();
    let device = |path: &std::path::Path| path.metadata().unwrap().dev();
    let memory = std::path::Path::new("/dev/shm");
    if !memory.is_dir() || device(memory) == device(sandbox.root()) {
        // This machine has only one file system.
        return;
    }
    let disk = tempfile::tempdir_in(memory).unwrap();
    fs::create_dir(sandbox.path(".data")).unwrap();
    for service in ["nats", "pocketbase"] {
        fs::create_dir(disk.path().join(service)).unwrap();
        symlink(
            disk.path().join(service),
            sandbox.path(&format!(".data/{service}")),
        )
        .unwrap();
    }
    sandbox.up();
    make_notes(&sandbox);
    write_note(&sandbox, "first");
    make_streams(&mut connect(&sandbox));
    let file = sandbox.path("a.tar").display().to_string();
    let told = sandbox.run(&format!("backup {file}")).succeeds().stderr;
    assert!(!told.contains("warning"), "{told}");
    let (notes_before, streams_before) = (notes(&sandbox), streams(&mut connect(&sandbox)));
    write_note(&sandbox, "second");
    let line = format!("restore {file} --replace --json");
    let mut kept = Vec::new();
    for _ in 0..2 {
        let report = sandbox.run(&line).succeeds().json();
        same("notes", notes(&sandbox), notes_before.clone());
        let now = streams(&mut connect(&sandbox));
        same("streams", now, streams_before.clone());
        kept.push(std::path::PathBuf::from(
            report["replaced"].as_str().unwrap(),
        ));
    }
    for kept in kept {
        for store in ["nats/jetstream", "pocketbase/pb_data"] {
            let store = kept.join(store);
            same("its disk", device(&store), device(disk.path()));
        }
    }
    sandbox.down();
}

#[test]
fn a_restore_that_is_killed_is_taken_back() {
    let (sandbox, file) = filled();
    connect(&sandbox).make_stream("LATER");
    write_note(&sandbox, "later");
    let notes_before = notes(&sandbox);
    let streams_before = streams(&mut connect(&sandbox));
    let is_as_before = || {
        same("notes", notes(&sandbox), notes_before.clone());
        let mut nats = connect(&sandbox);
        same("streams", streams(&mut nats), streams_before.clone());
        let names = ["DIRECT", "EMPTY", "JOBS", "LATER", "ORDERS"].map(str::to_owned);
        same("names", stream_names(&sandbox), names.to_vec());
        assert!(!sandbox.path(JOURNAL).exists());
        assert!(
            list(&sandbox, ".data")
                .iter()
                .all(|name| !name.starts_with("replaced-"))
        );
    };
    let exchanged = || {
        let names = list(&sandbox, ".data");
        let kept = names.iter().find(|name| name.starts_with("replaced-"))?;
        let database = sandbox.path(&format!(".data/{kept}/pocketbase/pb_data"));
        database.exists().then_some(())
    };
    let line = format!("restore {file} --replace");

    // Asked to stop, it rolls back by itself.
    let restore = sandbox.start(&line);
    eventually("the exchange", SOON, exchanged);
    restore.signal(Signal::INT);
    let end = restore.wait();
    same("exit code", end.code, 128 + 2);
    assert!(
        end.stderr.contains("all data is where it was"),
        "{}",
        end.stderr
    );
    sandbox.wait_healthy();
    is_as_before();

    // If it is killed, the next command rolls back, whatever runs by then.
    let restore = sandbox.start(&line);
    eventually("the exchange", SOON, exchanged);
    restore.signal(Signal::KILL);
    restore.wait().killed();
    assert!(sandbox.path(JOURNAL).exists());
    sandbox.run("up").succeeds();
    is_as_before();

    let restore = sandbox.start(&line);
    eventually("the exchange", SOON, exchanged);
    restore.signal(Signal::KILL);
    restore.wait().killed();
    sandbox.down();
    sandbox.up();
    is_as_before();

    sandbox.run(&line).succeeds();
    same("notes", notes(&sandbox).as_array().unwrap().len(), 1);
}

#[test]
fn what_was_acknowledged_before_a_backup_is_in_it() {
    let sandbox = Sandbox::core();
    sandbox.up();
    make_notes(&sandbox);
    let mut nats = connect(&sandbox);
    nats.make_stream("BUSY");
    let (acked, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let file = sandbox.path("a.tar").display().to_string();
    let before = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                acked.store(nats.publish("BUSY.a", "x"), Ordering::Relaxed);
            }
        });
        eventually("a publisher", SOON, || {
            (acked.load(Ordering::Relaxed) > 100).then_some(())
        });
        let before = acked.load(Ordering::Relaxed);
        let report = sandbox.run(&format!("backup {file} --json")).succeeds();
        let after = acked.load(Ordering::Relaxed);
        ended.store(true, Ordering::Relaxed);
        let stream = &report.json()["streams"][0];
        assert!(stream["content"].is_string(), "{stream}");
        let saved = stream["messages"].as_u64().unwrap();
        assert!(
            (before..=after + 1).contains(&saved),
            "{before} {saved} {after}"
        );
        assert!(after > before, "it published on meanwhile");
        before
    });
    sandbox.run(&format!("restore {file} --replace")).succeeds();
    let mut nats = connect(&sandbox);
    let count = nats.api("STREAM.INFO.BUSY", &json!({}))["state"]["messages"].as_u64();
    assert!(count.unwrap() >= before, "{count:?} {before}");
}

#[test]
fn a_hub_and_a_region_are_restored() {
    let sandbox = with_topology(HUB_AND_REGION);
    sandbox.up();
    let mut hub = Nats::connect(port(&sandbox, "nats-hub-1", "client"));
    let stream = json!({"name": "ORDERS", "subjects": ["ORDERS.>"], "num_replicas": 3});
    hub.api("STREAM.CREATE.ORDERS", &stream);
    hub.publish_numbers("ORDERS.a", 0..MESSAGES);
    let mut leaf = Nats::connect(port(&sandbox, "nats-leaf-lhr", "client"));
    leaf.make_stream("LOCAL");
    leaf.publish_numbers("LOCAL.a", 0..10);
    let mirror = json!({"name": "LOCAL", "mirror":
        {"name": "LOCAL", "external": {"api": "$JS.lhr.API"}}});
    hub.api("STREAM.CREATE.LOCAL", &mirror);
    let copied = |port: u16, wanted: u64| {
        eventually("the mirror", MIRRORED, || {
            let info = Nats::connect(port).api("STREAM.INFO.LOCAL", &json!({}));
            (info["state"]["messages"] == wanted).then_some(())
        });
    };
    copied(port(&sandbox, "nats-hub-1", "client"), 10);
    let file = sandbox.path("a.tar").display().to_string();
    sandbox.run(&format!("backup {file}")).succeeds();
    hub.publish("ORDERS.a", "later");
    sandbox.run(&format!("restore {file} --replace")).succeeds();
    let mut hub = Nats::connect(port(&sandbox, "nats-hub-2", "client"));
    same("sequence", hub.publish("ORDERS.a", "x"), MESSAGES + 1);
    let info = hub.api("STREAM.INFO.ORDERS", &json!({}));
    same("replicas", &info["config"]["num_replicas"], &json!(3));
    let mut leaf = Nats::connect(port(&sandbox, "nats-leaf-lhr", "client"));
    same("sequence", leaf.publish("LOCAL.a", "x"), 11);
    copied(port(&sandbox, "nats-hub-2", "client"), 11);
}
