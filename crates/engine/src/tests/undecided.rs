//! Tests retries of a queued request: after its pass has expired, and while a new request would
//! exceed a limit.

use std::time::Duration;

use doorbuster_api::problem::Code;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{Millis, Stock, Verdict};
use doorbuster_telemetry::metrics::Gauge;
use tokio::time::Instant;

use super::*;
use crate::node::NodeDescription;
use crate::purchase::DoorRefusal;
use crate::settle;

/// Sends a purchase request of Anna. `door` is the refusal of the front door, or `None` if the
/// front door accepts the request.
async fn ask(
    engine: &EngineParts,
    key: &str,
    units: u32,
    door: Option<DoorRefusal>,
    wait: Duration,
) -> PurchaseOutcome {
    let sale = engine.node.catalogue().sale("spring").cloned().expect("created");
    let item = sale.item("phone").cloned().expect("created");
    let units = Units::new(units).expect("the number is in range");
    let answer = |_| door.map_or(DoorAnswer::Open, DoorAnswer::Refused);
    let request = engine.node.id_key().request_hash("anna", key);
    if let Some(refusal) = refuse_from_memory(&engine.node, request, &sale, &item, units, answer) {
        return PurchaseOutcome::Refused(refusal);
    }
    let (buyer, key) =
        (BuyerId::new("anna").expect("a buyer"), RequestKey::new(key).expect("a key"));
    engine.purchases.buy(&Purchase { buyer, key, request, sale, item, units, wait, door }).await
}

const EXPIRED: Option<DoorRefusal> = Some(DoorRefusal::PassExpired);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_request_gets_the_same_answer_after_its_pass_expired() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    open_sale(&engine, Stock::Counted(10), 10, 900_000).await;
    assert_eq!(
        ask(&engine, "k", 2, EXPIRED, Duration::ZERO).await,
        PurchaseOutcome::Refused(Refusal::AtDoor(DoorRefusal::PassExpired))
    );
    let first = ask(&engine, "k", 2, None, Duration::ZERO).await;
    assert!(matches!(first, PurchaseOutcome::Queued { .. }), "{first:?}");
    let limited = DoorRefusal::RateLimited {
        scope: doorbuster_api::problem::RateLimitScope::Buyer,
        retry_after_secs: 7,
    };
    for door in [EXPIRED, Some(DoorRefusal::Blocked), Some(limited), None] {
        assert_eq!(ask(&engine, "k", 2, door, Duration::ZERO).await, first, "{door:?}");
    }
    assert_eq!(
        ask(&engine, "k", 3, EXPIRED, Duration::ZERO).await,
        PurchaseOutcome::Refused(Refusal::KeyReused)
    );
    assert_eq!(
        ask(&engine, "other", 2, EXPIRED, Duration::ZERO).await,
        PurchaseOutcome::Refused(Refusal::AtDoor(DoorRefusal::PassExpired))
    );
    assert_eq!(
        ask(&engine, "k", 2, EXPIRED, Duration::from_millis(5)).await,
        first,
        "a repetition that waits a short time must get the same answer"
    );
    let settling = tokio::spawn(settle::run(engine.node.clone(), engine.stock.slots().clone()));
    let begun = Instant::now();
    let order = loop {
        match ask(&engine, "k", 2, EXPIRED, WAIT).await {
            PurchaseOutcome::Replayed(order) => break order,
            PurchaseOutcome::Queued { .. } => {
                assert!(begun.elapsed() < WAIT, "the ticket was not settled in time")
            }
            other => panic!("{other:?}"),
        }
    };
    let PurchaseOutcome::Queued { id, .. } = first else { unreachable!("the request was queued") };
    assert_eq!(order.id, id);
    assert_eq!(ask(&engine, "k", 2, EXPIRED, WAIT).await, PurchaseOutcome::Replayed(order));
    settling.abort();
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refusal_of_a_ticket_decides_no_other_request_that_waits_for_the_ticket() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    open_sale(&engine, Stock::Counted(10), 10, 900_000).await;
    let first = ask(&engine, "k", 2, None, Duration::ZERO).await;
    let PurchaseOutcome::Queued { id, .. } = first else { panic!("{first:?}") };
    let waiting = engine.clone();
    let again = tokio::spawn(async move { ask(&waiting, "k", 2, None, WAIT).await });
    while !engine.node.waiters().has_pending(Millis(i64::MAX)) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let token = id.parts().expect("the id of a ticket").token;
    let verdict = Verdict::LimitReached;
    engine.node.waiters().deliver(token, TicketVerdict { id, verdict, order: None, fresh: true });
    // This refusal is not in the store, so the waiting request asks the slot again. The slot still
    // has the ticket, and the store has no verdict, so the request stays queued.
    assert_eq!(again.await.expect("the task did not panic"), first);
    let settling = tokio::spawn(settle::run(engine.node.clone(), engine.stock.slots().clone()));
    engine.stock.stop_node().await;
    settling.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refusal_of_a_queued_request_is_noted_for_its_buyer() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    engine
        .node
        .this_node()
        .describe(NodeDescription { started_at: Millis(0), connections: Gauge::default() });
    open_sale(&engine, Stock::Counted(10), 10, 900_000).await;
    let first = ask(&engine, "k", 2, None, Duration::ZERO).await;
    let PurchaseOutcome::Queued { id, .. } = first else { panic!("{first:?}") };
    let refusals = async || {
        let found =
            engine.node.refusals_of("anna", Millis(1)).await.expect("the store is available");
        let codes: Vec<Code> = found.refusals.iter().map(|(_, noted)| noted.code).collect();
        (codes, found.is_complete)
    };
    engine.node.note_queued("anna", id, engine.node.now());
    assert_eq!(
        refusals().await,
        (Vec::new(), false),
        "the list must not count as complete while a refusal may follow"
    );
    let token = id.parts().expect("the id of a ticket").token;
    let verdict = Verdict::LimitReached;
    engine.node.deliver_verdict(token, TicketVerdict { id, verdict, order: None, fresh: true });
    assert_eq!(refusals().await, (vec![Code::LimitReached], true));
    engine.node.note_queued("anna", id, engine.node.now());
    assert_eq!(
        refusals().await,
        (vec![Code::LimitReached], true),
        "a note after the verdict must not stay"
    );
    let settling = tokio::spawn(settle::run(engine.node.clone(), engine.stock.slots().clone()));
    engine.stock.stop_node().await;
    settling.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_refused_because_of_a_ticket_that_may_be_returned() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    open_sale(&engine, Stock::Counted(10), 2, 900_000).await;
    let first = ask(&engine, "k", 2, None, Duration::ZERO).await;
    assert!(matches!(first, PurchaseOutcome::Queued { .. }), "{first:?}");
    assert_eq!(
        ask(&engine, "other", 1, None, WAIT).await,
        PurchaseOutcome::Refused(Refusal::Unavailable),
        "the limit must not refuse a request while the first ticket is undecided"
    );
    let settling = tokio::spawn(settle::run(engine.node.clone(), engine.stock.slots().clone()));
    let begun = Instant::now();
    while !matches!(ask(&engine, "k", 2, None, WAIT).await, PurchaseOutcome::Replayed(_)) {
        assert!(begun.elapsed() < WAIT, "the ticket was not settled in time");
    }
    let reached = PurchaseOutcome::Refused(Refusal::LimitReached { limit: 2, used: 2 });
    assert_eq!(ask(&engine, "other", 1, None, WAIT).await, reached);
    engine.stock.stop_node().await;
    settling.abort();
}
