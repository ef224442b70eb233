//! Data of an earlier version of Core, written by that version's own programs: it is accepted
//! unchanged, and no acknowledged data is missing.

use std::fs::File;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::harness::http;
use crate::harness::nats::Nats;
use crate::harness::{Sandbox, same};

/// `.data` of a stack of 01d4712 after `down`: a generated superuser, a collection with a record, a
/// stream with a message, and a topology that was a hub and is one server again.
const ARCHIVE: &str = "tests/e2e/data/data-01d4712.tar.gz";
/// The message that it acknowledged, `acknowledged by 01d4712`, as the API returns it.
const MESSAGE: &str = "YWNrbm93bGVkZ2VkIGJ5IDAxZDQ3MTI=";
/// The record that it wrote.
const RECORD: &str = "8yq17agqiw4qxp8";

#[track_caller]
fn unpack(sandbox: &Sandbox) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(ARCHIVE);
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    archive.unpack(sandbox.root()).unwrap();
}

/// Fails unless everything in the archive is served.
#[track_caller]
fn everything_is_there(sandbox: &Sandbox) {
    let port = sandbox.port("pocketbase.http");
    let made_up: Value =
        serde_json::from_str(&sandbox.read(".data/pocketbase/superuser.json")).unwrap();
    let body = json!({"identity": made_up["email"], "password": made_up["password"]});
    let path = "/api/collections/_superusers/auth-with-password";
    let answer = http::post(port, path, None, &body);
    same("the password of then", answer.status, 200);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let path = format!("/api/collections/notes/records/{RECORD}");
    let headers = [("Authorization", &*token)];
    let record = http::request(port, "GET", &path, &headers, "").unwrap();
    same("the record", record.status, 200);
    let title = &record.json()["title"];
    same("its text", title, &json!("kept since 01d4712"));
    let mut nats = Nats::connect(sandbox.port("nats.client"));
    let found = nats.api("STREAM.MSG.GET.ORDERS", &json!({"seq": 1}));
    same("the message", &found["message"]["data"], &json!(MESSAGE));
    same(
        "the next one",
        nats.publish("ORDERS.new", "later") > 1,
        true,
    );
}

#[test]
fn data_of_01d4712_is_taken_as_it_is() {
    let sandbox = Sandbox::core();
    unpack(&sandbox);
    sandbox.up();
    everything_is_there(&sandbox);
    let topology = sandbox.run("topology show --json").succeeds().json();
    let single = json!({"topology": "single-node"});
    same("the topology", &topology["applied"]["spec"], &single);
    same("who asked", &topology["applied"]["origin"], &json!("user"));
    sandbox.down();
    // Once more, from the data that this version has written.
    sandbox.up();
    everything_is_there(&sandbox);
}
