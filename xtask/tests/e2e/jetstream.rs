//! NATS with JetStream, used like a client would.

use serde_json::json;

use crate::harness::nats::Nats;
use crate::harness::{SOON, Sandbox, eventually, same};

#[test]
fn stored_messages_outlive_the_stack() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let mut nats = Nats::connect(sandbox.port("nats.client"));
    nats.make_stream("ORDERS");
    same("sequence", nats.publish("ORDERS.new", "first"), 1);
    same("sequence", nats.publish("ORDERS.new", "second"), 2);
    same("message", nats.stored("ORDERS", 2).as_str(), "second");

    sandbox.down();
    sandbox.up();
    let mut nats = Nats::connect(sandbox.port("nats.client"));
    same("message", nats.stored("ORDERS", 1).as_str(), "first");
    same("sequence", nats.publish("ORDERS.new", "third"), 3);
    let info = nats.api("STREAM.INFO.ORDERS", &json!({}));
    same("messages", &info["state"]["messages"], &json!(3));
}

#[test]
fn streams_are_in_a_domain_from_the_first_day() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let mut nats = Nats::connect(sandbox.port("nats.client"));
    let info = nats.api("INFO", &json!({}));
    same("domain", &info["domain"], &json!("core"));
}

#[test]
fn clients_without_credentials_may_read_events_and_not_write_them() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let mut nats = Nats::connect(sandbox.port("nats.client"));
    let events = |nats: &mut Nats| {
        let info = nats.api("STREAM.INFO.CORE_EVENTS", &json!({}));
        info["state"]["messages"].as_u64().unwrap()
    };
    let before = eventually("events are stored", SOON, || {
        Some(events(&mut nats)).filter(|count| *count > 0)
    });
    for subject in [
        "core.process.nats.crashed",
        "core.topology.nats.applied",
        "$JS.API.STREAM.PURGE.CORE_EVENTS",
        "$JS.core.API.STREAM.PURGE.CORE_EVENTS",
        "$JS.API.STREAM.DELETE.CORE_EVENTS",
        "$JS.core.API.STREAM.DELETE.CORE_EVENTS",
        "$JS.API.STREAM.UPDATE.CORE_EVENTS",
        "$JS.API.STREAM.CREATE.CORE_EVENTS",
        "$JS.API.STREAM.MSG.DELETE.CORE_EVENTS",
        "$JS.API.STREAM.RESTORE.CORE_EVENTS",
    ] {
        let refusal = nats.refused(subject, "{\"seq\": 1}");
        assert!(
            refusal.contains("Permissions Violation"),
            "{subject}: {refusal}"
        );
    }
    assert!(events(&mut nats) >= before, "some are gone");
    nats.api("STREAM.MSG.GET.CORE_EVENTS", &json!({"seq": 1}));
    // Everything else is unchanged.
    nats.make_stream("ORDERS");
    nats.publish("ORDERS.new", "first");
    nats.publish("ORDERS.core.process.x", "second");
    nats.api("STREAM.PURGE.ORDERS", &json!({}));
    nats.api("STREAM.DELETE.ORDERS", &json!({}));
    // Core itself may: the controller continues to publish.
    let stored = events(&mut nats);
    sandbox.run("restart caddy").succeeds();
    eventually("more events", SOON, || {
        (events(&mut nats) > stored).then_some(())
    });
}

#[test]
fn who_is_logged_in_may_do_everything() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("NATS_USER", "me");
    sandbox.dotenv("NATS_PASSWORD", "a-long-password");
    sandbox.up();
    let mut nats = Nats::log_in(sandbox.port("nats.client"), "me", "a-long-password");
    eventually("events are stored", SOON, || {
        let info = nats.request("$JS.API.STREAM.INFO.CORE_EVENTS", "");
        info.contains("\"messages\"").then_some(())
    });
    nats.api("STREAM.PURGE.CORE_EVENTS", &json!({}));
}
