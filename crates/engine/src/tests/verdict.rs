//! Tests the event that a verdict causes if no request waits for the verdict.

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{ItemId, TicketId, Verdict};

use super::*;
use crate::notify::EventKind;

#[tokio::test]
async fn the_second_ticket_of_a_request_that_holds_an_order_is_shown_as_that_order() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(1), 1, 900_000).await;
    let order = bought(&engine, "anna", "k", 1).await;
    let event = |verdict, order: Option<&Order>| {
        let id = TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id");
        let resolved = TicketVerdict { id, verdict, order: order.cloned(), fresh: true };
        let buyer = BuyerId::new("anna").expect("a buyer");
        EventKind::from_verdict(&resolved, ItemId(1), buyer, Units::ONE)
    };
    let shown = event(Verdict::Order(order.id), Some(&order));
    assert!(matches!(shown, Some(EventKind::Order(shown)) if *shown == order));
    assert!(
        event(Verdict::Order(order.id), None).is_none(),
        "a verdict that names an erased order must cause no event"
    );
    assert!(
        event(Verdict::Reserved, Some(&order)).is_none(),
        "a new order has its own event, so the verdict must cause no second event"
    );
    let refused = event(Verdict::Unavailable, None);
    assert!(matches!(refused, Some(EventKind::Refused { verdict: Verdict::Unavailable, .. })));
    engine.stock.stop_node().await;
}
