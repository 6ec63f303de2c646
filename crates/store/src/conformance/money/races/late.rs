//! Tests late payments that compete with other buyers for returned units. Each payment pays for its
//! order or is refunded once, and no unit is sold twice.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::task::JoinHandle;

use doorbuster_core::money::{Capture, CaptureOutcome, RefundCause};
use doorbuster_core::order::EndReason;
use doorbuster_core::{Counter, Grant, Order, OrderState, RecallId, RecallTarget, Ticket, Verdict};

use super::{WAVE, end, judge, tally, wave};
use crate::conformance::money::message;
use crate::conformance::{Fixture, HOLD_MS};
use crate::store::Store;

const ROUNDS: u64 = 12;

/// The slot of one wave, in the test's memory. The slot gives out each unit only once.
struct Slot {
    store: Store,
    grant: Grant,
    units: Mutex<u64>,
    /// The number of the newest recall from this slot.
    recall: AtomicU64,
    /// The number of payments for which the pool lacked units.
    lacked: AtomicU64,
}

impl Slot {
    /// Returns an empty slot for the wave with the number `at`. The number ensures that no two
    /// waves use the same recall number.
    fn new(fixture: &Fixture, grant: &Grant, at: u64) -> Self {
        let (store, grant) = (fixture.store.clone(), grant.clone());
        Self {
            store,
            grant,
            units: Mutex::new(0),
            recall: AtomicU64::new(at * 10_000),
            lacked: AtomicU64::new(0),
        }
    }

    fn give(&self, most: u64) -> u64 {
        let mut units = self.units.lock().expect("no holder of the lock panics");
        let given = most.min(*units);
        *units -= given;
        given
    }

    fn get(&self, units: u64) {
        *self.units.lock().expect("no holder of the lock panics") += units;
    }

    /// Handles a payment as a node does: it recalls the units that the pool lacks, and then
    /// captures the payment.
    async fn handle_payment(&self, report: Capture) -> CaptureOutcome {
        let first = self.store.capture(report.clone(), false).await.expect("writes");
        let CaptureOutcome::UnitsMissing { units, .. } = &first else { return first };
        self.lacked.fetch_add(1, Ordering::SeqCst);
        let id = RecallId(self.recall.fetch_add(1, Ordering::SeqCst) + 1);
        let begun = self
            .store
            .begin_recall(id, self.grant.id, RecallTarget::Pool, *units)
            .await
            .expect("writes");
        assert!(begun.is_some(), "a recall from an open grant must begin");
        let given = self.give(*units);
        assert_eq!(self.store.finish_recall(id, given).await.expect("writes"), given);
        self.store.capture(report, true).await.expect("writes")
    }

    /// Refills the slot with up to two returned units from the pool, and buys one unit. Returns
    /// false if the slot has no unit.
    async fn buy(&self, ticket: Arc<Ticket>) -> bool {
        self.get(self.store.refill(self.grant.id, 2, Counter::A).await.expect("writes"));
        if self.give(1) == 0 {
            return false;
        }
        let resolved = self.store.settle(vec![ticket]).await.expect("settles");
        assert_eq!(
            resolved[0].verdict,
            Verdict::Reserved,
            "the ticket for the slot's unit must become an order"
        );
        true
    }
}

fn pay(slot: &Arc<Slot>, report: &Capture) -> JoinHandle<CaptureOutcome> {
    let (slot, report) = (Arc::clone(slot), report.clone());
    tokio::spawn(async move { slot.handle_payment(report).await })
}

fn expire(store: &Store) -> JoinHandle<bool> {
    let store = store.clone();
    tokio::spawn(async move { store.expire_due(3).await.is_ok() })
}

/// Makes these calls concurrently: two reports of one payment, a cancellation, an expiry, and a
/// rival's purchase. `first` selects the call that starts first. Returns the order, the result of
/// each report, and whether the rival got a unit.
async fn fight(
    slot: Arc<Slot>,
    order: Order,
    rival: Arc<Ticket>,
    first: u64,
) -> (Order, Vec<CaptureOutcome>, bool) {
    let paid = message(&order, &format!("evt_{}", order.id), &format!("pay_{}", order.id));
    let (mut pays, mut ends, mut buys) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..4 {
        match (turn + first) % 4 {
            0 => ends.push(end(&slot.store, &order, EndReason::Cancel)),
            1 => pays.extend([pay(&slot, &paid), pay(&slot, &paid)]),
            2 => {
                let (slot, rival) = (Arc::clone(&slot), Arc::clone(&rival));
                buys.push(tokio::spawn(async move { slot.buy(rival).await }));
            }
            _ => ends.push(expire(&slot.store)),
        }
    }
    let captured = join_all(pays).await.into_iter().map(|task| task.expect("runs")).collect();
    let ended = join_all(ends).await.into_iter().map(|task| task.expect("runs"));
    assert!(ended.into_iter().all(|done| done), "each call must return an answer");
    let bought = join_all(buys).await.into_iter().map(|task| task.expect("runs"));
    (order, captured, bought.into_iter().any(|bought| bought))
}

/// Due orders are paid, cancelled and expired concurrently, while rivals buy returned units.
pub async fn late_payments_and_rivals_compete_for_returned_units(fixture: Fixture) {
    let (mut revived, mut refunded, mut lacked) = (0, 0, 0);
    for at in 0..ROUNDS {
        let grant = fixture.slot(WAVE * 2, WAVE * 2, 2).await;
        let orders = wave(&fixture, &grant, at).await;
        assert_eq!(orders.len() as u64, WAVE, "every unit must be held");
        fixture.clock.advance(HOLD_MS);
        let slot = Arc::new(Slot::new(&fixture, &grant, at));
        let fights = (1..).zip(orders).map(|(n, order)| {
            let rival =
                fixture.ticket(&grant, (at + 1) * WAVE + n, &format!("rival-{at}-{n}"), "k", 1);
            fight(Arc::clone(&slot), order, rival, at + n)
        });
        let (mut paid, mut held) = (0, 0);
        for (order, captured, bought) in join_all(fights).await {
            let repeated = captured.iter().filter(|c| **c == CaptureOutcome::Repeated).count();
            assert_eq!(repeated, 1, "one payment must have one effect: {captured:?}");
            let (state, after_all) = judge(&fixture, &order, &captured).await;
            let (pays, back) = tally(&captured);
            match (state, pays, &back[..]) {
                (OrderState::Paid, 1, []) => paid += order.units.to_u64(),
                (OrderState::Cancelled | OrderState::Expired, 0, [RefundCause::Late]) => {
                    refunded += 1
                }
                other => panic!("the payment must either pay or be refunded: {other:?}"),
            }
            revived += u64::from(after_all);
            held += u64::from(bought);
        }
        let c = fixture.counts(grant.slot.item).await;
        let in_slot = slot.give(u64::MAX);
        assert_eq!(
            (c.in_slots, c.held, c.paid),
            (in_slot, held, paid),
            "units (in slots, held, paid) differ"
        );
        fixture.check_invariants().await;
        lacked += slot.lacked.load(Ordering::SeqCst);
        // The rivals' orders expire here, so that no unit is held when the next wave begins.
        fixture.clock.advance(HOLD_MS);
        let expired = fixture.store.expire_due(WAVE as usize).await.expect("writes");
        assert_eq!(expired.len() as u64, held);
    }
    assert!(
        revived > 0 && refunded > 0 && lacked > 0,
        "{revived} orders revived, {refunded} payments refunded, {lacked} payments lacked units"
    );
}
