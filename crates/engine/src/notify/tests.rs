//! Tests readers of the hub that are slow, that reconnect, or that are parked.
use futures_util::FutureExt;

use doorbuster_core::{ItemId, TicketId, Units, Verdict};
use doorbuster_store::RoomKey;

use super::*;

#[tokio::test]
async fn a_slow_reader_is_dropped_and_only_the_newest_status_waits() {
    let hub = Hub::new(Millis(1_795_000_000_000));
    let mut reader = hub
        .subscribe(None, vec!["spring".into()], 1, None)
        .expect("the limit does not apply to a reader without a buyer");
    for _ in 0..BACKLOG_BYTES_MAX / 64 {
        hub.publish(EventKind::Status("spring".into()));
    }
    assert!(matches!(reader.next().await, NextEvent::HubEvent(_)));
    let buyer = BuyerId::new("anna").expect("a buyer");
    let mut slow = hub.subscribe(Some(buyer.clone()), vec![], 1, None).expect("the first");
    let id = TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id");
    let units = Units::new(1).expect("the number is in range");
    for _ in 0..=BACKLOG_BYTES_MAX / refused(&buyer).bytes() {
        let buyer = buyer.clone();
        hub.publish(EventKind::Refused {
            id,
            item: ItemId(1),
            buyer,
            units,
            verdict: Verdict::Unavailable,
        });
    }
    assert!(matches!(slow.next().await, NextEvent::Lagged));
    drop((reader, slow));
    assert_eq!(hub.readers(), 0);
}

fn refused(buyer: &BuyerId) -> EventKind {
    let id = TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id");
    let units = Units::new(1).expect("the number is in range");
    EventKind::Refused {
        id,
        item: ItemId(1),
        buyer: buyer.clone(),
        units,
        verdict: Verdict::Unavailable,
    }
}

#[tokio::test]
async fn the_bound_of_a_reader_counts_the_bytes_of_its_waiting_events() {
    let hub = Hub::new(Millis(1_795_000_000_000));
    let (short, long) = ("a".to_owned(), "a".repeat(64));
    let [short, long] = [short, long].map(|name| BuyerId::new(&name).expect("a buyer"));
    let most = |buyer: &BuyerId| BACKLOG_BYTES_MAX / refused(buyer).bytes();
    assert!(most(&short) > most(&long), "a longer event must count as more bytes");
    for buyer in [&short, &long] {
        let mut reader = hub.subscribe(Some(buyer.clone()), vec![], 1, None).expect("the first");
        for _ in 0..2 {
            (0..most(buyer)).for_each(|_| hub.publish(refused(buyer)));
            assert_eq!(hub.dropped(), 0);
            for _ in 0..most(buyer) {
                assert!(matches!(reader.next().await, NextEvent::HubEvent(_)));
            }
        }
    }
    let mut reader = hub.subscribe(Some(long.clone()), vec![], 1, None).expect("the first");
    (0..=most(&long)).for_each(|_| hub.publish(refused(&long)));
    assert!(matches!(reader.next().await, NextEvent::Lagged));
    assert_eq!(hub.dropped(), 1);
}

fn waiting(reader: &Subscription) -> Vec<u64> {
    reader.mailbox.event_ids()
}

#[test]
fn a_reconnecting_reader_gets_only_its_own_missed_events() {
    let hub = Hub::new(Millis(1_795_000_000_000));
    let [anna, bert] = ["anna", "bert"].map(|name| BuyerId::new(name).expect("a buyer"));
    let read = |buyer: &BuyerId, after| {
        hub.subscribe(Some(buyer.clone()), vec![], 1, after).expect("the first")
    };
    hub.publish(refused(&anna));
    let first = read(&anna, Some(0));
    assert!(waiting(&first).is_empty(), "an event before the first reader must not be kept");
    hub.publish(refused(&anna));
    let last_id = waiting(&first)[0];
    drop(first);
    for buyer in [&anna, &bert, &anna] {
        hub.publish(refused(buyer));
    }
    hub.publish(EventKind::Status("spring".into()));
    assert_eq!(waiting(&read(&anna, Some(last_id))), [last_id + 1, last_id + 3]);
    assert_eq!(waiting(&read(&anna, Some(last_id + 3))), [0; 0]);
    assert_eq!(waiting(&read(&anna, None)), [0; 0], "a new reader must get no kept events");
    assert_eq!(waiting(&read(&bert, Some(0))), [0; 0], "Bert had no reader at his event");
    let dora = BuyerId::new("dora").expect("a buyer");
    (0..REPLAY_MAX).for_each(|_| hub.publish(refused(&dora)));
    assert_eq!(
        waiting(&read(&anna, Some(last_id))),
        [last_id + 1, last_id + 3],
        "events of a buyer without a reader must not replace Anna's events"
    );
    let push = hub.subscribe_for_push(dora.clone());
    let edge = hub.subscribe_for_edge(dora.clone(), vec![]);
    (0..REPLAY_MAX).for_each(|_| hub.publish(refused(&dora)));
    drop((push, edge));
    hub.publish(refused(&dora));
    assert_eq!(
        waiting(&read(&anna, Some(last_id))),
        [last_id + 1, last_id + 3],
        "events of a buyer who cannot ask for missed events must not replace Anna's events"
    );
    for _ in 0..REPLAY_MAX * 2 {
        hub.publish(refused(&anna));
    }
    assert_eq!(hub.0.readers.lock().expect("no thread panicked").kept.len(), REPLAY_MAX);
    let newest = waiting(&read(&anna, Some(last_id)));
    assert_eq!(newest.len(), REPLAYED_MAX);
    assert_eq!(newest.last(), Some(&hub.0.readers.lock().expect("no thread panicked").last_id));
    // If the hub has had no readers for some time, the events that it kept are no longer complete.
    // The next reader makes the hub drop them.
    hub.0.kept_until_ms.store(1, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(waiting(&read(&anna, Some(last_id))), [0; 0]);
}

fn own(key: u64) -> ReadyReaders {
    ReadyReaders { own: vec![key], crowd: Vec::new() }
}

#[tokio::test]
async fn a_parked_reader_is_woken_once_and_misses_no_event() {
    let hub = Hub::new(Millis(1_795_000_000_000));
    let ready_queue = Arc::new(ReadyQueue::default());
    let anna = BuyerId::new("anna").expect("a buyer");
    let mut reader = hub.subscribe(Some(anna.clone()), vec![], 1, None).expect("the first");
    let number = |next: Option<NextEvent>| match next {
        Some(NextEvent::HubEvent(event)) => event.id,
        other => panic!("{other:?}"),
    };
    hub.publish(refused(&anna));
    let first = number(reader.next_or_park(&ready_queue, 7));
    hub.publish(refused(&anna));
    assert_eq!(
        number(reader.next_or_park(&ready_queue, 7)),
        first + 1,
        "a reader with a waiting event must get the event and must not be parked"
    );
    assert!(ready_queue.wait_ready().now_or_never().is_none());
    assert!(reader.next_or_park(&ready_queue, 7).is_none());
    for _ in 0..3 {
        hub.publish(refused(&anna));
    }
    assert_eq!(ready_queue.wait_ready().await, own(7), "the key must be added once");
    for n in 2..5 {
        assert_eq!(number(reader.next_or_park(&ready_queue, 7)), first + n);
    }
    assert!(
        reader.next_or_park(&ready_queue, 7).is_none()
            && reader.next_or_park(&ready_queue, 8).is_none()
    );
    hub.publish(refused(&anna));
    assert_eq!(ready_queue.wait_ready().await, own(8));
    hub.publish(refused(&anna));
    reader.unpark();
    hub.publish(refused(&anna));
    for n in 5..8 {
        let next = reader.next().now_or_never();
        assert_eq!(number(next), first + n, "a woken reader must continue with the next event");
    }
    assert!(
        ready_queue.wait_ready().now_or_never().is_none(),
        "an event must not wake a reader that is not parked"
    );
    assert!(reader.next_or_park(&ready_queue, 9).is_none());
    reader.unpark();
    let mut waits = std::pin::pin!(reader.next());
    assert!(waits.as_mut().now_or_never().is_none());
    hub.publish(refused(&anna));
    assert_eq!(number(Some(waits.await)), first + 8);
}

#[tokio::test]
async fn a_parked_reader_with_too_many_waiting_events_is_too_slow() {
    let hub = Hub::new(Millis(1_795_000_000_000));
    let ready_queue = Arc::new(ReadyQueue::default());
    let anna = BuyerId::new("anna").expect("a buyer");
    let mut reader = hub.subscribe(Some(anna.clone()), vec![], 1, None).expect("the first");
    assert!(reader.next_or_park(&ready_queue, 1).is_none());
    for _ in 0..=BACKLOG_BYTES_MAX / refused(&anna).bytes() {
        hub.publish(refused(&anna));
    }
    assert_eq!(ready_queue.wait_ready().await, own(1));
    for _ in 0..2 {
        assert!(matches!(reader.next_or_park(&ready_queue, 1), Some(NextEvent::Lagged)));
        assert!(matches!(reader.next().await, NextEvent::Lagged));
    }
}

#[tokio::test]
async fn a_reader_is_made_ready_once_for_sale_events_and_once_for_its_buyers_events() {
    let hub = Hub::new(Millis(1_795_000_000_000));
    let ready_queue = Arc::new(ReadyQueue::default());
    let anna = BuyerId::new("anna").expect("a buyer");
    let mut reader =
        hub.subscribe(Some(anna.clone()), vec!["spring".into()], 1, None).expect("the first");
    let place = EventKind::Position { room: RoomKey::of_sale("spring"), buyer: anna.clone() };
    for own in [refused(&anna), place] {
        assert!(reader.next_or_park(&ready_queue, 7).is_none());
        hub.publish(EventKind::Status("spring".into()));
        hub.publish(EventKind::Room(RoomKey::of_sale("spring")));
        hub.publish(own.clone());
        hub.publish(own);
        hub.publish(EventKind::Status("spring".into()));
        assert_eq!(
            ready_queue.wait_ready().await,
            ReadyReaders { own: vec![7], crowd: vec![7] },
            "the key must be added once for the sale's events, and once for the buyer's events"
        );
        assert!(ready_queue.wait_ready().now_or_never().is_none());
        while reader.next_or_park(&ready_queue, 7).is_some() {}
    }
    hub.publish(refused(&anna));
    hub.publish(EventKind::Status("spring".into()));
    assert_eq!(
        ready_queue.wait_ready().await,
        own(7),
        "the sale's event must add no key, because the reader is already ready"
    );
}

#[test]
fn many_readers_that_leave_at_once_delay_no_other_reader() {
    const CROWD: usize = 100_000;
    let hub = Hub::new(Millis(1_795_000_000_000));
    let anna = BuyerId::new("anna").expect("a buyer");
    let read = |_| {
        hub.subscribe(Some(anna.clone()), vec!["spring".into()], CROWD, None)
            .expect("the number of readers is below the limit")
    };
    let crowd: Vec<Subscription> = (0..CROWD).map(read).collect();
    hub.publish(EventKind::Status("spring".into()));
    assert!(
        crowd.iter().all(|reader| waiting(reader).len() == 1),
        "each reader must get the event once"
    );
    let begun = Instant::now();
    drop(crowd);
    // If the hub searched all readers whenever one leaves, this test would take a minute.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(hub.readers() == 0 && !hub.has_reader(&anna));
    assert!(hub.0.readers.lock().expect("no thread panicked").sales.is_empty());
}

#[test]
fn push_subscriptions_are_no_event_streams() {
    let hub = Hub::new(Millis(1));
    let anna = BuyerId::new("anna").expect("a buyer");
    let push: Vec<_> = (0..4).map(|_| hub.subscribe_for_push(anna.clone())).collect();
    assert_eq!((hub.readers(), hub.stream_readers(), hub.status_readers()), (4, 0, 0));
    let stream = || hub.subscribe(Some(anna.clone()), vec!["spring".into()], 1, None);
    let first = stream();
    assert!(first.is_some() && stream().is_none(), "the limit is one stream");
    assert_eq!((hub.readers(), hub.status_readers()), (5, 1));
    drop((push, first));
    assert_eq!((hub.readers(), hub.stream_readers(), hub.has_reader(&anna)), (0, 0, false));
}

#[test]
fn an_edge_gets_rooms_and_own_events_but_no_statuses() {
    let (hub, queue) = (Hub::new(Millis(1)), Arc::new(ReadyQueue::default()));
    let anna = BuyerId::new("anna").expect("a buyer");
    let mut edge = hub.subscribe_for_edge(anna.clone(), vec!["spring".into()]);
    assert_eq!((hub.readers(), hub.status_readers()), (1, 0));
    hub.publish(EventKind::Status("spring".into()));
    assert!(edge.next_or_park(&queue, 1).is_none());
    hub.publish(EventKind::Room(RoomKey::of_sale("spring")));
    hub.publish(EventKind::Position { room: RoomKey::of_sale("spring"), buyer: anna });
    let mut kinds = std::iter::from_fn(|| edge.next_or_park(&queue, 1)).map(|next| match next {
        NextEvent::HubEvent(event) => event.kind,
        NextEvent::Lagged => panic!("the reader was dropped as too slow"),
    });
    assert!(matches!(&*kinds.next().expect("an event"), EventKind::Room(_)));
    assert!(matches!(&*kinds.next().expect("an event"), EventKind::Position { .. }));
    assert!(kinds.next().is_none());
    drop(kinds);
    drop(edge);
    assert_eq!((hub.readers(), hub.status_readers()), (0, 0));
    assert!(hub.0.readers.lock().expect("no panic").sales.is_empty());
}

#[tokio::test]
async fn buyers_are_disconnected_and_other_readers_stay() {
    let hub = Hub::new(Millis(1));
    let anna = BuyerId::new("anna").expect("a buyer");
    let mut buyer = hub.subscribe(Some(anna), vec!["spring".into()], 1, None).expect("the first");
    let mut other = hub.subscribe(None, vec!["spring".into()], 1, None).expect("the first");
    hub.publish(EventKind::Status("spring".into()));
    hub.disconnect_buyers(0);
    assert!(matches!(buyer.next().await, NextEvent::HubEvent(_)));
    hub.disconnect_buyers(1);
    assert!(matches!(buyer.next().await, NextEvent::Lagged));
    assert!(matches!(other.next().await, NextEvent::HubEvent(_)));
    buyer.lagged().await;
}
