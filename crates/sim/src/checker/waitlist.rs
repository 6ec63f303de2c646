//! Checks waitlists with the checker's own list. The buyer who joined first must be served first.
//! No other buyer can get the units that are kept for the waitlist.
use doorbuster_core::event::Attribution;
use doorbuster_core::model::Model;
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::waitlist::{
    JoinOutcome, JoinRequest, LeaveOutcome, WaitlistEnded, WaitlistServed,
};
use doorbuster_core::{
    ItemId, Millis, Order, OrderState, Phase, Stock, TicketId, Units, Verdict, WaitlistState,
};

use super::Checker;
use super::records::{SeenTicket, WaitingBuyer};
use super::rows::number_in_name;
use super::rows_before::RowsBefore;
use crate::request::{BuyerRequest, RequestNumbers};
use crate::store::{SimStore, Tx, TxResult};

/// The longest payment window of an order from a waitlist, in milliseconds.
const WINDOW_MS: i64 = 300_000;
/// The largest number of entries that one transaction can serve or end.
const AT_ONCE: usize = 100;

fn is_active(order: &Order) -> bool {
    matches!(order.state, OrderState::Reserved | OrderState::Paid)
}

/// Returns the units in an item's reserved orders. These units return to the pool if the orders are
/// not paid.
fn reserved(model: &Model, item: ItemId) -> u64 {
    let waits = |o: &&Order| o.item == item && o.state == OrderState::Reserved;
    model.orders.values().filter(waits).map(|o| o.units.to_u64()).sum()
}

fn units(model: &Model, item: ItemId, buyer: u8) -> u32 {
    let holds =
        |o: &&Order| o.item == item && is_active(o) && number_in_name(o.buyer.as_str()) == buyer;
    model.orders.values().filter(holds).map(|o| o.units.get()).sum()
}

impl Checker {
    pub(super) fn is_waitlist_id(&self, id: &TicketId) -> bool {
        self.waitlists.ended.contains_key(id) || self.waitlists.waiting.iter().any(|s| s.id == *id)
    }

    pub(crate) fn has_waiting(&self, item: ItemId) -> bool {
        self.waitlists.for_item(item).next().is_some()
    }

    pub(super) fn waitlist(
        &mut self,
        store: &SimStore,
        tx: &Tx,
        done: &TxResult,
        before: &RowsBefore,
        now: Millis,
    ) {
        match (tx, done) {
            (Tx::Join(item, joiner, _), TxResult::JoinOutcome(joined)) => {
                self.joined(store, *item, joiner, joined, before)
            }
            (Tx::Leave(id, _), TxResult::LeaveOutcome(left)) => self.left(id, left),
            (Tx::Serve(item, _), TxResult::Served(served)) => {
                self.served(store, *item, served, before, now)
            }
            (Tx::EndWaitlist(item, _), TxResult::WaitlistEnded(ended)) => {
                self.ended_with_sale(store, *item, ended)
            }
            (Tx::End(id, EndReason::Cancel, by, _), TxResult::Ended(ChangeOutcome::Done(_)))
                if by != Attribution::BUYER =>
            {
                self.waitlists.cancelled_by_others.insert(*id);
            }
            (Tx::Force(id, ..), TxResult::Forced(Some(_))) => {
                let waits = self.waitlists.waiting.iter().any(|s| s.id == *id);
                self.check(!waits, "waitlist", || {
                    format!("waiting entry {id} got a forced verdict")
                });
            }
            (Tx::Open(slot, ..), TxResult::Opened(Some(_))) => {
                self.kept_back(store, slot.item, before)
            }
            (Tx::Refill(..), TxResult::Moved(1..)) => {
                if let Some(item) = before.item.as_ref().map(|item| item.id) {
                    self.kept_back(store, item, before);
                }
            }
            _ => {}
        }
        self.waitlist_rows(store);
    }

    /// Checks that a new grant or a refill left one unit in the pool for each waiting entry.
    fn kept_back(&mut self, store: &SimStore, item: ItemId, before: &RowsBefore) {
        let (Some(was), Some(is)) = (&before.item, store.model.items.get(&item)) else { return };
        let kept = was.pool.min(self.waitlists.for_item(item).count() as u64);
        self.check(is.pool >= kept, "waitlist", || {
            format!(
                "the pool has {} of its {} units left, but must keep {kept} units for the waitlist",
                is.pool, was.pool
            )
        });
        if kept > 0 && is.pool < was.pool {
            self.count_case("refilled beside a waitlist");
        }
    }

    fn joined(
        &mut self,
        store: &SimStore,
        item: ItemId,
        joiner: &JoinRequest,
        joined: &JoinOutcome,
        before: &RowsBefore,
    ) {
        let who = (number_in_name(joiner.buyer.as_str()), number_in_name(joiner.key.as_str()));
        let (Some(row), places) = (&before.item, self.waitlists.for_item(item).count() as u64)
        else {
            return;
        };
        let stands = self.waitlists.for_item(item).find(|s| s.who.0 == who.0).map(|s| s.id);
        let order = self.requests.get(&who).copied();
        let free = row.pool - row.pool.min(places) + before.in_slots;
        let shown = store.phases.get(&item).map(|p| p.shown);
        let expected = match (stands, order) {
            (Some(id), _) => format!("already {id}"),
            (None, Some(id))
                if store.model.orders[&id].item == item
                    && store.model.orders[&id].units == Units::ONE =>
            {
                format!("order {id}")
            }
            (None, Some(_)) => "key reused".into(),
            _ if shown != Some(Phase::Open) => "not on sale".into(),
            _ if row.total == Stock::Unlimited || free > 0 => "units free".into(),
            _ if row.total == Stock::Counted(row.paid) => "sold out".into(),
            _ if let Some(id) = self.entry_without_payment(&store.model, item, who.0) => {
                format!("lapsed {id}")
            }
            _ if units(&store.model, item, who.0) >= row.limit => "limit reached".into(),
            _ if places
                >= joiner.entries_max.min(reserved(&store.model, item) + row.pool.min(places)) =>
            {
                "full".into()
            }
            _ => "an entry".into(),
        };
        let outcome = match joined {
            JoinOutcome::Done(_) => "an entry".into(),
            JoinOutcome::Already(entry) => format!("already {}", entry.id),
            JoinOutcome::Order(order) => format!("order {}", order.id),
            JoinOutcome::KeyReused => "key reused".into(),
            JoinOutcome::NotOnSale => "not on sale".into(),
            JoinOutcome::UnitsFree => "units free".into(),
            JoinOutcome::SoldOut => "sold out".into(),
            JoinOutcome::Lapsed(order) => format!("lapsed {}", order.id),
            JoinOutcome::LimitReached => "limit reached".into(),
            JoinOutcome::Full => "full".into(),
            JoinOutcome::NotFound => String::new(),
        };
        self.check(outcome == expected, "waitlist", || {
            format!("{joiner:?} received the answer {outcome:?} instead of {expected:?}")
        });
        self.count_case(match joined {
            JoinOutcome::Done(_) if self.cancelled_by_operator(item, who.0, &store.model) => {
                "joined a waitlist again"
            }
            JoinOutcome::Done(_) => "joined a waitlist",
            JoinOutcome::Already(_) => "in the waitlist already",
            JoinOutcome::Full if places >= joiner.entries_max => "waitlist full",
            JoinOutcome::Full => "waitlist with an entry for each unit that may return",
            JoinOutcome::Lapsed(_) => "served before without a payment",
            JoinOutcome::UnitsFree => "units free, no waitlist",
            _ => "joined no waitlist",
        });
        if let JoinOutcome::Done(entry) = joined {
            self.waitlists.waiting.push(WaitingBuyer { id: entry.id, item, who });
            self.watch_entry(store, entry.id, item, who);
        }
    }

    /// Records a new waitlist entry. From then on, the checker treats the entry's id like the id of
    /// a ticket for one unit.
    fn watch_entry(&mut self, store: &SimStore, id: TicketId, item: ItemId, who: RequestNumbers) {
        let purchase = BuyerRequest {
            node: 0,
            buyer: who.0,
            key: who.1,
            item,
            units: Units::ONE,
            door: None,
            began: store.version,
            attempt: usize::MAX,
        };
        let (version, grant) = (store.version, id.parts().map(|p| p.grant).unwrap_or_default());
        self.issued.insert(id, SeenTicket { purchase, units: Units::ONE, grant, version });
        self.tickets.entry(who).or_default().push(id);
    }

    /// Returns the buyer's first served entry that was not paid: its order expired, or the buyer
    /// cancelled it.
    fn entry_without_payment(&self, model: &Model, item: ItemId, buyer: u8) -> Option<TicketId> {
        let own = |o: &&Order| match o.state {
            OrderState::Expired => true,
            OrderState::Cancelled => !self.waitlists.cancelled_by_others.contains(&o.id),
            _ => false,
        };
        let is_of_buyer = |o: &&Order| o.item == item && number_in_name(o.buyer.as_str()) == buyer;
        let served = |o: &&Order| self.waitlists.ended.get(&o.id) == Some(&WaitlistState::Served);
        let lapsed = model.orders.values().filter(is_of_buyer).filter(own).filter(served);
        lapsed.min_by_key(|o| o.n).map(|o| o.id)
    }

    /// Returns whether an operator cancelled an order that the buyer got from the waitlist.
    fn cancelled_by_operator(&self, item: ItemId, buyer: u8, model: &Model) -> bool {
        let taken = |id: &TicketId| {
            model
                .orders
                .get(id)
                .is_some_and(|o| o.item == item && number_in_name(o.buyer.as_str()) == buyer)
        };
        let mut away = self
            .waitlists
            .cancelled_by_others
            .iter()
            .filter(|id| self.waitlists.ended.get(*id) == Some(&WaitlistState::Served));
        away.any(taken)
    }

    fn end(&mut self, id: &TicketId, state: WaitlistState, how: &'static str) {
        let at = self.waitlists.waiting.iter().position(|s| s.id == *id);
        let Some(at) = at else {
            return self.record_finding("waitlist", || {
                format!("entry {id} changed to {}, but did not wait before", state.as_str())
            });
        };
        self.waitlists.waiting.remove(at);
        self.waitlists.ended.insert(*id, state);
        self.count_case(how);
    }

    fn left(&mut self, id: &TicketId, left: &LeaveOutcome) {
        let stands = self.waitlists.waiting.iter().any(|s| s.id == *id);
        match left {
            LeaveOutcome::Done(_) => self.end(id, WaitlistState::Left, "left"),
            LeaveOutcome::Already(entry) => {
                let ended = self.waitlists.ended.get(id).copied();
                self.check(ended == Some(entry.state), "waitlist", || {
                    format!("the store returned {entry:?}, but the checker has {ended:?}")
                });
            }
            LeaveOutcome::NotFound => {
                self.check(!stands, "waitlist", || format!("the waiting entry {id} was not found"))
            }
        }
    }

    /// Checks that the pool's units went to the first buyers who may get a unit, in the order of
    /// joining.
    fn served(
        &mut self,
        store: &SimStore,
        item: ItemId,
        served: &WaitlistServed,
        before: &RowsBefore,
        now: Millis,
    ) {
        let Some(row) = &before.item else { return };
        let on = store.phases.get(&item).is_some_and(|p| p.shown == Phase::Open);
        let mut pool = row.pool;
        let (mut orders, mut passed) = (Vec::new(), Vec::new());
        let first: Vec<_> =
            self.waitlists.for_item(item).take(AT_ONCE.min(pool as usize)).copied().collect();
        for entry in first.into_iter().filter(|_| on) {
            // The store's rows already include this entry's new order. The order's unit must not
            // count here.
            let new = |o: &&Order| o.id == entry.id && is_active(o);
            let held = units(&store.model, item, entry.who.0)
                - store.model.orders.values().find(new).map_or(0, |o| o.units.get());
            match held >= row.limit || self.requests.contains_key(&entry.who) {
                true => passed.push(entry.id),
                false => {
                    pool -= 1;
                    orders.push(entry.id);
                }
            }
        }
        let ids: Vec<_> = served.orders.iter().map(|o| o.id).collect();
        let over: Vec<_> = served.passed_over.iter().map(|p| p.id).collect();
        self.check(ids == orders && over == passed, "waitlist", || {
            format!(
                "the waitlist served {ids:?} instead of {orders:?}, and skipped {over:?} instead \
                 of {passed:?}"
            )
        });
        let left = store.model.items.get(&item).map(|i| i.pool);
        self.check(left == Some(pool), "waitlist", || {
            format!("the pool has {left:?} units instead of {pool}; before, it had {}", row.pool)
        });
        for order in &served.orders {
            let window = row.hold_ms.min(WINDOW_MS);
            let right = order.units == Units::ONE
                && order.reserved_at == now
                && order.pay_by == now.plus(window);
            self.check(right, "waitlist", || {
                format!("{order:?} must have one unit and a payment window of {window} ms")
            });
            self.end(&order.id, WaitlistState::Served, "served");
        }
        over.iter().for_each(|id| self.end(id, WaitlistState::PassedOver, "passed_over"));
    }

    /// Checks that entries end in the order of joining, and only after the end of their sale.
    fn ended_with_sale(&mut self, store: &SimStore, item: ItemId, ended: &WaitlistEnded) {
        let is_over = store.phases.get(&item).is_some_and(|p| p.shown == Phase::Closed);
        let waiting: Vec<_> =
            self.waitlists.for_item(item).map(|s| s.id).filter(|_| is_over).collect();
        let expected: Vec<_> = waiting.iter().take(AT_ONCE).copied().collect();
        let ids: Vec<_> = ended.entries.iter().map(|p| p.id).collect();
        let right = ids == expected && ended.more == (waiting.len() > expected.len());
        self.check(right, "waitlist", || {
            format!(
                "the store ended the entries {ids:?} of item {item} with their sale; it must end \
                 {expected:?}; the reported `more` is {}",
                ended.more
            )
        });
        ids.iter().for_each(|id| self.end(id, WaitlistState::PassedOver, "ended with its sale"));
    }

    /// Checks that the rows match the checker's list, and that each ended entry has its order or
    /// refusal.
    fn waitlist_rows(&mut self, store: &SimStore) {
        let model = &store.model;
        for item in model.items.values() {
            let waiting = self.waitlists.for_item(item.id).count() as u64;
            self.check(item.waiting == waiting, "waitlist", || {
                format!("the item's counter is {}, but {waiting} entries wait", item.waiting)
            });
        }
        self.check(
            model.waitlist.len() == self.waitlists.waiting.len() + self.waitlists.ended.len(),
            "waitlist",
            || "an entry was deleted, or added without a request".into(),
        );
        for entry in model.waitlist.values() {
            let state =
                self.waitlists.ended.get(&entry.id).copied().unwrap_or(WaitlistState::Waiting);
            let (sold, refused) =
                (model.orders.contains_key(&entry.id), model.resolutions.contains_key(&entry.id));
            let right = match state {
                WaitlistState::Waiting => !sold && !refused && entry.ended_at.is_none(),
                WaitlistState::Served => sold && !refused,
                WaitlistState::Left | WaitlistState::PassedOver => refused && !sold,
            };
            self.check(entry.state == state && right, "waitlist", || {
                format!(
                    "{entry:?} must be {state:?}; order exists: {sold}; refusal exists: \
                     {refused}"
                )
            });
        }
    }

    pub(crate) fn answered_waiting(&mut self, id: &TicketId) {
        let waits = self.waitlists.waiting.iter().any(|s| s.id == *id);
        self.check(waits, "waitlist", || format!("{id} is reported as waiting, but does not wait"));
        self.count_case("answered waiting");
    }

    /// Notes the answer that an entry ended with its sale. The entry must never become an order.
    pub(crate) fn answered_sale_ended(&mut self, id: &TicketId) {
        let first = *self.reported.entry(*id).or_insert(Verdict::Unavailable);
        self.check(first == Verdict::Unavailable, "I8", || {
            format!("entry {id} was reported as {first:?}, and later as ended with its sale")
        });
        self.count_case("answered that the sale has ended");
    }

    /// Checks that no entry waits at the end if the pool has units or the sale has ended.
    pub(crate) fn waitlists_at_rest(&mut self, store: &SimStore) {
        for item in store.model.items.values() {
            let shown = store.phases.get(&item.id).map(|p| p.shown);
            let on = shown == Some(Phase::Open);
            let waits = self.waitlists.for_item(item.id).count();
            self.check(shown != Some(Phase::Closed) || waits == 0, "waitlist", || {
                format!("{waits} entries wait for item {}, but its sale has ended", item.id)
            });
            self.check(!on || waits == 0 || item.pool == 0, "waitlist", || {
                format!(
                    "{waits} entries wait for item {}, but its pool has {} units",
                    item.id, item.pool
                )
            });
        }
    }
}
