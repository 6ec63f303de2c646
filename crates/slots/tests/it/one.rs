//! Tests slots on one Redis server with the conformance suite.
use std::sync::OnceLock;

use doorbuster_core::{Epoch, GrantId, RecallId};
use doorbuster_slots::{Slots, conformance};

use super::server::{Server, options};

/// All these tests share a server, and each has its own key prefix.
async fn slots(test: &str) -> Slots {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| Server::start(&[]));
    Slots::redis(options(vec![server.url()], test)).await.expect("the server can hold slots")
}

crate::conforms!(slots);

/// This test compiles only if the future of each call can be sent to another thread.
#[test]
fn calls_can_be_made_in_tasks() {
    fn is_send<T: Send>(_: &T) {}
    let _calls = async |slots: Slots, slot, rows: Vec<doorbuster_core::FeedRow>| {
        is_send(&slots.init(slot, conformance::terms(GrantId(1), Epoch(1), 1)));
        is_send(&slots.ticket(slot, &conformance::request("a", "k", 1, 1)));
        is_send(&slots.apply(slot, Epoch(1), &rows));
        is_send(&slots.recall(slot, RecallId(1), GrantId(1), Epoch(1), 1));
        is_send(&slots.take(1));
        is_send(&slots.acknowledge(&[]));
        is_send(&slots.redeliver(slot));
        is_send(&slots.stop(slot, true));
        is_send(&slots.view(slot));
        is_send(&slots.retire(slot, None));
        is_send(&slots.wait_for_change(0));
    };
}
