//! Tests damaged rows of the table `event`, and a row that a newer program wrote. The other rows
//! must stay readable. A damaged row must become a dead letter that can be handled like any other.
use std::sync::Arc;

use doorbuster_core::Millis;
use doorbuster_core::outbox::{EventFilter, PendingDelivery, PositionAdvance};
use doorbuster_store::conformance::Fixture;
use doorbuster_store::{
    DeadLetterId, DeadLetterKind, DeadLetterOutcome, EndpointKind, NewEndpoint, Redelivery,
    UnreadableEvent,
};

use crate::events::{run, session};
use crate::fixture::{Dir, open};
use crate::nodes::two;

/// Events that this program can and cannot read.
const EVENTS: &str = "INSERT INTO event (type, sale_id, item_id, at, actor, data) VALUES
    ('sale.opened', 'first', NULL, 1, 'engine', NULL),
    ('sale.moved', 'first', NULL, 2, 'engine', NULL),
    ('payment.refunded', NULL, NULL, 3, 'engine', '{\"payment\": '),
    ('sale.opened', 'second', NULL, 4, 'nobody', NULL),
    ('sale.opened', 'third', NULL, 5, 'engine', NULL)";

async fn expect(fixture: &Fixture) {
    while fixture.store.sequence_events(100).await.expect("writes") > 0 {}
    let read = fixture.store.events_after(0, 100).await.expect("the other rows are read");
    let positions: Vec<_> =
        read.iter().map(|r| r.as_ref().map_or_else(|bad| bad.position, |t| t.position)).collect();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
    let bad: Vec<&UnreadableEvent> = read.iter().filter_map(|read| read.as_ref().err()).collect();
    let subjects: Vec<_> = bad.iter().map(|bad| (bad.what.as_str(), bad.about.as_str())).collect();
    assert_eq!(
        subjects,
        [
            ("sale.moved", "sale:first"),
            ("payment.refunded", "event:3"),
            ("sale.opened", "sale:second")
        ]
    );
    assert!(bad.iter().all(|bad| bad.reason.contains("unknown type or invalid data")), "{bad:?}");
    assert_eq!(
        fixture.store.event_at(3).await.expect("reads").expect("the row exists").as_ref().err(),
        Some(bad[1])
    );
    let parcel = PendingDelivery {
        position: 3,
        about: Arc::from("event:3"),
        tries: 1,
        next_at: Millis(7),
        error: Some("unreadable".to_owned()),
        dead: true,
    };
    let progress = PositionAdvance { from: 0, to: 5, failed: vec![parcel] };
    assert!(fixture.store.advance_endpoint("end_1", progress).await.expect("writes"));
    let dead = fixture
        .store
        .list_dead_letters(DeadLetterKind::Delivery, None, 9)
        .await
        .expect("reads")
        .rows;
    assert_eq!((dead.len(), dead[0].about.as_str()), (1, "event:3"));
    let DeadLetterId::Delivery(_) = dead[0].id else { panic!("expected a delivery: {dead:?}") };
    assert_eq!(
        fixture.store.retry_dead_letter(dead[0].id.clone(), 9).await.expect("writes"),
        DeadLetterOutcome::Done
    );
    assert_eq!(fixture.store.redeliver("end_1", 2, 9).await.expect("writes"), Redelivery::Done);
    let about: Vec<_> = fixture.store.pending_deliveries("end_1", 9).await.expect("reads");
    assert_eq!(about.iter().map(|row| &*row.about).collect::<Vec<_>>(), ["sale:first", "event:3"]);
}

pub fn endpoint() -> NewEndpoint {
    NewEndpoint {
        id: "end_1".to_owned(),
        kind: EndpointKind::Webhook,
        url: "https://shop.example/".to_owned(),
        wanted: EventFilter::All,
        secret: None,
        enabled: true,
    }
}

#[tokio::test]
async fn an_unreadable_row_hides_no_other_row_in_sqlite() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    fixture.store.insert_endpoint(endpoint(), 9).await.expect("writes");
    dir.shell().execute_batch(EVENTS).expect("inserts");
    expect(&fixture).await;
    fixture.store.close().await;
}

#[tokio::test]
async fn an_unreadable_row_hides_no_other_row_in_postgres() {
    let (a, b, database) = two().await;
    a.store.insert_endpoint(endpoint(), 9).await.expect("writes");
    run(&session(&database).await, EVENTS).await;
    expect(&a).await;
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}
