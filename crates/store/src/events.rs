//! Converts events to and from rows, for every backend. An actor is stored as a word. Data that has
//! no column of its own is stored as a JSON document.
use std::borrow::Cow;

use doorbuster_core::event::{Actor, Attribution, Event, EventType, Subject};
use doorbuster_core::money::{Money, PaymentId, RefundCause, ReversalKind};
use doorbuster_core::{BuyerId, ItemId, Millis, Order, OrderState, Phase, TicketId, Verdict};
use serde_json::{Value, json};

use crate::contract::SaleRow;

pub(crate) fn actor_text(actor: &Actor) -> Cow<'static, str> {
    match actor {
        Actor::Buyer => Cow::Borrowed("buyer"),
        Actor::Engine => Cow::Borrowed("engine"),
        Actor::Operator(key) => Cow::Owned(format!("operator:{key}")),
        Actor::Provider(name) => Cow::Owned(format!("provider:{name}")),
    }
}

fn parse_actor(word: &str) -> Option<Actor> {
    match word.split_once(':') {
        None if word == "buyer" => Some(Actor::Buyer),
        None if word == "engine" => Some(Actor::Engine),
        Some(("operator", key)) => Some(Actor::Operator(key.to_owned())),
        Some(("provider", name)) => Some(Actor::Provider(name.to_owned())),
        _ => None,
    }
}

fn verdict(verdict: &Verdict) -> (&'static str, Option<TicketId>) {
    match verdict {
        Verdict::Reserved => ("reserved", None),
        Verdict::Order(id) => ("order", Some(*id)),
        Verdict::KeyReused => ("key_reused", None),
        Verdict::LimitReached => ("limit_reached", None),
        Verdict::Unavailable => ("unavailable", None),
    }
}

fn parse_verdict(word: &str, order: Option<TicketId>) -> Option<Verdict> {
    Some(match (word, order) {
        ("reserved", None) => Verdict::Reserved,
        ("order", Some(id)) => Verdict::Order(id),
        ("key_reused", None) => Verdict::KeyReused,
        ("limit_reached", None) => Verdict::LimitReached,
        ("unavailable", None) => Verdict::Unavailable,
        _ => return None,
    })
}

/// Returns the data of the subject that has no column of its own, as JSON. Returns `None` if there
/// is no such data.
pub(crate) fn subject_json(subject: &Subject) -> Option<String> {
    let document = match subject {
        Subject::Ticket { id, buyer, units, verdict: decided, .. } => {
            let (verdict, order) = verdict(decided);
            let order = order.map(|id| id.to_string());
            json!({"id": id.to_string(), "buyer": buyer.as_str(), "units": units, "verdict": verdict, "order": order})
        }
        Subject::Payment { payment, order, money, cause } => {
            let (minor, currency) = (money.minor, &money.currency);
            json!({"payment": payment.0, "order": order, "amount_minor": minor, "currency": currency, "cause": cause.as_str()})
        }
        Subject::Reversal { payment, order, money, kind, dispute, stands } => {
            let (minor, currency, kind) = (money.minor, &money.currency, kind.as_str());
            json!({"payment": payment.0, "order": order, "amount_minor": minor, "currency": currency, "kind": kind, "dispute": dispute, "stands": stands})
        }
        Subject::Order(_) | Subject::Item(_) | Subject::Sale(_) => return None,
    };
    Some(document.to_string())
}

/// Returns the event of a sale's change to the phase `to`. Only the first opening and the closing
/// of a sale have an event.
pub(crate) fn sale_event(sale: &SaleRow, to: Phase, now: Millis) -> Option<Event> {
    let what = match to {
        Phase::Open if sale.opened_at.is_none() => EventType::SaleOpened,
        Phase::Closed => EventType::SaleClosed,
        _ => return None,
    };
    Some(Event {
        what,
        subject: Subject::Sale(sale.id.clone()),
        by: Attribution::ENGINE.clone(),
        at: now,
    })
}

fn state_after(what: EventType) -> Option<OrderState> {
    Some(match what {
        EventType::OrderReserved | EventType::OrderExtended => OrderState::Reserved,
        EventType::OrderPaid => OrderState::Paid,
        EventType::OrderCancelled => OrderState::Cancelled,
        EventType::OrderExpired => OrderState::Expired,
        EventType::OrderRefunded => OrderState::Refunded,
        _ => return None,
    })
}

/// A row of `event`, with the current row of its order, if the event is about an order.
pub(crate) struct EventRow {
    pub(crate) what: String,
    pub(crate) order: Option<Order>,
    pub(crate) item: Option<ItemId>,
    pub(crate) sale: Option<String>,
    pub(crate) at: Millis,
    pub(crate) actor: String,
    pub(crate) why: Option<String>,
    pub(crate) pay_by: Option<Millis>,
    pub(crate) paid_at: Option<Millis>,
    pub(crate) ended_at: Option<Millis>,
    pub(crate) data: Option<String>,
}

impl EventRow {
    /// Returns the event in the form in which it was appended, or `None` if the row is invalid.
    pub(crate) fn event(self) -> Option<Event> {
        let (what, actor) = (EventType::parse(&self.what)?, parse_actor(&self.actor)?);
        let by = Attribution { actor, why: self.why.clone() };
        let at = self.at;
        Some(Event { what, subject: self.subject(what)?, by, at })
    }

    fn subject(self, what: EventType) -> Option<Subject> {
        if let Some(state) = state_after(what) {
            let (pay_by, paid_at, ended_at) = (self.pay_by?, self.paid_at, self.ended_at);
            return Some(Subject::Order(Order { state, pay_by, paid_at, ended_at, ..self.order? }));
        }
        match what {
            EventType::OrderRefused => {
                ticket(&serde_json::from_str(self.data.as_deref()?).ok()?, self.item?)
            }
            EventType::PaymentRefunded => {
                payment(&serde_json::from_str(self.data.as_deref()?).ok()?)
            }
            EventType::PaymentReversed => {
                reversal(&serde_json::from_str(self.data.as_deref()?).ok()?)
            }
            EventType::ItemSoldOut => self.item.map(Subject::Item),
            EventType::SaleOpened | EventType::SaleClosed => self.sale.map(Subject::Sale),
            _ => None,
        }
    }
}

/// Returns the subject of an event row that cannot be read: the order or the sale in the row, or
/// else the event itself.
pub(crate) fn unreadable_about(
    position: i64,
    order: Option<String>,
    sale: Option<String>,
) -> String {
    order
        .or_else(|| sale.map(|sale| format!("sale:{sale}")))
        .unwrap_or_else(|| format!("event:{position}"))
}

fn text<'a>(document: &'a Value, key: &str) -> Option<&'a str> {
    document.get(key)?.as_str()
}

fn ticket(document: &Value, item: ItemId) -> Option<Subject> {
    let order = match text(document, "order") {
        Some(id) => Some(TicketId::parse(id)?),
        None => None,
    };
    Some(Subject::Ticket {
        id: TicketId::parse(text(document, "id")?)?,
        item,
        buyer: BuyerId::new(text(document, "buyer")?)?,
        units: document.get("units")?.as_u64()?,
        verdict: parse_verdict(text(document, "verdict")?, order)?,
    })
}

fn money(document: &Value) -> Option<Money> {
    let minor = document.get("amount_minor")?.as_i64()?;
    Some(Money { minor, currency: text(document, "currency")?.to_owned() })
}

fn reversal(document: &Value) -> Option<Subject> {
    Some(Subject::Reversal {
        payment: PaymentId(text(document, "payment")?.to_owned()),
        order: text(document, "order")?.to_owned(),
        money: money(document)?,
        kind: ReversalKind::parse(text(document, "kind")?)?,
        dispute: text(document, "dispute").map(str::to_owned),
        stands: document.get("stands")?.as_bool()?,
    })
}

fn payment(document: &Value) -> Option<Subject> {
    Some(Subject::Payment {
        payment: PaymentId(text(document, "payment")?.to_owned()),
        order: text(document, "order")?.to_owned(),
        money: money(document)?,
        cause: RefundCause::parse(text(document, "cause")?)?,
    })
}
