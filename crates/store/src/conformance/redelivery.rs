//! Tests an operator's request to deliver an event again, while the server still tries to deliver
//! the event.
use doorbuster_core::outbox::{PendingDelivery, PositionAdvance, RowChange};

use super::Fixture;
use super::outbox::{parcel, pending, three};
use crate::contract::Redelivery;

/// The largest number of deliveries that may be pending.
const MOST: usize = 9;

/// After an operator has requested a delivery again, the store ignores the result of an attempt
/// that began before the request.
pub async fn an_earlier_attempt_does_not_change_a_requested_delivery(fixture: Fixture) {
    let (from, events) = three(&fixture).await;
    let at = events[0].position;
    let failed = vec![PendingDelivery { tries: 19, ..parcel(at, "a", false) }];
    let advance = PositionAdvance { from, to: at, failed };
    assert!(fixture.store.advance_endpoint("end_1", advance).await.expect("writes"));
    let record = async |tries: u32, dead: bool| {
        let result = PendingDelivery { tries, ..parcel(at, "a", dead) };
        let results = vec![RowChange::Pending(result)];
        fixture.store.record_deliveries("end_1", results).await.expect("writes")
    };
    let tries = async || pending(&fixture, "end_1").await.first().map(|row| row.tries);
    let requested = fixture.store.redeliver("end_1", at, MOST).await.expect("writes");
    assert_eq!((requested, tries().await), (Redelivery::Done, Some(0)));
    assert!(
        !record(20, true).await,
        "a delivery attempt that began before the request for a redelivery must be ignored"
    );
    assert_eq!(tries().await, Some(0), "an attempt from before the request must not count");
    // A postponed attempt does not change the number of tries (0). A worker records the same result
    // twice (1) if it does not know whether the first commit succeeded.
    for number in [0, 1, 1, 2] {
        assert!(record(number, false).await);
        assert_eq!(tries().await, Some(number));
    }
    assert!(record(3, true).await);
    assert_eq!(tries().await, None);
}
