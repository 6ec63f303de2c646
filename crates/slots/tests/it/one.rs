//! Slots on one Redis server: the conformance suite.
use std::sync::OnceLock;

use doorbuster_slots::{Slots, conformance};

use super::server::{Server, options};

/// One server for all of these tests; their keys differ in their prefix.
async fn slots(test: &str) -> Slots {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| Server::start(&[]));
    Slots::redis(options(vec![server.url()], test)).await.expect("a server that may hold slots")
}

crate::conforms!(slots);
