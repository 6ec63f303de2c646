//! A payment provider with faults. Its messages are late, repeated, out of order or lost, and it
//! may take money for the wrong order. It keeps its own records, separate from the store.
use doorbuster_core::TicketId;
use doorbuster_core::money::{Capture, Money, PaymentId, Refund, RefundState, RefundUpdate};

use super::World;
use crate::names::NAMES;
use crate::state::{
    Charge, Message, MoneyMessage, ProviderMessage, ProviderRefund, RECHECK_MS, Session,
};
use crate::store::rules::PROVIDER;

const CHARGES_MAX: usize = 40;
const SESSIONS_MAX: usize = 30;
/// How long an open checkout takes money, in milliseconds.
const SESSION_MS: i64 = 1_800_000;

impl World {
    /// Returns the content of the provider's message about a charge. `event` is the message's id.
    pub(crate) fn capture_message(&self, charge: usize, event: &str) -> Capture {
        let Charge { payment, order, money, .. } = &self.provider.charges[charge];
        Capture {
            event: event.to_owned(),
            provider: PROVIDER.to_owned(),
            payment: payment.clone(),
            order: order.clone(),
            money: money.clone(),
        }
    }

    fn new_charge(
        &mut self,
        name: String,
        order: String,
        money: Money,
        session: Option<usize>,
    ) -> Option<usize> {
        if self.provider.charges.len() >= CHARGES_MAX && !self.provider.at_rest {
            return None;
        }
        let payment = PaymentId(name);
        self.provider.charges.push(Charge {
            payment,
            order,
            money,
            captured: false,
            session,
            unanswered: None,
            applied_at: Vec::new(),
        });
        Some(self.provider.charges.len() - 1)
    }

    /// Returns the name of a new payment. [`crate::op::Op::Pay`] cannot choose this name.
    fn next_name(&self) -> String {
        format!("pay_{}", 1_000 + self.provider.charges.len())
    }

    /// Captures a charge, and returns the id of the message about it.
    fn take_money(&mut self, charge: usize) -> String {
        let event = self.provider.message_id();
        let it = &mut self.provider.charges[charge];
        it.captured = true;
        it.unanswered = Some(event.clone());
        event
    }

    pub(super) fn hook(&mut self, event: String, hook: ProviderMessage) {
        self.send(Message::Money(Box::new(MoneyMessage::ProviderMessage { event, hook })));
    }

    fn send_failure(&mut self, charge: usize) {
        let event = self.provider.message_id();
        self.hook(event, ProviderMessage::Failed(charge));
    }

    fn capture_and_send(&mut self, charge: usize) {
        let event = self.take_money(charge);
        self.hook(event, ProviderMessage::Captured(charge));
    }

    /// Returns the price of all units of an order, from the store's rows.
    pub(crate) fn cost_of(&self, id: &TicketId) -> Option<Money> {
        let order = self.store.model.orders.get(id)?;
        let price = self.store.model.prices.get(&order.item)?;
        Some(Money {
            minor: price.minor * i64::from(order.units.get()),
            currency: price.currency.clone(),
        })
    }

    /// Captures the price of an order. If the payment with the number `event` exists, repeats this
    /// payment's message instead.
    pub(crate) fn pay(&mut self, order: u8, event: u8) {
        let name = format!("pay_{event}");
        let known = self.provider.charges.iter().position(|c| c.payment.0 == name);
        let charge = match known {
            Some(charge) => charge,
            None => {
                let Some(id) = self.nth_order(order) else { return };
                let Some(money) = self.cost_of(&id) else { return };
                let Some(charge) = self.new_charge(name, id.to_string(), money, None) else {
                    return;
                };
                charge
            }
        };
        let event = match (known, &self.provider.charges[charge].unanswered) {
            (Some(_), Some(event)) => event.clone(),
            (Some(_), None) => self.provider.message_id(),
            (None, _) => self.take_money(charge),
        };
        self.capture_at_once(charge, &event);
    }

    /// Makes a charge outside of any checkout.
    pub(crate) fn charge(&mut self, order: u8, how: u8) {
        let Some(id) = self.nth_order(order) else { return };
        let Some(mut money) = self.cost_of(&id) else { return };
        let mut text = id.to_string();
        match how % 7 {
            1 => money.minor += if order.is_multiple_of(2) { 1 } else { -1 },
            2 => money.currency = "XTS".into(),
            3 => {
                let parts = id.parts().expect("the id of an issued ticket");
                text = NAMES.key.sign(&parts, "nobody").to_string();
            }
            4 => text = format!("{text}?"),
            _ => {}
        }
        let name = self.next_name();
        let Some(charge) = self.new_charge(name, text, money, None) else { return };
        match how % 7 {
            5 => self.send_failure(charge),
            6 => {
                self.send_failure(charge);
                self.capture_and_send(charge);
            }
            _ => self.capture_and_send(charge),
        }
    }

    /// Lets a buyer pay at one of the checkouts whose URLs buyers have.
    pub(crate) fn pay_at(&mut self, pick: u8, how: u8) {
        let handed: Vec<_> = (0..self.provider.sessions.len())
            .filter(|&i| self.provider.sessions[i].handed)
            .collect();
        let Some(nth) = usize::from(pick).checked_rem(handed.len()) else { return };
        let session = handed[nth];
        if !self.provider.takes_money(session, self.mono) {
            return;
        }
        let Session { order, money, .. } = self.provider.sessions[session].clone();
        let name = self.next_name();
        let Some(charge) = self.new_charge(name, order.to_string(), money, Some(session)) else {
            return;
        };
        self.checker.count_case("paid at a checkout");
        if how % 4 >= 2 {
            self.send_failure(charge);
        }
        if how % 4 < 3 {
            self.capture_and_send(charge);
        }
    }

    pub(crate) fn send_again(&mut self, pick: u8, how: u8) {
        let Some(charge) = usize::from(pick).checked_rem(self.provider.charges.len()) else {
            return;
        };
        if !self.provider.charges[charge].captured {
            return;
        }
        let event = match &self.provider.charges[charge].unanswered {
            Some(event) if how.is_multiple_of(2) => event.clone(),
            _ => self.provider.message_id(),
        };
        self.hook(event, ProviderMessage::Captured(charge));
    }

    pub(crate) fn set_provider(&mut self, how: u8) {
        match how {
            0 => self.provider.away = false,
            1 => self.provider.away = true,
            n => self.provider.refuses = n,
        }
    }

    /// Creates a checkout. Returns `None` if the provider is unavailable or has too many checkouts.
    pub(crate) fn make_session(&mut self, order: TicketId, money: Money) -> Option<usize> {
        if self.provider.away || self.provider.sessions.len() >= SESSIONS_MAX {
            return None;
        }
        let until = self.mono.plus(SESSION_MS);
        self.provider.sessions.push(Session { order, money, open: true, until, handed: false });
        Some(self.provider.sessions.len() - 1)
    }

    pub(crate) fn answer_refund_request(&mut self, refund: &Refund) -> RefundUpdate {
        if self.provider.away {
            return RefundUpdate::Failed("unavailable".into());
        }
        let (key, backs) = (refund.request_key(), &self.provider.backs);
        let own = || backs.iter().filter(|back| back.refund == refund.id);
        // The provider does not pay a refund a second time before the money of the first time has
        // come back to the shop.
        let live = own().find(|back| !back.came_back);
        if let Some(back) = live.or_else(|| backs.iter().find(|back| back.key == key)) {
            return back.refund_update();
        }
        if refund.accepted {
            // The server only asks for the state of an accepted refund, so the provider sends no
            // money.
            return own().next_back().map_or_else(
                || RefundUpdate::Failed("no such refund exists".into()),
                ProviderRefund::refund_update,
            );
        }
        if self.provider.refuses > 0 {
            self.provider.refuses -= 1;
            return RefundUpdate::Failed("refused".into());
        }
        let (payment, money) = (refund.payment.clone(), refund.money.clone());
        let back = ProviderRefund {
            key,
            refund: refund.id.clone(),
            payment,
            money,
            arrived: false,
            came_back: false,
        };
        self.checker.refund_sent(&self.store, &self.provider, &back);
        self.provider.backs.push(back);
        RefundUpdate::Accepted { again_ms: RECHECK_MS }
    }

    pub(crate) fn refund_arrives(&mut self, pick: u8, how: u8) {
        let Some(nth) = usize::from(pick).checked_rem(self.provider.backs.len()) else { return };
        let back = &mut self.provider.backs[nth];
        let update = match how % 8 {
            _ if back.came_back => back.refund_update(),
            3 if !back.arrived => RefundUpdate::Failed("a payout failed".into()),
            7 => {
                (back.arrived, back.came_back) = (false, true);
                back.refund_update()
            }
            _ => {
                back.arrived = true;
                back.refund_update()
            }
        };
        let refund = back.refund.clone();
        if matches!(update, RefundUpdate::CameBack(_)) {
            self.checker.count_case("came back");
        }
        let (event, hook) = (self.provider.message_id(), ProviderMessage::Refund(refund, update));
        match how % 8 {
            5 => self
                .late
                .push(Message::Money(Box::new(MoneyMessage::ProviderMessage { event, hook }))),
            _ => self.hook(event, hook),
        }
    }

    /// Sends a message about each refund that the store still records as settled, although the
    /// refund's money came back.
    pub(crate) fn send_lost_refunds(&mut self) {
        let backs = &self.provider.backs;
        let is_lost = |b: &&ProviderRefund| {
            b.came_back && !backs.iter().any(|other| other.refund == b.refund && !other.came_back)
        };
        let unknown = |b: &&ProviderRefund| {
            let row = self.store.model.refunds.get(&b.refund);
            row.is_some_and(|refund| refund.state == RefundState::Settled)
        };
        let lost: Vec<_> = backs.iter().filter(is_lost).filter(unknown).cloned().collect();
        for back in lost {
            let event = self.provider.message_id();
            self.hook(event, ProviderMessage::Refund(back.refund.clone(), back.refund_update()));
        }
        self.deliver_all();
    }
}
