//! Tests with real brokers that these tests start. A broker accepts messages, refuses messages,
//! does not answer, or is killed.

mod amqp;
mod nats;
mod tls;

use doorbuster_testkit::{keeper, nats_server, proxy, rabbit};

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

fn name() -> String {
    format!("t{:016x}", rand::random::<u64>())
}
