//! A payment provider, as bad as they come: it tells late, twice, out of order or not at all, takes
//! money for the wrong order, and is away for a while.
//!
//! It stands outside: what it captured and sent back is what happened to people's money, whatever
//! the truth believes.
use doorbuster_core::money::{
    Capture, Money, PaymentId, Refund, RefundId, RefundState, RefundUpdate,
};
use doorbuster_core::{Millis, TicketId};

use super::flight::Message;
use super::money::MoneyMessage;
use super::{NAMES, World};
use crate::truth::rules::PROVIDER;

/// Payments of one simulated sale at most.
const CHARGES_MAX: usize = 40;
/// Checkouts of one simulated sale at most.
const SESSIONS_MAX: usize = 30;
/// How long a checkout takes money, unless it is closed.
const SESSION_MS: i64 = 1_800_000;
/// How soon a provider that took a refund is asked how far it is.
const RECHECK_MS: i64 = 5_000;

/// Money that was captured, or was to be.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pub(crate) payment: PaymentId,
    /// The order that it is for, as it is written.
    pub(crate) order: String,
    pub(crate) money: Money,
    /// Whether the money was taken.
    pub(crate) captured: bool,
    /// Where it was paid.
    pub(crate) session: Option<usize>,
    /// The message about it that was not answered yet.
    pub(crate) unanswered: Option<String>,
}

/// A page where an order is paid for.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) order: TicketId,
    pub(crate) money: Money,
    pub(crate) open: bool,
    pub(crate) until: Millis,
    /// Whether a buyer has its address.
    pub(crate) handed: bool,
}

/// Money on its way back.
#[derive(Clone, Debug)]
pub(crate) struct MoneyBack {
    /// The key that it was asked under.
    pub(crate) key: String,
    pub(crate) refund: RefundId,
    pub(crate) payment: PaymentId,
    pub(crate) money: Money,
    pub(crate) arrived: bool,
    /// It never arrived after all, or came back: nothing more becomes of it.
    pub(crate) came_back: bool,
}

impl MoneyBack {
    /// Whether it was asked for under this key, or anew after that.
    fn has_key(&self, key: &str) -> bool {
        self.key.strip_prefix(key).is_some_and(|more| more.is_empty() || more.starts_with('/'))
    }

    fn refund_update(&self) -> RefundUpdate {
        match (self.came_back, self.arrived) {
            (true, _) => RefundUpdate::CameBack("the account is closed".into()),
            (false, true) => RefundUpdate::Settled,
            (false, false) => RefundUpdate::Accepted { again_ms: RECHECK_MS },
        }
    }
}

/// What a message says.
#[derive(Clone, Debug)]
pub(crate) enum ProviderMessage {
    /// A payment was captured.
    Captured(usize),
    /// It failed.
    Failed(usize),
    /// A refund arrived, or did not.
    Refund(RefundId, RefundUpdate),
}

/// The provider.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    pub(crate) charges: Vec<Charge>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) backs: Vec<MoneyBack>,
    pub(crate) away: bool,
    pub(crate) refuses: u8,
    messages: u64,
    at_rest: bool,
}

impl Provider {
    fn message_id(&mut self) -> String {
        self.messages += 1;
        format!("msg_{}", self.messages)
    }

    /// Room for the payments that are made at rest.
    pub(crate) fn allow_more_at_rest(&mut self) {
        self.at_rest = true;
    }

    /// Whether a buyer can pay there.
    pub(crate) fn takes_money(&self, session: usize, mono: Millis) -> bool {
        self.sessions.get(session).is_some_and(|s| s.open && mono < s.until)
    }

    /// What was captured at this checkout.
    pub(crate) fn paid_at(&self, session: usize) -> Vec<usize> {
        let here = |c: &Charge| c.captured && c.session == Some(session);
        (0..self.charges.len()).filter(|&i| here(&self.charges[i])).collect()
    }
}

impl World {
    /// What the provider's message about a payment says, under this message's id.
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
        });
        Some(self.provider.charges.len() - 1)
    }

    /// The next payment's name, unlike those that operations name.
    fn next_name(&self) -> String {
        format!("pay_{}", 1_000 + self.provider.charges.len())
    }

    /// Takes the money, and says under which id the provider tells of it.
    fn take_money(&mut self, charge: usize) -> String {
        let event = self.provider.message_id();
        let it = &mut self.provider.charges[charge];
        it.captured = true;
        it.unanswered = Some(event.clone());
        event
    }

    fn hook(&mut self, event: String, hook: ProviderMessage) {
        self.send(Message::MoneyMessage(MoneyMessage::ProviderMessage { event, hook }));
    }

    fn send_failure(&mut self, charge: usize) {
        let event = self.provider.message_id();
        self.hook(event, ProviderMessage::Failed(charge));
    }

    fn capture_and_send(&mut self, charge: usize) {
        let event = self.take_money(charge);
        self.hook(event, ProviderMessage::Captured(charge));
    }

    /// What an order costs, as the provider was told.
    pub(crate) fn cost_of(&self, id: &TicketId) -> Option<Money> {
        let order = self.truth.model.orders.get(id)?;
        let each = self.truth.model.prices.get(&order.item)?;
        Some(Money {
            minor: each.minor * i64::from(order.units.get()),
            currency: each.currency.clone(),
        })
    }

    /// Captures an order's price and tells of it at once, or tells of that payment again.
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

    /// Money is taken outside of any checkout.
    pub(crate) fn charge(&mut self, order: u8, how: u8) {
        let Some(id) = self.nth_order(order) else { return };
        let Some(mut money) = self.cost_of(&id) else { return };
        let mut text = id.to_string();
        match how % 7 {
            1 => money.minor += if order.is_multiple_of(2) { 1 } else { -1 },
            2 => money.currency = "XTS".into(),
            3 => {
                let parts = id.parts().expect("an id of a ticket that was cut");
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

    /// A buyer pays where the address leads.
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

    /// Makes a page for an order. `None`: it is away, or will have no more of them.
    pub(crate) fn make_session(&mut self, order: TicketId, money: Money) -> Option<usize> {
        if self.provider.away || self.provider.sessions.len() >= SESSIONS_MAX {
            return None;
        }
        let until = self.mono.plus(SESSION_MS);
        self.provider.sessions.push(Session { order, money, open: true, until, handed: false });
        Some(self.provider.sessions.len() - 1)
    }

    /// What the provider makes of a request for a refund, or of the question how far it is.
    pub(crate) fn asked_for_refund(&mut self, key: &str, refund: &Refund) -> RefundUpdate {
        if self.provider.away {
            return RefundUpdate::Failed("away".into());
        }
        // A further try goes under a key of its own, and finds what is on its way or arrived.
        let anew = match refund.error {
            Some(_) => format!("{key}/{}", refund.next_at.0),
            None => key.to_owned(),
        };
        let backs = &self.provider.backs;
        let live = backs.iter().find(|b| b.has_key(key) && !b.came_back);
        if let Some(back) = live.or_else(|| backs.iter().find(|b| b.key == anew)) {
            return back.refund_update();
        }
        if refund.accepted {
            // It is only asked how far it is, and sends nothing by that.
            let last = backs.iter().rev().find(|b| b.has_key(key));
            return last.map_or_else(
                || RefundUpdate::Failed("there is none".into()),
                MoneyBack::refund_update,
            );
        }
        if self.provider.refuses > 0 {
            self.provider.refuses -= 1;
            return RefundUpdate::Failed("refused".into());
        }
        let (payment, money) = (refund.payment.clone(), refund.money.clone());
        let back = MoneyBack {
            key: anew,
            refund: refund.id.clone(),
            payment,
            money,
            arrived: false,
            came_back: false,
        };
        self.checker.refund_sent(&self.truth, &self.provider, &back);
        self.provider.backs.push(back);
        RefundUpdate::Accepted { again_ms: RECHECK_MS }
    }

    pub(crate) fn refund_arrives(&mut self, pick: u8, how: u8) {
        let Some(nth) = usize::from(pick).checked_rem(self.provider.backs.len()) else { return };
        let back = &mut self.provider.backs[nth];
        let news = match how % 8 {
            _ if back.came_back => back.refund_update(),
            3 if !back.arrived => RefundUpdate::Failed("not so far".into()),
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
        if matches!(news, RefundUpdate::CameBack(_)) {
            self.checker.count_case("came back");
        }
        let (event, hook) = (self.provider.message_id(), ProviderMessage::Refund(refund, news));
        match how % 8 {
            5 => {
                self.late.push(Message::MoneyMessage(MoneyMessage::ProviderMessage { event, hook }))
            }
            _ => self.hook(event, hook),
        }
    }

    /// A provider tells until it is answered: also of money that came back after it had arrived.
    pub(crate) fn send_lost_refunds(&mut self) {
        let backs = &self.provider.backs;
        let is_lost = |b: &&MoneyBack| {
            b.came_back && !backs.iter().any(|other| other.refund == b.refund && !other.came_back)
        };
        let unknown = |b: &&MoneyBack| {
            let row = self.truth.model.refunds.get(&b.refund);
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
