//! Tests slots in memory with the conformance suite, and with concurrent threads.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorbuster_core::rows::FeedCause;
use doorbuster_core::slot::{ApplyOutcome, RecallOutcome, SlotBounds, TicketAnswer};
use doorbuster_core::{
    Counter, Epoch, FeedRow, GrantId, ItemId, RecallId, Seq, SlotKey, Ticket, Token,
};
use doorbuster_slots::{DequeuedTicket, Slots, conformance};

async fn slots(_test: &str) -> Slots {
    Slots::local(conformance::id_key(), SlotBounds::default())
}

crate::conforms!(slots);

/// Several threads request more units than the slot has, while a settler takes and acknowledges
/// tickets. Every unit must be issued once, and every ticket must be delivered once.
#[test]
fn threads_that_share_a_slot_issue_every_unit_once() {
    const STOCK: u64 = 20_000;
    let slots = Slots::local(conformance::id_key(), SlotBounds::default());
    let slot = SlotKey { item: ItemId(1), index: 0 };
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime
        .block_on(slots.init(slot, conformance::terms(GrantId(1), Epoch(1), STOCK)))
        .expect("local");
    let issued = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (slots, issued) = (slots.clone(), issued.clone());
            scope.spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                for i in 0..8_000 {
                    let mut request = conformance::request(
                        &format!("b{}", i % 100),
                        &format!("{thread}-{i}"),
                        1,
                        1_000_000,
                    );
                    request.token = Token(thread * 1_000_000 + i);
                    match runtime.block_on(slots.ticket(slot, &request)).expect("local") {
                        TicketAnswer::Issued(_) => drop(issued.fetch_add(1, Ordering::Relaxed)),
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
                    assert!(!seen[n], "ticket {n} was delivered twice");
                    seen[n] = true;
                    count += 1;
                }
                let done: Vec<_> = taken.iter().map(DequeuedTicket::delivery_ref).collect();
                runtime.block_on(slots.acknowledge(&done)).expect("local");
            }
        });
    });
    assert_eq!(issued.load(Ordering::Relaxed), STOCK);
    let view = runtime.block_on(slots.view(slot)).expect("local").expect("the slot has an epoch");
    assert_eq!((view.available, view.unacknowledged, view.n.0), (0, 0, STOCK));
}

/// An issued ticket must be delivered within this time.
const TAKE_MAX: Duration = Duration::from_secs(30);

/// Counts a thread as working. The thread drops this value when it ends or panics, and then no
/// longer counts.
struct RunningThread<'a>(&'a AtomicU64);

impl Drop for RunningThread<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

struct ContendedSlot {
    slots: Slots,
    slot: SlotKey,
    issued: AtomicU64,
    /// The number of threads that may still change the slot.
    working: AtomicU64,
}

impl ContendedSlot {
    const BUYERS: u64 = 50;
    const KEYS: u64 = 40;
    const LIMIT: u32 = 25;
    const STOCK: u64 = 100;
    const STEPS: u64 = 400;
    const REFILL: u64 = 5;
    const GRANT: GrantId = GrantId(1);
    const EPOCH: Epoch = Epoch(1);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers")
    }

    /// Sends all requests twice, so that refused requests are also repeated.
    fn ask(&self, thread: u64) {
        let _running = RunningThread(&self.working);
        let runtime = Self::runtime();
        for i in (0..Self::BUYERS * Self::KEYS).chain(0..Self::BUYERS * Self::KEYS) {
            let (buyer, key) = (format!("b{}", i % Self::BUYERS), format!("k{}", i / Self::BUYERS));
            let mut request = conformance::request(&buyer, &key, 1, Self::LIMIT);
            request.token = Token(thread << 32 | self.issued.load(Ordering::Relaxed) << 16 | i);
            match runtime.block_on(self.slots.ticket(self.slot, &request)).expect("local") {
                TicketAnswer::Issued(_) => drop(self.issued.fetch_add(1, Ordering::Relaxed)),
                TicketAnswer::Repeated(_) | TicketAnswer::Short { .. } => {}
                TicketAnswer::LimitReached { used } => assert_eq!(used, Self::LIMIT),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Repeatedly refills the slot with some units and recalls some units. Returns the number of
    /// recalled units.
    fn refill_and_recall(&self) -> u64 {
        let _running = RunningThread(&self.working);
        let runtime = Self::runtime();
        let mut recalled = 0;
        for step in 1..=Self::STEPS {
            let row = FeedRow {
                grant: Self::GRANT,
                seq: Seq(step),
                ticket: None,
                buyer: None,
                key: None,
                units: Self::REFILL,
                counter: Counter::A,
                quota_delta: 0,
                cause: FeedCause::Refill,
            };
            let applied =
                runtime.block_on(self.slots.apply(self.slot, Self::EPOCH, &[row])).expect("local");
            assert_eq!(applied, ApplyOutcome::At(Seq(step)));
            let recall = self.slots.recall(self.slot, RecallId(step), Self::GRANT, Self::EPOCH, 2);
            match runtime.block_on(recall).expect("local") {
                RecallOutcome::Taken(units) => recalled += units,
                RecallOutcome::Refused => panic!("the slot must remember this many recalls"),
            }
        }
        recalled
    }

    /// Takes and acknowledges tickets until the other threads end and every issued ticket is taken.
    fn settle(&self) -> Vec<Arc<Ticket>> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut taken = Vec::new();
        while self.working.load(Ordering::Acquire) > 0
            || (taken.len() as u64) < self.issued.load(Ordering::Acquire)
        {
            // A thread counts a ticket in `issued` only after the slot has issued the ticket. So
            // `taken` may already contain tickets that `issued` does not count yet.
            if taken.len() as u64 >= self.issued.load(Ordering::Acquire) {
                std::thread::yield_now();
                continue;
            }
            let take = runtime
                .block_on(async { tokio::time::timeout(TAKE_MAX, self.slots.take(64)).await });
            let batch = take.expect("every issued ticket is delivered").expect("local");
            let done: Vec<_> = batch.iter().map(DequeuedTicket::delivery_ref).collect();
            runtime.block_on(self.slots.acknowledge(&done)).expect("local");
            taken.extend(batch.into_iter().map(|t| t.delivery.ticket));
        }
        taken
    }
}

/// While threads send requests, another thread adds and recalls units, and a settler takes tickets.
/// No buyer may exceed the limit, and no unit may be lost.
#[test]
fn threads_that_send_the_same_requests_get_one_ticket_for_each_and_keep_the_limit() {
    let bounds = SlotBounds { recalls: ContendedSlot::STEPS as usize, ..SlotBounds::default() };
    let contended = ContendedSlot {
        slots: Slots::local(conformance::id_key(), bounds),
        slot: SlotKey { item: ItemId(1), index: 0 },
        issued: AtomicU64::new(0),
        working: AtomicU64::new(5),
    };
    let ContendedSlot { slots, slot, .. } = &contended;
    let terms =
        conformance::terms(ContendedSlot::GRANT, ContendedSlot::EPOCH, ContendedSlot::STOCK);
    ContendedSlot::runtime().block_on(slots.init(*slot, terms)).expect("local");
    let (taken, recalled) = std::thread::scope(|scope| {
        let buyers: Vec<_> = (0..4).map(|thread| (thread, &contended)).collect();
        for (thread, contended) in buyers {
            scope.spawn(move || contended.ask(thread));
        }
        let refills = scope.spawn(|| contended.refill_and_recall());
        let settler = scope.spawn(|| contended.settle());
        (settler.join().expect("no panic"), refills.join().expect("no panic"))
    });
    let mut requests = HashSet::new();
    let mut used = HashMap::<_, u32>::new();
    for ticket in &taken {
        assert!(
            requests.insert((&ticket.buyer, &ticket.key)),
            "a request got a second ticket: {ticket:?}"
        );
        *used.entry(&ticket.buyer).or_default() += ticket.units.get();
    }
    assert!(used.values().all(|&used| used <= ContendedSlot::LIMIT), "{used:?}");
    let (view, issued) =
        (ContendedSlot::runtime().block_on(slots.view(*slot)).expect("local"), taken.len() as u64);
    let view = view.expect("the slot has an epoch");
    assert_eq!((view.unacknowledged, view.n.0), (0, issued));
    let units = ContendedSlot::STOCK + ContendedSlot::REFILL * ContendedSlot::STEPS;
    assert_eq!(view.available + issued + recalled, units, "the units must add up");
    assert!(recalled > 0 && issued >= ContendedSlot::STOCK, "{recalled} recalled, {issued} issued");
}
