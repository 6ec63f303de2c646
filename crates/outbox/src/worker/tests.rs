//! Tests that the delivery worker records the right outcome for each kind of error.
use std::collections::HashMap;

use doorbuster_base::clock::Clock;
use doorbuster_base::counter::Counter;
use doorbuster_config::{Flags, Roles, load};
use doorbuster_core::event::{Actor, Attribution, Event, EventType, Subject};
use doorbuster_core::outbox::{EventFilter, PositionAdvance, SendOutcome};
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{IdKey, ItemId, NodeId, Stock};
use doorbuster_engine::start::{self, DatabaseOptions, EngineOptions, StockLocation};
use doorbuster_engine::stock::StockControl;
use doorbuster_store::conformance::{new_item, new_sale};
use doorbuster_store::{EndpointChange, EventRead, NewEndpoint, StoredEvent, UnreadableEvent};
use doorbuster_testkit::TempDir;

use super::*;
use crate::receiver::DeliveryError;

/// The time limit for a delivery that must end at once.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Returns the outbox, and the part of the engine with which a test stops the node.
async fn outbox(dir: &TempDir) -> (Arc<Outbox>, Arc<StockControl>) {
    let options = EngineOptions {
        pass_key: None,
        location: StockLocation::Directory(dir.path().to_owned()),
        roles: Roles::ALL,
        id_key: IdKey::new([3; 32]),
        clock: Clock::default(),
        node: NodeId(1),
        bounds: SlotBounds::default(),
        always_leads: false,
        allow_fsync_off: false,
        database: DatabaseOptions::default(),
        on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
    };
    let engine = start::start(options).await.expect("a fresh directory opens");
    let flags = Flags { data_dir: Some(dir.path().to_owned()), ..Flags::default() };
    let secret =
        ("DOORBUSTER_AUTH__BUYER_SECRET".into(), "a secret of the shop that is long enough".into());
    let settings = load(&flags, [secret]).expect("valid settings");
    (Arc::new(Outbox::new(engine.node, engine.catalogue_reader, &settings)), engine.stock)
}

fn endpoint() -> Endpoint {
    Endpoint {
        id: "end_1".to_owned(),
        kind: EndpointKind::Webhook,
        url: "https://shop.example/".to_owned(),
        wanted: EventFilter::All,
        secrets: Vec::new(),
        position: 0,
        enabled: true,
        created_at: Millis(0),
    }
}

async fn insert(outbox: &Outbox, endpoint: Endpoint) {
    let Endpoint { id, kind, url, wanted, enabled, .. } = endpoint;
    let new = NewEndpoint { id, kind, url, wanted, secret: None, enabled };
    outbox.node.store().insert_endpoint(new, 9).await.expect("writes").expect("the first endpoint");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_this_node_cannot_read_is_not_a_failed_attempt() {
    let (dir, endpoint) = (TempDir::new(), endpoint());
    let (outbox, stock) = outbox(&dir).await;
    let (subject, by) = (Subject::Item(ItemId(99)), Attribution::from_actor(Actor::Engine));
    let event = Event { what: EventType::ItemSoldOut, subject, by, at: Millis(1) };
    let of_a_new_sale: EventRead = Ok(StoredEvent { position: 1, seq: 1, event });
    let of_a_new_type: EventRead = Err(UnreadableEvent {
        position: 2,
        what: "sale.moved".to_owned(),
        about: "sale:spring".to_owned(),
        reason: "unknown event".to_owned(),
    });
    for (read, why) in [
        (of_a_new_sale, "does not know the event's item"),
        (of_a_new_type, "unknown to this version"),
    ] {
        let unsent = send(&outbox, &endpoint, 1, Some(Arc::new(read))).await;
        assert!(
            matches!(&unsent, Err(SendError::Deferred(error)) if error.contains(why)),
            "{unsent:?}"
        );
    }
    let damaged: EventRead = Err(UnreadableEvent {
        position: 3,
        what: "sale opened".to_owned(),
        about: "sale:spring".to_owned(),
        reason: "no type".to_owned(),
    });
    let unsent = send(&outbox, &endpoint, 3, Some(Arc::new(damaged))).await;
    assert_eq!(
        unsent,
        Err(SendError::UnreadableEvent("the event's row is invalid: no type".to_owned()))
    );
    let forgotten = send(&outbox, &endpoint, 7, None).await;
    assert_eq!(forgotten, Err(SendError::UnreadableEvent("the event was deleted".to_owned())));
    stock.stop_node().await;
    let unsent = send(&outbox, &endpoint, 7, None).await;
    let Err(SendError::Deferred(error)) = &unsent else { panic!("{unsent:?}") };
    assert!(error.contains("failed to read the event"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_old_settings_delivers_nothing_to_a_disabled_endpoint() {
    let dir = TempDir::new();
    let (outbox, stock) = outbox(&dir).await;
    insert(&outbox, Endpoint { enabled: false, ..endpoint() }).await;
    let (_sender, mut settings) = watch::channel(Arc::new(endpoint()));
    let delivery = deliver(&outbox, "end_1", &mut settings);
    tokio::time::timeout(ENDS_WITHIN, delivery)
        .await
        .expect("the delivery must end")
        .expect("the store reads");
    stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_address_that_answers_gone_does_not_disable_the_new_address() {
    let dir = TempDir::new();
    let (outbox, stock) = outbox(&dir).await;
    let new = Endpoint { url: "https://new.example/".to_owned(), ..endpoint() };
    insert(&outbox, new.clone()).await;
    let is_enabled =
        async || outbox.node.store().endpoints().await.expect("reads").iter().all(|e| e.enabled);
    let mut worker = Worker::new(&outbox, "end_1", endpoint(), Vec::new());
    worker.disable().await.expect("the store writes");
    assert!(is_enabled().await, "the old address must not disable the endpoint");
    let mut worker = Worker::new(&outbox, "end_1", new, Vec::new());
    worker.disable().await.expect("the store writes");
    assert!(!is_enabled().await);
    stock.stop_node().await;
}

#[test]
fn a_worker_that_ends_late_does_not_end_the_next_worker_of_its_endpoint() {
    let (sender, receiver) = watch::channel(Arc::new(endpoint()));
    let mut known = HashMap::from([("end_1".to_owned(), sender)]);
    crate::remove_ended(&mut known, Ok(()));
    assert_eq!(known.len(), 1, "the sender of the next worker must stay");
    drop(receiver);
    crate::remove_ended(&mut known, Ok(()));
    assert_eq!(known.len(), 0);
}

fn parcel(position: i64, about: &str) -> PendingDelivery {
    PendingDelivery {
        position,
        about: about.into(),
        tries: 0,
        next_at: Millis(0),
        error: None,
        dead: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_waits_for_an_earlier_event_when_more_rows_wait_than_the_bound() {
    let dir = TempDir::new();
    let (mut outbox, stock) = outbox(&dir).await;
    Arc::get_mut(&mut outbox).expect("no other owner").bounds.pending = 3;
    insert(&outbox, endpoint()).await;
    let store = outbox.node.store();
    let row = store.endpoints().await.expect("the store reads").remove(0);
    let from = row.position;
    let failed = (from + 1..).zip(["a", "b", "c", "d"]).map(|(at, about)| parcel(at, about));
    let progress = PositionAdvance { from, to: from + 4, failed: failed.collect() };
    assert!(store.advance_endpoint("end_1", progress).await.expect("the store writes"));
    let row = Endpoint { position: from + 4, ..row };
    let mut worker = Worker::new(&outbox, "end_1", row, Vec::new());
    // The store does not have this row. When the worker notices this, it reads the rows from the
    // store again.
    worker.notes.push(RowChange::Pending(parcel(from + 9, "e")));
    worker.write_notes().await.expect("the store writes");
    worker.queue.add(from + 5, "d", true);
    let now = outbox.node.now();
    let sent: Vec<i64> = std::iter::from_fn(|| worker.queue.next(now)).collect();
    assert_eq!(sent, (from + 1..=from + 4).collect::<Vec<_>>());
    let note = worker.queue.record(from + 4, SendOutcome::Delivered, now, 0);
    assert_eq!(note, Some(RowChange::Delivered(from + 4)));
    assert_eq!(worker.queue.next(now), Some(from + 5));
    stock.stop_node().await;
}

async fn open_sale(outbox: &Outbox) {
    let store = outbox.node.store();
    let sale = new_sale("spring", vec![new_item("phone", Stock::Counted(1), 1)]);
    store.create_sale(sale).await.expect("the store writes").expect("the id is free");
    store.step_sale("spring", PhaseStep::Open).await.expect("the store writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_old_types_adds_none_of_the_events_that_it_reads() {
    let dir = TempDir::new();
    let (outbox, stock) = outbox(&dir).await;
    let old = Endpoint { wanted: EventFilter::only(&[EventType::OrderPaid]), ..endpoint() };
    insert(&outbox, old.clone()).await;
    let row = outbox.node.store().endpoints().await.expect("the store reads").remove(0);
    open_sale(&outbox).await;
    let mut worker = Worker::new(&outbox, "end_1", row, Vec::new());
    let (sender, settings) = watch::channel(Arc::new(endpoint()));
    worker.read(&settings).await.expect("the store reads");
    assert!(worker.may_have_more && !worker.can_advance, "the next worker must read the event");
    sender.send_replace(Arc::new(old));
    worker.read(&settings).await.expect("the store reads");
    assert!(worker.can_advance, "the position must pass the unwanted event");
    stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_type_that_another_node_added_is_not_passed() {
    let dir = TempDir::new();
    let (outbox, stock) = outbox(&dir).await;
    let old = Endpoint { wanted: EventFilter::only(&[EventType::OrderPaid]), ..endpoint() };
    insert(&outbox, old.clone()).await;
    let store = outbox.node.store();
    let row = store.endpoints().await.expect("the store reads").remove(0);
    let from = row.position;
    // This node has not read the change yet. So the worker and its settings still have the earlier
    // list of types.
    let all = EndpointChange { wanted: Some(EventFilter::All), ..EndpointChange::default() };
    store.update_endpoint("end_1", all).await.expect("the store writes").expect("the endpoint");
    open_sale(&outbox).await;
    let mut worker = Worker::new(&outbox, "end_1", row, Vec::new());
    let (_sender, settings) = watch::channel(Arc::new(old));
    worker.read(&settings).await.expect("the store reads");
    worker.advance().await.expect("the store writes");
    let at = store.endpoints().await.expect("the store reads").remove(0).position;
    assert_eq!(at, from, "the position must not pass an event of the added type");
    stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_a_disabled_endpoint_leaves_no_row_of_a_removed_type() {
    let dir = TempDir::new();
    let (outbox, stock) = outbox(&dir).await;
    // One change removed a type from the endpoint and disabled the endpoint. The worker still has
    // the earlier list of types.
    let wanted = EventFilter::only(&[EventType::OrderPaid]);
    insert(&outbox, Endpoint { wanted, enabled: false, ..endpoint() }).await;
    let store = outbox.node.store();
    let row = store.endpoints().await.expect("the store reads").remove(0);
    open_sale(&outbox).await;
    let old = Endpoint { wanted: EventFilter::All, ..row };
    let mut worker = Worker::new(&outbox, "end_1", old, Vec::new());
    let (_sender, settings) = watch::channel(Arc::new(endpoint()));
    worker.read(&settings).await.expect("the store reads");
    let position = worker.queue.next(outbox.node.now()).expect("the sale has an event");
    let refusal = SendError::Refused(DeliveryError::new("why".to_owned()));
    worker
        .handle_sent(Ok((position, Arc::new(endpoint()), Err(refusal))))
        .expect("the attempt ended");
    worker.finish().await.expect("the store writes");
    let at = store.endpoints().await.expect("the store reads").remove(0).position;
    let rows = store.pending_deliveries("end_1", 9).await.expect("the store reads");
    assert_eq!((at >= position, rows), (true, Vec::new()));
    stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_starts_without_the_rows_of_a_removed_type() {
    let dir = TempDir::new();
    let (outbox, stock) = outbox(&dir).await;
    let paid = Endpoint { wanted: EventFilter::only(&[EventType::OrderPaid]), ..endpoint() };
    insert(&outbox, paid.clone()).await;
    let store = outbox.node.store();
    let from = store.endpoints().await.expect("the store reads").remove(0).position;
    open_sale(&outbox).await;
    let events = store.events_after(from, 1).await.expect("the store reads");
    let to = events[0].as_ref().expect("a valid event").position;
    // This row is about an event of a removed type. An earlier worker wrote the row, because it did
    // not know of the removal.
    let progress = PositionAdvance { from, to, failed: vec![parcel(to, "sale:spring")] };
    assert!(store.advance_endpoint("end_1", progress).await.expect("the store writes"));
    let (_sender, settings) = watch::channel(Arc::new(paid));
    let worker = start(&outbox, "end_1", &settings).await.expect("the store reads");
    let worker = worker.expect("the endpoint is enabled");
    let rows = store.pending_deliveries("end_1", 9).await.expect("the store reads");
    assert_eq!((worker.queue.waiting(), rows), (0, Vec::new()));
    stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_attempt_counts_only_as_dead() {
    let dir = TempDir::new();
    let (mut outbox, stock) = outbox(&dir).await;
    Arc::get_mut(&mut outbox).expect("no other owner").bounds.tries = 1;
    let mut worker = Worker::new(&outbox, "end_1", endpoint(), Vec::new());
    worker.queue.add(1, "a", true);
    assert_eq!(worker.queue.next(Millis(0)), Some(1));
    let refusal = SendError::Refused(DeliveryError::new("why".to_owned()));
    worker.handle_sent(Ok((1, Arc::new(endpoint()), Err(refusal)))).expect("the attempt ended");
    let sent = &outbox.meter.sent[EndpointKind::Webhook as usize];
    assert_eq!(sent.each_ref().map(Counter::get), [0, 0, 1]);
    stock.stop_node().await;
}

#[test]
fn each_delivery_error_leads_to_its_outcome() {
    let error = || "why".to_owned();
    let refusal = DeliveryError { pause_ms: 7, ..DeliveryError::new(error()) };
    let of = |unsent: SendError| {
        let (outcome, text) = delivery_outcome(Err(unsent));
        assert_eq!(text, Some(error()), "{outcome:?}");
        outcome
    };
    assert_eq!(delivery_outcome(Ok(())), (SendOutcome::Delivered, None));
    assert_eq!(of(SendError::Deferred(error())), SendOutcome::Deferred { error: error() });
    let local = SendError::Refused(DeliveryError::local(error()));
    assert_eq!(of(local), SendOutcome::Deferred { error: error() });
    assert_eq!(of(SendError::UnreadableEvent(error())), SendOutcome::Unsendable { error: error() });
    assert_eq!(
        of(SendError::Refused(refusal.clone())),
        SendOutcome::Failed { error: error(), pause_ms: 7 }
    );
    let refused = DeliveryError { is_final: true, ..refusal.clone() };
    assert_eq!(of(SendError::Refused(refused.clone())), SendOutcome::Refused { error: error() });
    assert_eq!(
        of(SendError::Refused(DeliveryError { is_gone: true, ..refused })),
        SendOutcome::Gone
    );
}
