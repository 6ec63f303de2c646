//! A private NATS with one stream, which also keeps duplicates, for the program to publish to.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::failpoints::receiver::{Event, event, first};
use crate::nats_server::NatsServer;

/// What the stream is called, and its subjects begin with.
const NAME: &str = "shop";
/// The stream drops what comes again within this time, the shortest that there is.
pub const WINDOW: Duration = Duration::from_millis(100);

/// The broker. It ends when this is dropped.
pub struct NatsStream {
    nats: NatsServer,
}

/// What it heard.
pub struct ReceivedEvents {
    /// Each event where it came first.
    pub first: Vec<Event>,
    /// How many messages brought an event that was there already.
    pub again: usize,
}

impl NatsStream {
    /// One that is there.
    pub async fn open() -> Self {
        let nats = NatsServer::start();
        nats.make_stream_that_knows(NAME, WINDOW).await;
        Self { nats }
    }

    /// Where it is.
    pub fn port(&self) -> u16 {
        self.nats.port()
    }

    /// Where it is told.
    pub fn url(&self) -> String {
        self.nats.url(NAME)
    }

    /// Takes it away, as a power cut does: nobody listens there any more.
    pub fn kill(&mut self) {
        self.nats.kill();
    }

    /// Brings it back, with all that it kept.
    pub fn start_again(&mut self) {
        self.nats.start_again();
    }

    /// What it keeps. Each message is under its event's type, and no event says two things.
    pub async fn heard(&self) -> ReceivedEvents {
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
                "the same bytes"
            );
            events.push(event);
        }
        let first = first(events);
        ReceivedEvents { again: kept.len() - first.len(), first }
    }
}
