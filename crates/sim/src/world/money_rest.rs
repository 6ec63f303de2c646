//! Money and telling at rest: the provider is there and sends its messages until they are answered,
//! every loop runs until nothing is left to do.
use doorbuster_core::OrderState;
use doorbuster_core::event::Attribution;
use doorbuster_core::money::RefundState;
use doorbuster_core::order::EndReason;

use super::World;
use super::delivery::{ENDPOINTS, EndpointMode};
use crate::truth::Tx;

/// Rounds within which all money is where it belongs, or all is told.
const ROUNDS_MAX: usize = 60;
/// Rounds after which an operator has refunds that were given up asked for once more.
const GIVEN_UP_AFTER: usize = 15;
/// How much passes from round to round while refunds are on their way.
const ROUND_MS: i64 = 10_000;

impl World {
    /// Every message is answered, every checkout that should be is closed. Orders that wait for
    /// their payment still do.
    pub(super) fn payments_at_rest(&mut self) {
        self.provider.away = false;
        for _ in 0..ROUNDS_MAX {
            self.deliver_all();
            self.tell_again_at_rest();
            self.deliver_all();
            self.recall_for_late_payments();
            for (order, session) in self.checkouts_to_close() {
                self.send(super::flight::Message::MoneyMessage(
                    super::money::MoneyMessage::Close { leader: 0, order, session },
                ));
            }
            self.deliver_all();
            let waits = !self.waiting_captures.is_empty() || !self.checkouts_to_close().is_empty();
            if self.checker.has_finding() || !waits {
                return;
            }
        }
        self.checker
            .find("rest", || format!("payments never come to rest: {:?}", self.waiting_captures));
    }

    /// What was captured outside of any checkout is told until it is answered. What was captured at
    /// one may never be told: it is found.
    fn tell_again_at_rest(&mut self) {
        for charge in 0..self.provider.charges.len() {
            let it = &self.provider.charges[charge];
            if it.session.is_none() && it.unanswered.is_some() {
                self.send_again(charge as u8, 0);
            }
        }
    }

    fn recall_for_late_payments(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let Some(first) = self.waiting_captures.first().cloned() else { return };
            let of = |o: &&doorbuster_core::Order| o.id.to_string() == first.told.order;
            if let Some(order) = self.truth.model.orders.values().find(of) {
                let (item, units) = (order.item, order.units.to_u64());
                self.recall_to_pool(item, units);
            }
            if !self.capture(first.told.clone(), first.charge, false) {
                // What was free a moment ago is sold by now, or cannot be recalled: the last try.
                self.capture(first.told.clone(), first.charge, true);
            }
            self.waiting_captures.retain(|l| l.told != first.told);
        }
    }

    /// The end of all payment windows: what is not paid expires, all that must go back arrives.
    pub(super) fn end_payment_windows(&mut self) {
        let last = self.truth.orders_in(OrderState::Reserved).map(|o| o.pay_by).max();
        self.now = self.now.max(last.unwrap_or(self.now).plus(1));
        self.payments_at_rest();
        let due: Vec<_> = self.truth.orders_in(OrderState::Reserved).map(|o| o.id).collect();
        for id in due {
            self.commit(Tx::End(id, EndReason::Expire, Attribution::ENGINE.clone(), self.now));
        }
        self.checker.nothing_reserved(&self.truth);
        self.refunds_at_rest();
        self.checker.money_at_rest(&self.truth, &self.provider);
    }

    fn refunds_at_rest(&mut self) {
        self.send_lost_refunds();
        for round in 0..ROUNDS_MAX {
            let open = |r: &&doorbuster_core::money::Refund| r.state != RefundState::Settled;
            if self.checker.has_finding() || !self.truth.model.refunds.values().any(|r| open(&r)) {
                return;
            }
            for nth in 0..self.truth.model.refunds.len() {
                if round >= GIVEN_UP_AFTER {
                    self.retry_refund(nth as u8);
                }
            }
            for nth in 0..self.refunds_due().len() {
                self.ask_refund(0, nth as u8);
            }
            self.deliver_all();
            for back in &mut self.provider.backs {
                back.arrived = !back.came_back;
            }
            let next = self.truth.model.refunds.values().filter(open).map(|r| r.next_at).max();
            self.now = self.now.max(next.unwrap_or(self.now)).plus(ROUND_MS);
        }
    }

    /// Endpoints take what they are told, but for one event that one of them may refuse for ever.
    pub(super) fn deliveries_at_rest(&mut self) {
        for worker in 0..2 {
            self.crash_worker(worker);
        }
        for endpoint in 0..ENDPOINTS {
            let it = &mut self.deliveries.endpoints[endpoint];
            if !matches!(it.mode, EndpointMode::Refuses(_)) {
                it.mode = EndpointMode::Accepts;
            }
            self.deliver_all_events(endpoint);
            if self.checker.has_finding() {
                return;
            }
        }
    }

    fn deliver_all_events(&mut self, endpoint: usize) {
        let rounds = ROUNDS_MAX + 20 * self.truth.model.events.len();
        for _ in 0..rounds {
            self.deliver_events(0, endpoint as u8);
            self.deliver_all();
            if self.checker.has_finding()
                || (self.all_delivered(endpoint) && self.flight.is_empty())
            {
                break;
            }
            if let Some(next) = self.next_delivery_at(endpoint) {
                self.mono = self.mono.max(next);
            }
        }
        let dead = self.dead_letters(endpoint);
        self.checker.delivered_at_rest(&self.truth.model.events, endpoint, &dead);
    }
}
