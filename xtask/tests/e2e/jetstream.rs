//! NATS with JetStream, spoken to as a client would.

use serde_json::json;

use crate::harness::nats::Nats;
use crate::harness::{Sandbox, same};

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
