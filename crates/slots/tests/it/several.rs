//! Tests slots on several plain Redis servers with the conformance suite.
use std::sync::OnceLock;

use doorbuster_slots::{Slots, conformance};

use super::server::{Server, options};

async fn slots(test: &str) -> Slots {
    static SERVERS: OnceLock<[Server; 3]> = OnceLock::new();
    let servers = SERVERS.get_or_init(|| [(); 3].map(|()| Server::start(&[])));
    let urls = servers.iter().map(Server::url).collect();
    Slots::redis(options(urls, test)).await.expect("the servers can hold slots")
}

crate::conforms!(slots);
