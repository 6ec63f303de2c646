//! Tests with private real brokers that accept messages, refuse them, do not answer, or are killed.

#[path = "it/amqp.rs"]
mod amqp;
#[allow(dead_code, reason = "the server's own tests do more with it")]
#[path = "it/keeper.rs"]
mod keeper;
#[path = "it/nats.rs"]
mod nats;
#[allow(dead_code, reason = "the server's own tests do more with it")]
#[path = "it/nats_server.rs"]
mod nats_server;
#[path = "it/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "the server's own tests do more with it")]
#[path = "it/rabbit.rs"]
mod rabbit;
#[path = "it/tls.rs"]
mod tls;

use std::time::Duration;

use doorbuster_brokers::{Address, Broker, Message};

/// A timeout that is long enough for one attempt on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(10);

fn broker(address: &str) -> Broker {
    broker_within(address, TIMEOUT)
}

fn broker_within(address: &str, timeout: Duration) -> Broker {
    let address = Address::parse(address).expect("an address");
    Broker::new(&address, timeout).expect("test builds speak to every broker")
}

fn message(id: &str, what: &str) -> Message {
    Message {
        id: id.into(),
        what: what.into(),
        key: format!("ord_{id}"),
        at_secs: 1_795_168_842,
        content_type: "application/cloudevents+json",
        body: format!(r#"{{"id":"{id}"}}"#).into(),
    }
}

/// Returns a unique name for the objects that a test creates at a broker.
fn name() -> String {
    format!("t{:016x}", rand::random::<u64>())
}
