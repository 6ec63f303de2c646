//! Completes all work on money and deliveries at the end of a run. The provider is available then,
//! and repeats each message until a node answers it. Every loop runs until no work is left.
use doorbuster_core::OrderState;
use doorbuster_core::event::Attribution;
use doorbuster_core::money::RefundState;
use doorbuster_core::order::EndReason;

use super::World;
use crate::state::{ENDPOINTS, EndpointMode};
use crate::store::Tx;

/// All payments, refunds and deliveries must be completed within this number of rounds.
const ROUNDS_MAX: usize = 60;
/// After this many rounds, an operator retries the refunds that the server gave up.
const GIVEN_UP_AFTER: usize = 15;
/// The time between two rounds while refunds are pending, in milliseconds.
const ROUND_MS: i64 = 10_000;

impl World {
    /// Handles every message, and closes every checkout that should be closed. Does not expire
    /// unpaid orders.
    pub(super) fn payments_at_rest(&mut self) {
        self.provider.away = false;
        for _ in 0..ROUNDS_MAX {
            self.deliver_all();
            self.repeat_messages_at_rest();
            if self.failovers.has_happened() {
                self.apply_payments_again();
            }
            self.deliver_all();
            self.end_waits_at_rest();
            for (order, session) in self.checkouts_to_close() {
                self.close_checkout(0, order, session);
            }
            self.deliver_all();
            self.end_waits_at_rest();
            if self.checker.has_finding() || self.checkouts_to_close().is_empty() {
                return;
            }
        }
        let open = self.checkouts_to_close();
        self.checker.record_finding("rest", || {
            format!("after the last round, some checkouts are still open: {open:?}")
        });
    }

    /// Makes the provider repeat its unanswered messages. A payment at a checkout needs no message,
    /// because the leader finds the payment when it closes the checkout. But after a failover, the
    /// store may lack the checkout.
    fn repeat_messages_at_rest(&mut self) {
        for charge in 0..self.provider.charges.len() {
            let it = &self.provider.charges[charge];
            let is_found = it.session.is_some() && !self.failovers.has_happened();
            if !is_found && it.unanswered.is_some() {
                self.send_again(charge as u8, 0);
            }
        }
    }

    /// Ends all payment windows. Unpaid orders expire, and all refunds arrive.
    pub(super) fn end_payment_windows(&mut self) {
        let last = self.store.orders_in(OrderState::Reserved).map(|o| o.pay_by).max();
        self.now = self.now.max(last.unwrap_or(self.now).plus(1));
        self.payments_at_rest();
        let due: Vec<_> = self.store.orders_in(OrderState::Reserved).map(|o| o.id).collect();
        for id in due {
            self.commit(Tx::End(id, EndReason::Expire, Attribution::ENGINE.clone(), self.now));
        }
        self.checker.nothing_reserved(&self.store);
        self.refunds_at_rest();
        self.reversals_at_rest();
        self.checker.money_at_rest(&self.store, &self.provider);
    }

    fn refunds_at_rest(&mut self) {
        self.send_lost_refunds();
        for round in 0..ROUNDS_MAX {
            let open = |r: &&doorbuster_core::money::Refund| r.state != RefundState::Settled;
            if self.checker.has_finding() || !self.store.model.refunds.values().any(|r| open(&r)) {
                return;
            }
            for nth in 0..self.store.model.refunds.len() {
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
            let next = self.store.model.refunds.values().filter(open).map(|r| r.next_at).max();
            self.now = self.now.max(next.unwrap_or(self.now)).plus(ROUND_MS);
        }
    }

    /// Delivers all events. An endpoint that was down accepts events again. An endpoint that
    /// refuses one particular event still refuses that event.
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
        let rounds = ROUNDS_MAX + 20 * self.store.model.events.len();
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
        self.checker.delivered_at_rest(&self.store.model.events, endpoint, &dead);
    }
}
