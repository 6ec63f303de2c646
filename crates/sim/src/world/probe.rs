//! At the end of a run, buyers and operators make requests whose results are known, and the checker
//! compares the results. Some of these buyers are new, and others repeat earlier requests.
use doorbuster_core::order::EndReason;
use doorbuster_core::{ItemId, OrderState, Phase, TicketId, Units};

use super::World;
use super::buyer::operator;
use crate::names::{BUYERS, BUYERS_ALL, KEYS, NAMES};
use crate::request::BuyerAnswer;
use crate::store::Tx;

/// The largest number of tries. This bound applies to each buyer's request, to each late payment,
/// and to an operator's removal of the free units.
const RETRIES_MAX: usize = 4;

impl World {
    pub(super) fn ask_at_rest(&mut self, item: ItemId) {
        let Some(phase) = self.store.phases.get(&item).map(|p| p.shown) else { return };
        self.replay_winners(item);
        if phase != Phase::Open {
            let i = self.probe(0, BUYERS as u8, item.0 as u8, item, 1);
            let purchase = self.attempts[i].purchase;
            return self.checker.must_report_phase(&purchase, phase);
        }
        self.try_again(item);
        // While a buyer waits, the waitlist keeps units in the pool. So a late payment may get no
        // units, and its result is not known.
        if !self.checker.has_waiting(item) {
            self.pay_late(item);
        }
        if self.checker.free(item).is_some_and(|free| free % 3 == 1)
            && !self.checker.has_waiting(item)
        {
            self.lower_stock(item);
        }
        self.sell_out(item);
    }

    fn limit(&self, item: ItemId) -> u64 {
        u64::from(self.setup.items[item.0 as usize - 1].limit)
    }

    fn may_hold(&self, item: ItemId, buyer: u8) -> u64 {
        let used = self.store.model.quotas.get(&(item, NAMES.buyers[usize::from(buyer)].clone()));
        self.limit(item).saturating_sub(u64::from(used.copied().unwrap_or(0)))
    }

    fn probe(&mut self, node: usize, buyer: u8, key: u8, item: ItemId, units: u64) -> usize {
        let units = Units::new(units as u32).expect("asked for at least one");
        for _ in 0..RETRIES_MAX {
            self.arrive(node as u8, buyer, key, item, units);
            self.run_until_stable();
            if self.checker.last_answer(self.attempts.len() - 1) != Some(BuyerAnswer::Retry) {
                break;
            }
        }
        self.attempts.len() - 1
    }

    fn sell_out(&mut self, item: ItemId) {
        let limit = self.limit(item);
        for fresh in BUYERS..BUYERS_ALL {
            if self.checker.has_finding() {
                return;
            }
            let free = self.checker.free(item).unwrap_or(limit);
            let node = fresh % self.nodes.len();
            let i = self.probe(node, fresh as u8, item.0 as u8, item, free.clamp(1, limit));
            let purchase = self.attempts[i].purchase;
            if free == 0 {
                return self.checker.must_be_refused(&purchase);
            }
            self.checker.must_be_served(&purchase);
            if self.checker.free(item).is_none() {
                return;
            }
        }
    }

    /// Repeats requests that hold an order. Each must get its order, at any node and in any phase.
    fn replay_winners(&mut self, item: ItemId) {
        let ids: Vec<_> =
            self.store.model.orders.values().filter(|o| o.item == item).map(|o| o.id).collect();
        for (nth, id) in ids.into_iter().rev().enumerate().take(2) {
            let Some(purchase) =
                self.attempts.iter().map(|a| a.purchase).find(|a| self.checker.holds(a, id))
            else {
                continue;
            };
            let node = nth % self.nodes.len();
            let i = self.probe(node, purchase.buyer, purchase.key, item, purchase.units.to_u64());
            let purchase = self.attempts[i].purchase;
            self.checker.must_be_served(&purchase);
        }
    }

    /// Makes requests that were refused before, with the same key. Such a request must now succeed
    /// if enough units are free and the buyer's limit allows it. The limit counts only the buyer's
    /// units in active orders.
    fn try_again(&mut self, item: ItemId) {
        for buyer in 0..BUYERS as u8 {
            if self.checker.has_finding() {
                return;
            }
            let may = self.may_hold(item, buyer);
            let free = self.checker.free(item).unwrap_or(may);
            let earlier = self.attempts.iter().map(|a| a.purchase).find(|a| {
                let fits = a.units.to_u64() <= may.min(free);
                a.buyer == buyer && a.item == item && fits && !self.checker.holds_any(a)
            });
            let held = may < self.limit(item) || self.store.model.quotas.len() > usize::from(buyer);
            let i = match earlier {
                Some(a) => self.probe(usize::from(a.node), a.buyer, a.key, item, a.units.to_u64()),
                None if may.min(free) > 0 && held => {
                    self.probe(0, buyer, KEYS as u8 - item.0 as u8, item, may.min(free))
                }
                None => continue,
            };
            let purchase = self.attempts[i].purchase;
            self.checker.must_be_served(&purchase);
        }
    }

    /// Pays an ended order. The order must become paid if its units are free and the buyer's limit
    /// allows it.
    fn pay_late(&mut self, item: ItemId) {
        let ended = |o: &&doorbuster_core::Order| {
            o.item == item && matches!(o.state, OrderState::Cancelled | OrderState::Expired)
        };
        let first = self
            .store
            .model
            .orders
            .values()
            .find(ended)
            .map(|o| (o.id, o.units.to_u64(), o.buyer.clone()));
        let Some((id, units, buyer)) = first.filter(|_| !self.checker.has_finding()) else {
            return;
        };
        let Some(buyer) = NAMES.buyers.iter().position(|b| *b == buyer) else { return };
        if self.checker.free(item).is_some_and(|free| free < units)
            || self.may_hold(item, buyer as u8) < units
        {
            return;
        }
        for _ in 0..RETRIES_MAX {
            let Some(nth) = self.store.model.orders.keys().position(|o| *o == id) else { return };
            self.provider.allow_more_at_rest();
            self.charge(nth as u8, 0);
            self.payments_at_rest();
            if self.store.model.orders[&id].state == OrderState::Paid {
                return self.refund_order(id);
            }
            // A slot that remembers the maximum number of recalls refuses further recalls until its
            // next epoch.
            let is_sealed = |place: &super::PlacedSlot| {
                place.at.item == item && place.slot.view().is_some_and(|view| view.sealed)
            };
            if !self.places.iter().any(is_sealed) {
                break;
            }
            self.run_until_stable();
        }
        let state = self.store.model.orders[&id].state;
        self.checker.record_finding("undersell", || {
            format!(
                "order {id} was paid late while its units were free, but its state is {}",
                state.as_str()
            )
        });
    }

    /// Refunds the order, so that its units are free again.
    fn refund_order(&mut self, id: TicketId) {
        self.commit(Tx::End(id, EndReason::Refund, operator(), self.now));
        self.run_until_stable();
    }

    /// Removes all free units from the item's total, which must succeed.
    fn lower_stock(&mut self, item: ItemId) {
        let Some(free) = self.checker.free(item).filter(|_| !self.checker.has_finding()) else {
            return;
        };
        let total = |world: &Self| world.store.model.items.get(&item).map(|row| row.total);
        let (before, lowered) = (total(self), free as i64);
        // A slot that remembers the maximum number of recalls refuses further recalls. Between two
        // tries, such a slot moves to a new epoch.
        for _ in 0..RETRIES_MAX {
            self.adjust(item, -lowered);
            self.end_waits_at_rest();
            if total(self) != before {
                return;
            }
            self.run_until_stable();
        }
        self.checker.record_finding("lower", || {
            format!("{free} units are free, but the total cannot be lowered by this number")
        });
    }
}
