//! Money: what a provider says it captured becomes a paid order or one refund, never both, never neither.
//!
//! Each message of a provider is taken once (the inbox: its id, in the transaction of its effect), each payment once (its own id), and each
//! payment is refunded at most once (a refund's id is made of its payment's). Amounts are whole minor units; what was captured is
//! compared with what the order costs, and nothing is ever computed from what a message says.
use crate::event::{self, By, EventType, Subject};
use crate::id::TicketId;
use crate::ledger::Ledger;
use crate::limits::{REFUND_TRIES_MAX, backoff_ms};
use crate::order::{self, Paid};
use crate::rows::{Order, OrderState};
use crate::rules::{Rule, keeps};
use crate::value::{Millis, Stock};

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    /// In minor units of the currency.
    pub minor: i64,
    /// ISO 4217.
    pub currency: String,
}

/// A provider's id of a payment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentId(pub String);

/// The id of a refund, which is also the key under which the provider is asked: made of the payment's, so that a payment has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefundId(pub String);

impl RefundId {
    /// The one refund of this payment.
    #[must_use]
    pub fn of(payment: &PaymentId) -> Self {
        let hash = blake3::hash(payment.0.as_bytes());
        Self(format!("ref_{}", &hash.to_hex()[..32]))
    }
}

/// What became of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentState {
    /// It pays for its order.
    Captured,
    /// Its money goes back, or went: its refund says how far that is.
    Refunded,
    /// It was tried and did not succeed.
    Failed,
}

impl PaymentState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Captured, Self::Refunded, Self::Failed];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Refunded => "refunded",
            Self::Failed => "failed",
        }
    }

    /// The state that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// A payment, as its provider told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The provider's id.
    pub id: PaymentId,
    /// The provider's name.
    pub provider: String,
    /// The order that it named, as it was written.
    pub order: String,
    /// How much.
    pub money: Money,
    /// What became of it.
    pub state: PaymentState,
    /// When the first message of it was taken (store time).
    pub at: Millis,
}

/// Why money goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefundCause {
    /// The order had ended, and no unit or no share of the limit was left.
    Late,
    /// Another amount or currency than the order costs.
    Mismatch,
    /// The order was paid before.
    Second,
    /// There is no such order.
    UnknownOrder,
    /// An operator refunded the order.
    Operator,
}

impl RefundCause {
    /// Every cause.
    pub const ALL: &[Self] = &[Self::Late, Self::Mismatch, Self::Second, Self::UnknownOrder, Self::Operator];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Mismatch => "mismatch",
            Self::Second => "second",
            Self::UnknownOrder => "unknown_order",
            Self::Operator => "operator",
        }
    }

    /// The cause that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == word)
    }

    /// Whether somebody else did something wrong: a notice of the audit.
    #[must_use]
    pub fn is_notice(self) -> bool {
        matches!(self, Self::Mismatch | Self::Second | Self::UnknownOrder)
    }
}

/// How far a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefundState {
    /// The provider was not asked yet, or has not said that the money arrived.
    Pending,
    /// It said so.
    Settled,
    /// It was asked as often as it may be and refused: an operator must look.
    Failed,
}

impl RefundState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Pending, Self::Settled, Self::Failed];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Settled => "settled",
            Self::Failed => "failed",
        }
    }

    /// The state that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// A refund: the whole of one payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Its id, and the provider's idempotency key.
    pub id: RefundId,
    /// What is refunded.
    pub payment: PaymentId,
    /// By which provider.
    pub provider: String,
    /// The order that the payment named.
    pub order: String,
    /// How much.
    pub money: Money,
    /// Why.
    pub cause: RefundCause,
    /// How far it is.
    pub state: RefundState,
    /// Whether the provider took the request. It is only asked how far it is from then on.
    pub accepted: bool,
    /// How often the provider was asked in vain since it last answered.
    pub tries: u32,
    /// When it is asked next.
    pub next_at: Millis,
    /// What it said last in vain.
    pub error: Option<String>,
    /// When the refund was decided.
    pub at: Millis,
    /// When the provider said that it arrived.
    pub settled_at: Option<Millis>,
}

/// A provider's message that money was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The message's id; unique with the provider's name.
    pub event: String,
    /// Whose message.
    pub provider: String,
    /// Which payment.
    pub payment: PaymentId,
    /// For which order, as it was written.
    pub order: String,
    /// How much.
    pub money: Money,
}

/// What a captured payment came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Captured {
    /// This message, or this payment, was taken before.
    Repeated,
    /// The order is paid by it.
    Paid(Order),
    /// The money goes back.
    Refund(Refund),
    /// Nothing was written: the order had ended, and the pool lacks this many of its units, which may be in slots. Recall them and try again, the last time with `last`.
    Lacks {
        /// The order.
        order: Order,
        /// Units that the pool lacks.
        units: u64,
    },
}

/// Takes a captured payment: its order is paid by it, or it is refunded.
pub fn capture<L: Ledger>(ledger: &mut L, told: &Capture, now: Millis, last: bool) -> Result<Captured, L::Error> {
    // The order's locks come first, as everywhere.
    let id = TicketId::parse(&told.order);
    let order = match id {
        Some(id) => order::locked(ledger, &id)?,
        None => None,
    };
    if ledger.inbox(&told.provider, &told.event)? && keeps(Rule::InboxOnce) {
        return Ok(Captured::Repeated);
    }
    let known = ledger.payment(&told.payment)?;
    let is_final = |p: Payment| p.state != PaymentState::Failed || !keeps(Rule::FailedMaySucceed);
    if known.is_some_and(is_final) && keeps(Rule::PaymentOnce) {
        ledger.insert_inbox(&told.provider, &told.event, now)?;
        return Ok(Captured::Repeated);
    }
    let by = By::actor(event::Actor::Provider(told.provider.clone()));
    let decided = match order {
        None => Err(RefundCause::UnknownOrder),
        Some(order) if price(ledger, &order)?.as_ref() != Some(&told.money) && keeps(Rule::AmountMatches) => {
            Err(RefundCause::Mismatch)
        }
        Some(order) => {
            if !last
                && keeps(Rule::LatePayRecalls)
                && let Some(units) = lacks(ledger, &order)?
            {
                return Ok(Captured::Lacks { order, units });
            }
            match order::pay(ledger, &order.id, &by, now)? {
                Paid::Done(order) => Ok(order),
                Paid::Already(_) => Err(RefundCause::Second),
                Paid::Refund(_) => Err(RefundCause::Late),
                Paid::NotFound => Err(RefundCause::UnknownOrder),
            }
        }
    };
    ledger.insert_inbox(&told.provider, &told.event, now)?;
    let state = if decided.is_ok() { PaymentState::Captured } else { PaymentState::Refunded };
    let payment = Payment {
        id: told.payment.clone(),
        provider: told.provider.clone(),
        order: told.order.clone(),
        money: told.money.clone(),
        state,
        at: now,
    };
    ledger.put_payment(&payment)?;
    match decided {
        Ok(order) => Ok(Captured::Paid(order)),
        Err(cause) => {
            let subject = Subject::Payment {
                payment: payment.id.clone(),
                order: payment.order.clone(),
                money: payment.money.clone(),
                cause,
            };
            event::append(ledger, EventType::PaymentRefunded, subject, &by, now)?;
            Ok(Captured::Refund(refund(ledger, &payment, cause, now)?))
        }
    }
}

/// What an order costs.
pub fn price<L: Ledger>(ledger: &mut L, order: &Order) -> Result<Option<Money>, L::Error> {
    let Some(each) = ledger.price(order.item)? else { return Ok(None) };
    let minor = each.minor.checked_mul(i64::from(order.units.get()));
    Ok(minor.map(|minor| Money { minor, currency: each.currency }))
}

/// How many units the pool lacks for an order that ended, if they may be in slots and the buyer's limit allows it.
fn lacks<L: Ledger>(ledger: &mut L, order: &Order) -> Result<Option<u64>, L::Error> {
    if !matches!(order.state, OrderState::Cancelled | OrderState::Expired) {
        return Ok(None);
    }
    let Some(item) = ledger.item(order.item)? else { return Ok(None) };
    let holds = ledger.quota(order.item, &order.buyer)?.saturating_add(order.units.get());
    if holds > item.limit && keeps(Rule::RecallWithinLimit) {
        return Ok(None);
    }
    let units = order.units.wide();
    let in_slots: u64 = ledger.open_grants(order.item)?.iter().map(crate::rows::Grant::unsettled).sum();
    let is_short = matches!(item.total, Stock::Counted(_)) && item.pool < units && item.pool + in_slots >= units;
    Ok(is_short.then(|| units - item.pool))
}

/// Decides the one refund of a payment.
pub(crate) fn refund<L: Ledger>(
    ledger: &mut L,
    payment: &Payment,
    cause: RefundCause,
    now: Millis,
) -> Result<Refund, L::Error> {
    let id = RefundId::of(&payment.id);
    if let Some(refund) = ledger.refund(&id)?
        && keeps(Rule::RefundOnce)
    {
        return Ok(refund);
    }
    let refund = Refund {
        id,
        payment: payment.id.clone(),
        provider: payment.provider.clone(),
        order: payment.order.clone(),
        money: payment.money.clone(),
        cause,
        state: RefundState::Pending,
        accepted: false,
        tries: 0,
        next_at: now,
        error: None,
        at: now,
        settled_at: None,
    };
    ledger.put_refund(&refund)?;
    Ok(refund)
}

/// Takes a provider's message that a payment did not succeed. False if the message was taken before. The order is as it was.
pub fn fail<L: Ledger>(ledger: &mut L, told: &Capture, now: Millis) -> Result<bool, L::Error> {
    if ledger.inbox(&told.provider, &told.event)? {
        return Ok(false);
    }
    ledger.insert_inbox(&told.provider, &told.event, now)?;
    if ledger.payment(&told.payment)?.is_none() || !keeps(Rule::CaptureStays) {
        ledger.put_payment(&Payment {
            id: told.payment.clone(),
            provider: told.provider.clone(),
            order: told.order.clone(),
            money: told.money.clone(),
            state: PaymentState::Failed,
            at: now,
        })?;
    }
    Ok(true)
}

/// What a provider said of a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundNews {
    /// It took the request; it is asked again how far that is, after so many milliseconds.
    Accepted {
        /// When it is asked next, from now.
        again_ms: i64,
    },
    /// The money arrived.
    Settled,
    /// It refused, or could not be reached.
    Failed(String),
}

/// Takes what a provider said of a refund. `None`: there is no such refund; else the refund as it is now.
pub fn note_refund<L: Ledger>(
    ledger: &mut L,
    id: &RefundId,
    news: &RefundNews,
    now: Millis,
) -> Result<Option<Refund>, L::Error> {
    let Some(mut refund) = ledger.refund(id)? else { return Ok(None) };
    if refund.state == RefundState::Settled && keeps(Rule::SettledStays) {
        return Ok(Some(refund));
    }
    match news {
        RefundNews::Accepted { again_ms } => {
            // One that was given up because no answer came: it is on its way after all.
            refund.state = RefundState::Pending;
            refund.accepted = true;
            refund.tries = 0;
            refund.error = None;
            refund.next_at = now.plus(*again_ms);
        }
        RefundNews::Settled => {
            refund.state = RefundState::Settled;
            refund.error = None;
            refund.settled_at = Some(now);
        }
        RefundNews::Failed(error) => {
            refund.tries += 1;
            refund.error = Some(error.clone());
            refund.next_at = now.plus(backoff_ms(refund.tries));
            if refund.tries >= REFUND_TRIES_MAX && keeps(Rule::RefundTriesBounded) {
                refund.state = RefundState::Failed;
            }
        }
    }
    ledger.put_refund(&refund)?;
    Ok(Some(refund))
}

/// Asks the provider once more for a refund that was given up. `None`: there is none that was.
pub fn retry_refund<L: Ledger>(ledger: &mut L, id: &RefundId, now: Millis) -> Result<Option<Refund>, L::Error> {
    let Some(mut refund) = ledger.refund(id)?.filter(|r| r.state == RefundState::Failed) else { return Ok(None) };
    refund.state = RefundState::Pending;
    refund.tries = 0;
    refund.next_at = now;
    ledger.put_refund(&refund)?;
    Ok(Some(refund))
}

/// Takes a provider's message about a refund, by the refund's id or its payment's. False if the message was taken before or names no refund of ours.
pub fn settle_refund<L: Ledger>(
    ledger: &mut L,
    provider: &str,
    event: &str,
    id: &RefundId,
    news: &RefundNews,
    now: Millis,
) -> Result<bool, L::Error> {
    if ledger.inbox(provider, event)? && keeps(Rule::InboxOnce) {
        return Ok(false);
    }
    ledger.insert_inbox(provider, event, now)?;
    Ok(note_refund(ledger, id, news, now)?.is_some())
}

/// Where a buyer pays for an order at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// For which order.
    pub order: TicketId,
    /// At which provider.
    pub provider: String,
    /// The provider's id of it.
    pub session: String,
    /// Where the buyer's browser goes.
    pub url: String,
    /// Until when the provider takes money there, as far as we asked for.
    pub expires_at: Millis,
    /// Whether the provider may still take money there: it is closed only once the provider said that it does not, and has not.
    pub open: bool,
    /// When it was made.
    pub at: Millis,
}

/// What an attempt to keep a checkout came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutKept {
    /// The order's checkout: this one, or the one that was kept before.
    Kept(Checkout),
    /// The order does not wait for a payment (any more): the new checkout is to be closed at the provider.
    WrongState(Order),
    /// No such order.
    NotFound,
}

/// Keeps a checkout with its order, which must wait for its payment. An order keeps one open checkout; a closed one is replaced.
pub fn keep_checkout<L: Ledger>(ledger: &mut L, new: &Checkout) -> Result<CheckoutKept, L::Error> {
    let Some(order) = order::locked(ledger, &new.order)? else { return Ok(CheckoutKept::NotFound) };
    if order.state != OrderState::Reserved && keeps(Rule::CheckoutWhileReserved) {
        return Ok(CheckoutKept::WrongState(order));
    }
    if let Some(kept) = ledger.checkout(&new.order)?
        && kept.open
        && keeps(Rule::CheckoutOnce)
    {
        return Ok(CheckoutKept::Kept(kept));
    }
    ledger.put_checkout(new)?;
    Ok(CheckoutKept::Kept(new.clone()))
}

/// Notes that a provider takes no money at this session any more, and took none. False if the order keeps another one.
pub fn close_checkout<L: Ledger>(ledger: &mut L, order: &TicketId, session: &str) -> Result<bool, L::Error> {
    if order::locked(ledger, order)?.is_none() {
        return Ok(false);
    }
    let same = |c: &Checkout| c.session == session || !keeps(Rule::CloseNamesSession);
    let Some(mut kept) = ledger.checkout(order)?.filter(same) else { return Ok(false) };
    if kept.open {
        kept.open = false;
        ledger.put_checkout(&kept)?;
    }
    Ok(true)
}
