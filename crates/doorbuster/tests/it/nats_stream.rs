//! A private NATS server with one stream, to which the program publishes events. NATS drops a
//! repeated message that arrives within a certain time after the first one. Here, that time is so
//! short that the tests can count repetitions.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::failpoints::receiver::{Event, event, first};
use crate::nats_server::NatsServer;

/// The name of the stream, and the prefix of its subjects.
const NAME: &str = "shop";
/// The stream drops a duplicate that arrives within this time after the original. NATS allows no
/// shorter time.
pub const WINDOW: Duration = Duration::from_millis(100);

/// The broker. It stops when this value is dropped.
pub struct NatsStream {
    nats: NatsServer,
}

/// The received messages.
pub struct ReceivedEvents {
    /// The received events, each once, in the order of the first arrivals.
    pub first: Vec<Event>,
    /// The number of repeated messages.
    pub again: usize,
}

impl NatsStream {
    /// Starts a broker.
    pub async fn open() -> Self {
        let nats = NatsServer::start();
        nats.make_stream_with_window(NAME, WINDOW).await;
        Self { nats }
    }

    /// Returns the broker's port.
    pub fn port(&self) -> u16 {
        self.nats.port()
    }

    /// Returns the broker's address.
    pub fn url(&self) -> String {
        self.nats.url(NAME)
    }

    /// Kills the broker, as in a power failure.
    pub fn kill(&mut self) {
        self.nats.kill();
    }

    /// Starts the broker again. The stream still has its messages.
    pub fn start_again(&mut self) {
        self.nats.start_again();
    }

    /// Returns the events in the stream. Checks that the subject of each message is the event's
    /// type, and that all messages with one event have the same content.
    pub async fn received(&self) -> ReceivedEvents {
        let kept = self.nats.kept(NAME).await;
        let (mut bodies, mut events) = (HashMap::new(), Vec::new());
        for kept in &kept {
            let body: Value = serde_json::from_slice(&kept.body).expect("JSON");
            let event = event(&body);
            assert_eq!(kept.subject, format!("{NAME}.{}", event.what));
            assert!(
                kept.headers.contains(&format!("Nats-Msg-Id: {}", event.id)),
                "{}",
                kept.headers
            );
            let same = *bodies.entry(event.id.clone()).or_insert(kept.body.as_slice());
            assert_eq!(
                String::from_utf8_lossy(same),
                String::from_utf8_lossy(&kept.body),
                "all messages of one event must have the same content"
            );
            events.push(event);
        }
        let first = first(events);
        ReceivedEvents { again: kept.len() - first.len(), first }
    }
}
