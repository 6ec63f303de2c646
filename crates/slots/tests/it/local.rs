//! Slots in memory: the conformance suite, and threads.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_core::rows::FeedCause;
use doorbuster_core::slot::{Applied, Bounds, Recalled, TicketAnswer};
use doorbuster_core::{Counter, Epoch, Feed, GrantId, ItemId, RecallId, Seq, SlotKey, Token};
use doorbuster_slots::{Done, Slots, Taken, conformance};

async fn slots(_test: &str) -> Slots {
    Slots::local(conformance::id_key(), Bounds::default())
}

crate::conforms!(slots);

/// Threads ask for more than there is while a settler takes and acknowledges: every unit is cut once, every ticket is delivered once.
#[test]
fn threads_share_a_slot_without_losing_or_inventing_a_unit() {
    const STOCK: u64 = 20_000;
    let slots = Slots::local(conformance::id_key(), Bounds::default());
    let slot = SlotKey { item: ItemId(1), index: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(slots.init(slot, conformance::terms(GrantId(1), Epoch(1), STOCK))).expect("local");
    let cut = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (slots, cut) = (slots.clone(), cut.clone());
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                for i in 0..8_000 {
                    let mut request =
                        conformance::request(&format!("b{}", i % 100), &format!("{thread}-{i}"), 1, 1_000_000);
                    request.token = Token(thread * 1_000_000 + i);
                    match runtime.block_on(slots.ticket(slot, &request)).expect("local") {
                        TicketAnswer::Cut(_) => drop(cut.fetch_add(1, Ordering::Relaxed)),
                        TicketAnswer::Short { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        let slots = slots.clone();
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let mut seen = vec![false; STOCK as usize + 1];
            let mut count = 0;
            while count < STOCK {
                let taken = runtime.block_on(slots.take(64)).expect("local");
                for t in &taken {
                    let n = t.delivery.ticket.n.0 as usize;
                    assert!(!seen[n], "delivered twice: {n}");
                    seen[n] = true;
                    count += 1;
                }
                let done: Vec<_> = taken
                    .iter()
                    .map(|t| Done { slot: t.slot, at: t.delivery.at, token: t.delivery.ticket.token })
                    .collect();
                runtime.block_on(slots.acknowledge(&done)).expect("local");
            }
        });
    });
    assert_eq!(cut.load(Ordering::Relaxed), STOCK);
    let view = runtime.block_on(slots.view(slot)).expect("local").expect("has an epoch");
    assert_eq!((view.available, view.unacknowledged, view.n.0), (0, 0, STOCK));
}

/// A thread at work, until it ends or panics.
struct Works<'a>(&'a AtomicU64);

impl Drop for Works<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// The same requests come by four threads at once, while units are brought and taken away and a settler works: a request has one ticket, a buyer no more than
/// the limit, and every unit is accounted for.
#[test]
fn threads_that_send_the_same_requests_get_one_ticket_for_each_and_keep_the_limit() {
    const BUYERS: u64 = 50;
    const KEYS: u64 = 40;
    const LIMIT: u32 = 25;
    const STEPS: u64 = 400;
    const GRANT: GrantId = GrantId(1);
    const EPOCH: Epoch = Epoch(1);
    let slots = Slots::local(conformance::id_key(), Bounds { recalls: STEPS as usize, ..Bounds::default() });
    let slot = SlotKey { item: ItemId(1), index: 0 };
    let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime().block_on(slots.init(slot, conformance::terms(GRANT, EPOCH, 100))).expect("local");
    let (cut, working) = (AtomicU64::new(0), AtomicU64::new(5));
    let (mut recalled, mut taken) = (0, Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (slots, cut, working) = (&slots, &cut, &working);
            scope.spawn(move || {
                let _works = Works(working);
                let runtime = runtime();
                // Twice each, so that what was refused is asked for again.
                for i in (0..BUYERS * KEYS).chain(0..BUYERS * KEYS) {
                    let (buyer, key) = (format!("b{}", i % BUYERS), format!("k{}", i / BUYERS));
                    let mut request = conformance::request(&buyer, &key, 1, LIMIT);
                    request.token = Token(thread << 32 | cut.load(Ordering::Relaxed) << 16 | i);
                    match runtime.block_on(slots.ticket(slot, &request)).expect("local") {
                        TicketAnswer::Cut(_) => drop(cut.fetch_add(1, Ordering::Relaxed)),
                        TicketAnswer::Again(_) | TicketAnswer::Short { .. } => {}
                        TicketAnswer::LimitReached { used } => assert_eq!(used, LIMIT),
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        scope.spawn(|| {
            let _works = Works(&working);
            let runtime = runtime();
            for step in 1..=STEPS {
                let row = Feed {
                    grant: GRANT,
                    seq: Seq(step),
                    ticket: None,
                    buyer: None,
                    key: None,
                    units: 5,
                    counter: Counter::A,
                    quota_delta: 0,
                    cause: FeedCause::Refill,
                };
                let applied = runtime.block_on(slots.apply(slot, EPOCH, &[row])).expect("local");
                assert_eq!(applied, Applied::At(Seq(step)));
                match runtime.block_on(slots.recall(slot, RecallId(step), GRANT, EPOCH, 2)).expect("local") {
                    Recalled::Taken(units) => recalled += units,
                    Recalled::Refused => panic!("it has room for {STEPS}"),
                }
            }
        });
        scope.spawn(|| {
            let runtime = runtime();
            while working.load(Ordering::Acquire) > 0 || (taken.len() as u64) < cut.load(Ordering::Acquire) {
                // A ticket may be taken before it is counted.
                if taken.len() as u64 >= cut.load(Ordering::Acquire) {
                    std::thread::yield_now();
                    continue;
                }
                let batch = runtime.block_on(slots.take(64)).expect("local");
                let done = |t: &Taken| Done { slot: t.slot, at: t.delivery.at, token: t.delivery.ticket.token };
                runtime.block_on(slots.acknowledge(&batch.iter().map(done).collect::<Vec<_>>())).expect("local");
                taken.extend(batch.into_iter().map(|t| t.delivery.ticket));
            }
        });
    });
    let mut requests = HashSet::new();
    let mut used = HashMap::<_, u32>::new();
    for ticket in &taken {
        assert!(requests.insert((&ticket.buyer, &ticket.key)), "one ticket for each request: {ticket:?}");
        *used.entry(&ticket.buyer).or_default() += ticket.units.get();
    }
    assert!(used.values().all(|&used| used <= LIMIT), "{used:?}");
    let view = runtime().block_on(slots.view(slot)).expect("local").expect("has an epoch");
    assert_eq!((view.unacknowledged, view.n.0), (0, taken.len() as u64));
    assert_eq!(view.available + taken.len() as u64 + recalled, 100 + 5 * STEPS, "every unit is accounted for");
    assert!(recalled > 0 && taken.len() > 100, "{recalled} recalled, {} cut", taken.len());
}
