//! Simulates what nodes and leaders do with payments, checkouts and refunds.
//! [`doorbuster_steps::checkout`] defines the steps that close a checkout.
use doorbuster_core::money::{Checkout, CheckoutOutcome, Refund, RefundState};
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::{OrderState, TicketId};
use doorbuster_steps::checkout::{Answer, CheckoutClosing, Effect, Input};

use super::World;
use crate::state::{AfterPayment, Closing, Message, MoneyMessage, ProviderMessage};
use crate::store::rules::PROVIDER;
use crate::store::{Tx, TxResult};

fn name_of(session: usize) -> String {
    format!("cs_{session}")
}

fn number_of(session: &str) -> Option<usize> {
    session.strip_prefix("cs_")?.parse().ok()
}

impl World {
    pub(crate) fn run_money_message(&mut self, money_message: MoneyMessage) {
        match money_message {
            MoneyMessage::ProviderMessage { event, hook } => self.receive_hook(event, hook),
            MoneyMessage::Answered { event, hook } => self.take_hook(&event, &hook),
            MoneyMessage::ApplyAgain { node, capture } => self.apply_again(node, capture),
            MoneyMessage::Make { order } => {
                let Some(money) = self.cost_of(&order) else { return };
                if let Some(session) = self.make_session(order, money) {
                    self.send(Message::Money(Box::new(MoneyMessage::Made { order, session })));
                }
            }
            MoneyMessage::Made { order, session } => self.keep_checkout(order, session),
            MoneyMessage::Close { leader, closing } => self.close_session(leader, closing),
            MoneyMessage::NextEffect { leader, closing, effect, found } => {
                self.continue_closing(leader, closing, effect, found)
            }
            MoneyMessage::Refund { leader, refund } => {
                let update = self.answer_refund_request(&refund);
                self.send(Message::Money(Box::new(MoneyMessage::RefundAnswered {
                    leader,
                    requested: refund,
                    update,
                })));
            }
            MoneyMessage::RefundAnswered { requested, update, .. } => {
                drop(self.commit(Tx::AnswerRefund(requested, update, self.now)))
            }
        }
    }

    /// Handles a message from the provider. The node answers only after the message has had its
    /// effect.
    fn receive_hook(&mut self, event: String, hook: ProviderMessage) {
        if !enforces(Rule::AnswerAfterEffect) {
            self.answer_hook(&event, &hook);
            return self.send(Message::Money(Box::new(MoneyMessage::Answered { event, hook })));
        }
        self.take_hook(&event, &hook);
    }

    fn take_hook(&mut self, event: &str, hook: &ProviderMessage) {
        match hook {
            ProviderMessage::Captured(charge) => {
                let capture = self.capture_message(*charge, event);
                self.capture(*charge, capture, None);
            }
            ProviderMessage::Failed(charge) => {
                let mut capture = self.capture_message(*charge, event);
                // Real failed payments can have another amount than the later payment that
                // succeeds. So every second failed payment has a lower amount here.
                capture.money.minor -= i64::from(charge.is_multiple_of(2));
                self.commit(Tx::FailPayment(capture, self.now));
            }
            ProviderMessage::Refund(id, update) => {
                self.commit(Tx::SettleRefund(
                    event.to_owned(),
                    id.clone(),
                    update.clone(),
                    self.now,
                ));
            }
            ProviderMessage::Reversed(report) => self.apply_reversal(report),
        }
    }

    fn answer_hook(&mut self, event: &str, hook: &ProviderMessage) {
        match hook {
            ProviderMessage::Captured(charge) => self.answered_hook(*charge, event),
            ProviderMessage::Reversed(report) => self.answered_reversal(report),
            ProviderMessage::Failed(_) | ProviderMessage::Refund(..) => {}
        }
    }

    fn answered_hook(&mut self, charge: usize, event: &str) {
        let waits = &mut self.provider.charges[charge].unanswered;
        if waits.as_deref() == Some(event) {
            *waits = None;
        }
    }

    /// Handles the end of a payment's processing. A leader may have found the payment while the
    /// leader was closing the payment's checkout. Then the leader continues to close the checkout.
    pub(super) fn payment_applied(
        &mut self,
        charge: usize,
        event: &str,
        after: Option<AfterPayment>,
    ) {
        self.answered_hook(charge, event);
        if let Some(AfterPayment { leader, mut closing, found }) = after {
            let effect = closing.steps.next(Input::Applied(true));
            self.send_effect(leader, closing, effect, found);
        }
    }

    /// Gives the buyer the open checkout of an order. If the order has no open checkout, a node
    /// requests a new checkout.
    pub(crate) fn ask_checkout(&mut self, pick: u8) {
        let waits: Vec<_> = self.store.orders_in(OrderState::Reserved).map(|o| o.id).collect();
        let Some(nth) = usize::from(pick).checked_rem(waits.len()) else { return };
        let id = waits[nth];
        match self.store.model.checkouts.get(&id).filter(|c| c.open) {
            Some(checkout) => {
                let session = number_of(&checkout.session);
                self.hand_checkout(session);
            }
            None => self.send(Message::Money(Box::new(MoneyMessage::Make { order: id }))),
        }
    }

    fn hand_checkout(&mut self, session: Option<usize>) {
        if let Some(session) = session.and_then(|i| self.provider.sessions.get_mut(i)) {
            session.handed = true;
            self.checker.count_case("checkout handed out");
        }
    }

    /// Stores a new checkout. If the order has no open checkout, the new one becomes the open
    /// checkout. The buyer gets the URL of the order's open checkout.
    fn keep_checkout(&mut self, order: TicketId, session: usize) {
        let checkout = Checkout {
            order,
            provider: PROVIDER.into(),
            session: name_of(session),
            url: format!("http://pay.test/{session}"),
            expires_at: self.now.plus(1_800_000),
            open: true,
            at: self.now,
            asked_at: None,
        };
        if let TxResult::Kept(CheckoutOutcome::Kept(kept)) = self.commit(Tx::KeepCheckout(checkout))
        {
            self.hand_checkout(number_of(&kept.session));
        }
    }

    /// Returns the open checkouts that should be closed: the order no longer waits for a payment,
    /// or its payment window is over.
    pub(crate) fn checkouts_to_close(&self) -> Vec<(TicketId, usize)> {
        let due = |c: &&Checkout| {
            let order = self.store.model.orders.get(&c.order);
            c.open && order.is_some_and(|o| o.state != OrderState::Reserved || o.pay_by <= self.now)
        };
        let all = self.store.model.checkouts.values().filter(due);
        all.filter_map(|c| Some((c.order, number_of(&c.session)?))).collect()
    }

    pub(crate) fn reconcile(&mut self, leader: u8, pick: u8) {
        let due = self.checkouts_to_close();
        let Some(nth) = usize::from(pick).checked_rem(due.len()) else { return };
        let (order, session) = due[nth];
        self.close_checkout(leader, order, session);
    }

    pub(crate) fn close_checkout(&mut self, leader: u8, order: TicketId, session: usize) {
        let (steps, effect) = CheckoutClosing::start();
        self.send_effect(leader, Closing { order, session, steps }, effect, Vec::new());
    }

    /// Sends the effect as a message. If the leader's process ends before the message arrives, the
    /// effect is lost. But the end of the process does not lose a request to the provider.
    fn send_effect(&mut self, leader: u8, closing: Closing, effect: Effect, found: Vec<usize>) {
        let message = match effect {
            Effect::Finish | Effect::AskLater { starts_grace: false } => return,
            Effect::Close => MoneyMessage::Close { leader, closing },
            effect => MoneyMessage::NextEffect { leader, closing, effect, found },
        };
        self.send(Message::Money(Box::new(message)));
    }

    fn close_session(&mut self, leader: u8, mut closing: Closing) {
        let (answer, found) = match self.provider.away {
            true => (Answer::Failed, Vec::new()),
            false => {
                self.provider.sessions[closing.session].open = false;
                let found = self.provider.paid_at(closing.session);
                (Answer::Closed(found.len()), found)
            }
        };
        let effect = closing.steps.next(Input::Answer(answer));
        self.send_effect(leader, closing, effect, found);
    }

    fn continue_closing(
        &mut self,
        leader: u8,
        mut closing: Closing,
        effect: Effect,
        found: Vec<usize>,
    ) {
        let Closing { order, session, .. } = closing;
        let input = match effect {
            Effect::Apply(nth) => {
                let event = format!("found_{}", found[nth]);
                let (charge, capture) = (found[nth], self.capture_message(found[nth], &event));
                let after = AfterPayment { leader, closing, found };
                return self.capture(charge, capture, Some(after));
            }
            Effect::Record => {
                self.note_closed(order, session);
                Input::Recorded
            }
            Effect::AskLater { starts_grace: true } => {
                self.commit(Tx::RecordUnanswered(order, name_of(session), self.now));
                return;
            }
            Effect::Close | Effect::AskLater { .. } | Effect::Finish => return,
        };
        let effect = closing.steps.next(input);
        self.send_effect(leader, closing, effect, found);
    }

    fn note_closed(&mut self, order: TicketId, session: usize) {
        if let TxResult::Taken(true) = self.commit(Tx::CloseCheckout(order, name_of(session))) {
            self.checker.closed_checkout(&self.store, &self.provider, session, self.mono);
        }
    }

    pub(crate) fn refunds_due(&self) -> Vec<Refund> {
        let due = |r: &&Refund| r.state == RefundState::Pending && r.next_at <= self.now;
        self.store.model.refunds.values().filter(due).cloned().collect()
    }

    pub(crate) fn ask_refund(&mut self, leader: u8, pick: u8) {
        let due = self.refunds_due();
        let Some(nth) = usize::from(pick).checked_rem(due.len()) else { return };
        let refund = due[nth].clone();
        self.send(Message::Money(Box::new(MoneyMessage::Refund { leader, refund })));
    }

    pub(crate) fn retry_refund(&mut self, pick: u8) {
        let refunds = &self.store.model.refunds;
        let failed: Vec<_> =
            refunds.values().filter(|r| r.state == RefundState::Failed).map(|r| &r.id).collect();
        let all: Vec<_> = refunds.keys().collect();
        let of = if failed.is_empty() { all } else { failed };
        if let Some(nth) = usize::from(pick).checked_rem(of.len()) {
            let id = of[nth].clone();
            self.commit(Tx::RetryRefund(id, self.now));
        }
    }

    pub(crate) fn extend(&mut self, pick: u8, secs: u8) {
        if let Some(id) = self.nth_order(pick) {
            let pay_by = self.now.plus(i64::from(secs) * 1_000);
            self.commit(Tx::Extend(id, pay_by, self.now));
        }
    }
}
