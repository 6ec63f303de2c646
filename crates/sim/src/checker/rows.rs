//! Adds up the store's rows after each commit, and checks the invariants I1, I2, I4 and I7. Also
//! finds changes that the commit was not allowed to make.
use doorbuster_core::event::EventType;
use doorbuster_core::model::Model;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{
    CloseCause, ItemId, Millis, OrderState, Phase, RecallTarget, SlotKey, Stock, Verdict,
    WaitlistEntry, WaitlistState,
};

use super::Checker;
use super::records::{CommitState, ItemCounts, SeenOrder};
use super::rows_before::RowsBefore;
use crate::names::BUYERS_ALL;
use crate::store::{SimStore, Tx, TxResult};

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    in_slots: u64,
    reserved: u64,
    paid: u64,
    ended: u64,
    held_by: [u32; BUYERS_ALL],
}

pub(super) fn item_index(item: ItemId) -> usize {
    item.0 as usize - 1
}

/// Returns the number in a name such as `b07`.
pub(super) fn number_in_name(name: &str) -> u8 {
    name.bytes().filter(u8::is_ascii_digit).fold(0, |acc, b| acc * 10 + (b - b'0'))
}

fn sums(model: &Model) -> [Sums; 2] {
    let mut all = [Sums::default(); 2];
    for grant in model.grants.values().filter(|g| g.open && g.counted) {
        let in_slots = &mut all[item_index(grant.slot.item)].in_slots;
        *in_slots = in_slots.wrapping_add(grant.granted.wrapping_sub(grant.settled));
    }
    for order in model.orders.values() {
        let sums = &mut all[item_index(order.item)];
        let units = u64::from(order.units.get());
        match order.state {
            OrderState::Reserved => sums.reserved += units,
            OrderState::Paid => sums.paid += units,
            _ => sums.ended += units,
        }
        if matches!(order.state, OrderState::Reserved | OrderState::Paid) {
            sums.held_by[usize::from(number_in_name(order.buyer.as_str()))] += order.units.get();
        }
    }
    all
}

impl Checker {
    /// Checks one commit. `before` has the rows that the commit used, as they were before the
    /// commit.
    pub(crate) fn committed(
        &mut self,
        store: &SimStore,
        (tx, done): (&Tx, &TxResult),
        before: &RowsBefore,
        at: (Millis, Millis),
    ) {
        let (now, mono) = at;
        let model = &store.model;
        let phases = [1, 2].map(|i| store.phases.get(&ItemId(i)).map_or(Phase::Draft, |p| p.shown));
        self.record_commit(model, store.version, mono, phases);
        match tx {
            Tx::Intend(item, phase) => {
                self.stopping[item_index(*item)] = Some((*phase, store.version))
            }
            Tx::Show(item, intent) if *done == TxResult::Closed(true) => {
                self.shown(store, *item, *intent)
            }
            Tx::MoveStart(item, at) => self.starts_at[item_index(*item)] = Some(*at),
            Tx::TakeStep(item, _) if *done == TxResult::Closed(true) => self.opened(*item, mono),
            _ => {}
        }
        self.waitlist(store, tx, done, before, now);
        self.grants(model);
        self.orders(store, now);
        self.money(store, (tx, done), before);
        if let (Tx::RecordReversal(report, _), TxResult::Reversal(outcome)) = (tx, done) {
            self.reversal(store, report, *outcome, before);
        }
        self.events(store, tx, before);
        match done {
            TxResult::Settled(all) => all.iter().for_each(|r| self.resolved(store, r)),
            TxResult::Forced(Some(resolved)) => {
                if let (true, Tx::Force(id, parts, ..)) = (resolved.fresh, tx) {
                    self.check(now > parts.decide_by, "I8", || {
                        format!("ticket {id} got a forced verdict before its decide_by")
                    });
                }
                self.resolved(store, resolved);
            }
            _ => {}
        }
        if let Tx::RecallFinish(..) = tx {
            self.recalled(model, done);
        }
    }

    /// Records the sums of this commit. Checks the invariants I1, I2 and I4, and the counters in
    /// the rows.
    pub(super) fn record_commit(
        &mut self,
        model: &Model,
        version: u64,
        at: Millis,
        phases: [Phase; 2],
    ) {
        let mut items = [ItemCounts::default(); 2];
        for (sums, item) in sums(model).iter().zip(model.items.values()) {
            let active = sums.reserved + sums.paid;
            let counted = match item.total {
                Stock::Counted(total) => Some(total),
                Stock::Unlimited => None,
            };
            if let Some(total) = counted {
                self.check(active <= total, "I1", || {
                    format!("active orders have {active} units, but the total is {total}")
                });
                let all = item.pool.wrapping_add(sums.in_slots).wrapping_add(active);
                self.check(all == total, "I2", || {
                    format!(
                        "total {total} ≠ pool {} + in slots {} + active {active}",
                        item.pool, sums.in_slots
                    )
                });
            }
            let carried = item.paid == sums.paid && item.ended == sums.ended;
            self.check(carried, "I2", || {
                format!(
                    "the item's counters say {} paid units and {} ended units, but its orders \
                     have {} paid units and {} ended units",
                    item.paid, item.ended, sums.paid, sums.ended
                )
            });
            let waits = |p: &&WaitlistEntry| p.item == item.id && p.state == WaitlistState::Waiting;
            let kept = item.pool.min(model.waitlist.values().filter(waits).count() as u64);
            let free = counted.map(|_| (item.pool - kept).wrapping_add(sums.in_slots));
            items[item_index(item.id)] = ItemCounts {
                free,
                reserved: sums.reserved + kept,
                limit: item.limit,
                held_by: sums.held_by,
            };
            for ((of, buyer), &used) in &model.quotas {
                let held = sums.held_by[usize::from(number_in_name(buyer.as_str()))];
                if *of == item.id {
                    self.check(used == held && used <= item.limit, "I4", || {
                        format!(
                            "buyer {buyer} has a quota of {used} units and holds {held} units; \
                             the limit is {}",
                            item.limit
                        )
                    });
                }
            }
            for (buyer, &held) in sums.held_by.iter().enumerate() {
                self.check(held <= item.limit, "I4", || {
                    format!("buyer {buyer} holds {held} units, but the limit is {}", item.limit)
                });
            }
        }
        self.history.push(CommitState { version, at, items, phases });
    }

    /// Checks the invariant I7 of `docs/protocol.md`, and the values of each grant's row.
    fn grants(&mut self, model: &Model) {
        for grant in model.grants.values() {
            let (id, granted, settled) = (grant.id, grant.granted, grant.settled);
            self.check(!grant.counted || settled <= granted, "I2", || {
                format!(
                    "grant {id} has {settled} settled units, but only {granted} units were \
                     granted"
                )
            });
            let Some(cause) = grant.closed else { continue };
            // Closing a grant returns its unused units to the pool. So its feed, which adds units,
            // must not grow any more.
            if let Some(&len) = self.closed.get(&id) {
                self.check(len == grant.feed_len, "feed", || {
                    format!("the closed grant {id} got a new feed row")
                });
                continue;
            }
            self.closed.insert(id, grant.feed_len);
            if grant.slot.index == SlotKey::WAITLIST {
                let never = !grant.open && !grant.acked && grant.feed_len.0 == 0;
                self.check(never && cause == CloseCause::Waitlist, "waitlist", || {
                    format!("invalid waitlist grant {grant:?}")
                });
                continue;
            }
            self.count_case(cause.as_str());
            let fault =
                !matches!(cause, CloseCause::Ended | CloseCause::Rolled | CloseCause::LeaseLapsed);
            self.check(!fault || self.is_faulty(id), "I7", || {
                format!(
                    "the slot of grant {id} had no fault, but the grant was closed with cause {}",
                    cause.as_str()
                )
            });
        }
        let mut open: Vec<_> = model.grants.values().filter(|g| g.open).map(|g| g.slot).collect();
        open.sort_unstable();
        self.check(open.windows(2).all(|w| w[0] != w[1]), "I2", || {
            "a slot has two open grants".into()
        });
    }

    fn orders(&mut self, store: &SimStore, now: Millis) {
        for order in store.model.orders.values() {
            match self.orders.get(&order.id).map(|h| h.state) {
                None => self.order_appeared(store, order),
                Some(before) if before == order.state => self.pay_by_changed(order),
                Some(before) => {
                    use OrderState::{Cancelled, Expired, Paid, Refunded, Reserved};
                    let may = matches!(
                        (before, order.state),
                        (Reserved, Paid | Cancelled | Expired)
                            | (Paid, Refunded)
                            | (Cancelled | Expired, Paid)
                    );
                    let early = order.state == Expired && now < order.pay_by;
                    self.check(may && !early, "order", || {
                        format!(
                            "order {} must not change from {} to {}",
                            order.id,
                            before.as_str(),
                            order.state.as_str()
                        )
                    });
                    if let Some(held) = self.orders.get_mut(&order.id) {
                        held.state = order.state;
                        held.revived |= order.state == Paid && before != Reserved;
                    }
                    self.count_case(order.state.as_str());
                    self.expect_event(Self::event_of_state(order.state), order.id.to_string());
                }
            }
        }
        let deleted = self.orders.len() != store.model.orders.len();
        self.check(!deleted, "I3", || "an order was deleted".into());
    }

    fn pay_by_changed(&mut self, order: &doorbuster_core::Order) {
        if let Some(held) = self.orders.get_mut(&order.id).filter(|h| h.pay_by != order.pay_by) {
            held.pay_by = order.pay_by;
            self.expect_event(EventType::OrderExtended, order.id.to_string());
        }
    }

    fn order_appeared(&mut self, store: &SimStore, order: &doorbuster_core::Order) {
        let request = (number_in_name(order.buyer.as_str()), number_in_name(order.key.as_str()));
        let id = order.id;
        self.orders.insert(
            id,
            SeenOrder {
                version: store.version,
                state: order.state,
                pay_by: order.pay_by,
                revived: false,
            },
        );
        self.expect_event(Self::event_of_state(order.state), id.to_string());
        let other = self.requests.insert(request, id);
        self.check(other.is_none(), "one order", || {
            format!("one request has two orders: {id} and {other:?}")
        });
        let other = self.numbers.insert((order.grant, order.n), id).filter(|o| *o != id);
        self.check(other.is_none(), "number", || {
            format!("the orders {id} and {other:?} have the same ticket number")
        });
        let late = id.parts().is_some_and(|p| order.reserved_at > p.decide_by)
            && !self.is_waitlist_id(&id);
        self.check(!late, "decide_by", || {
            format!("ticket {id} became an order after its decide_by")
        });
        let shown = store.phases.get(&order.item).map(|p| p.shown);
        // A failover may lose the opening of a sale. But the sale's slots keep the tickets that
        // they issued after the opening.
        let was_open = self.has_failed_over && shown == Some(Phase::Scheduled);
        self.check(was_open || shown == Some(Phase::Open), "phase", || {
            format!("ticket {id} became an order in the phase {shown:?}")
        });
        let refused = self.reported.get(&id).is_some_and(|v| *v != Verdict::Reserved);
        self.check(!refused, "I8", || {
            format!("ticket {id} was reported as refused, but became an order")
        });
        // If an attempt was answered with a ticket's id, no other ticket may become the attempt's
        // order. This holds even after the ticket of the answer is refused.
        let handed = self
            .issued
            .get(&id)
            .and_then(|c| self.handed_by.get(&c.purchase.attempt))
            .filter(|h| **h != id);
        if let Some(handed) = handed.copied()
            && self
                .reported
                .get(&handed)
                .is_some_and(|v| !matches!(v, Verdict::Reserved | Verdict::Order(_)))
        {
            self.record_finding("ask again", || {
                format!("ticket {handed} was refused, but its request got the order {id}")
            });
        }
    }

    /// Checks a new verdict. The verdict of a ticket must never change.
    ///
    /// - If the request already had an order for the same item and units, the verdict must name
    ///   that order.
    /// - If a failover lost the ticket's grant, the ticket must not become an order.
    fn resolved(&mut self, store: &SimStore, resolved: &TicketVerdict) {
        let (id, verdict) = (resolved.id, resolved.verdict);
        if self.lacks_grant(&id) {
            let text = || format!("ticket {id} has an order, but the store lacks its grant");
            return self.check(verdict != Verdict::Reserved, "fail closed", text);
        }
        if let Some((first, _)) = self.verdicts.get(&id).copied() {
            return self.check(first == verdict, "I8", || {
                format!("the verdict of ticket {id} changed from {first:?} to {verdict:?}")
            });
        }
        self.verdicts.insert(id, (verdict, store.version));
        self.count_case(match verdict {
            Verdict::Reserved => "verdict reserved",
            Verdict::Order(_) => "verdict order",
            Verdict::KeyReused => "verdict key_reused",
            Verdict::LimitReached => "verdict limit_reached",
            Verdict::Unavailable => "verdict unavailable",
        });
        let Some(ticket) = self.issued.get(&id).copied() else { return };
        let Some(order) = self.requests.get(&ticket.purchase.request()).filter(|o| **o != id)
        else {
            return;
        };
        // The current commit may have created the order after it returned this ticket. In this
        // case, the verdict need not name the order.
        let earlier = self.orders.get(order).is_some_and(|held| held.version < store.version);
        let Some(row) = store.model.orders.get(order).filter(|_| earlier) else { return };
        let same = row.item == ticket.purchase.item && row.units == ticket.units;
        let right = match verdict {
            Verdict::Order(shown) => same && shown == *order,
            Verdict::KeyReused => !same,
            _ => !same,
        };
        self.check(right, "two ids", || {
            format!(
                "ticket {id} has the verdict {verdict:?}, which does not fit the order that its \
                 request holds"
            )
        });
    }

    /// Checks a finished recall. If the recall moved units to an open grant, a feed row must tell
    /// the grant's slot about these units.
    fn recalled(&mut self, model: &Model, done: &TxResult) {
        let TxResult::Moved(moved) = *done else { return };
        for recall in model.recalls.values().filter(|r| r.done && r.taken > 0) {
            if !self.recalls.insert(recall.id) {
                continue;
            }
            self.check(moved == recall.taken, "recall", || {
                format!("{} units moved, but the recall has {} taken units", moved, recall.taken)
            });
            self.count_case("recalled");
            let RecallTarget::Grant(target) = recall.target else { continue };
            self.count_case("recalled for a slot");
            let grant = model.grants.get(&target).filter(|g| g.open && g.acked);
            let Some(grant) = grant else { continue };
            let row = model.feed.get(&(target, grant.feed_len));
            let fed = row.is_some_and(|r| r.units == recall.taken);
            self.check(fed, "recall", || {
                format!(
                    "{moved} units were recalled for grant {target}, but the grant's feed lacks \
                     them"
                )
            });
        }
    }
}
