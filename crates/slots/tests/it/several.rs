//! Tests slots on several plain Redis servers: the conformance suite, and a server that is down.
use std::sync::OnceLock;
use std::time::Duration;

use doorbuster_core::{Epoch, GrantId, ItemId, SlotKey};
use doorbuster_slots::conformance::{self, terms};
use doorbuster_slots::{DequeuedTicket, Slots};

use super::burst::burst;
use super::server::{Server, options};

async fn slots(test: &str) -> Slots {
    static SERVERS: OnceLock<[Server; 3]> = OnceLock::new();
    let servers = SERVERS.get_or_init(|| [(); 3].map(|()| Server::start(&[])));
    let urls = servers.iter().map(Server::url).collect();
    Slots::redis(options(urls, test)).await.expect("the servers can hold slots")
}

crate::conforms!(slots);

#[tokio::test]
async fn while_a_server_is_down_the_tickets_of_the_others_are_acknowledged() {
    let mut servers = [(); 2].map(|()| Server::start(&[]));
    let urls = servers.iter().map(Server::url).collect();
    let slots = Slots::redis(options(urls, "shop")).await.expect("the servers can hold slots");
    let all: Vec<_> = (0..6).map(|index| SlotKey { item: ItemId(1), index }).collect();
    for &slot in &all {
        let grant = GrantId(u64::from(slot.index) + 1);
        slots.init(slot, terms(grant, Epoch(1), 10)).await.expect("reachable");
    }
    slots.serve(&all).expect("six slots");
    assert_eq!(burst(&slots, &all, 60).await.issued.len(), 60);
    let mut taken = Vec::new();
    while taken.len() < 60 {
        let more = tokio::time::timeout(Duration::from_secs(60), slots.take(60)).await;
        taken.extend(more.expect("tickets are waiting").expect("reachable"));
    }
    let done: Vec<_> = taken.iter().map(DequeuedTicket::delivery_ref).collect();
    let first_key = |server: &Server| server.ask::<Vec<String>>(&["KEYS", "shop:{1#0}:term"]);
    let dead = servers.iter().position(|server| !first_key(server).is_empty());
    servers[dead.expect("a server has the first slot")].kill();
    slots.acknowledge(&done).await.expect_err("one server is down");
    let mut reached = 0;
    for &slot in &all {
        let Ok(view) = slots.view(slot).await else { continue };
        assert_eq!(view.expect("the slot has an epoch").unacknowledged, 0, "{slot:?}");
        reached += 1;
    }
    assert!((1..6).contains(&reached), "{reached} slots are reachable");
}
