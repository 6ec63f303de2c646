//! Who is told of events, what they were not told yet, and what was given up.
use std::fmt;

use doorbuster_core::money::{Refund, RefundId};
use doorbuster_core::outbox::{EventFilter, PendingDelivery};
use doorbuster_core::{ItemId, Millis, TicketId};

use super::EventRead;

/// What an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointKind {
    /// An address of the shop that takes signed messages over HTTP.
    Webhook,
    /// A broker.
    Broker,
}

impl EndpointKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Webhook, Self::Broker];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Broker => "broker",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// What messages to an endpoint are signed with. It shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointSecret {
    /// As it is written.
    pub secret: String,
    /// Until when it signs; `None`: it is the newest one.
    pub until: Option<Millis>,
}

impl fmt::Debug for EndpointSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EndpointSecret").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Somebody who is told of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: EndpointKind,
    /// Where it is.
    pub url: String,
    /// What it is told of.
    pub wanted: EventFilter,
    /// What its messages are signed with, the newest first.
    pub secrets: Vec<EndpointSecret>,
    /// Every event up to this position was told to it, or has a row of its own.
    pub position: i64,
    /// Whether it is told anything now.
    pub enabled: bool,
    /// When it was added.
    pub created_at: Millis,
}

/// An endpoint to be added. It is told of what happens from then on.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// See [`Endpoint`]; so are the others.
    pub id: String,
    /// What it is.
    pub kind: EndpointKind,
    /// Where it is.
    pub url: String,
    /// What it is told of.
    pub wanted: EventFilter,
    /// What its messages are signed with, if they are.
    pub secret: Option<EndpointSecret>,
    /// Whether it is told anything yet.
    pub enabled: bool,
}

/// A change of an endpoint; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// Where it is.
    pub url: Option<String>,
    /// What it is told of from its position on.
    pub wanted: Option<EventFilter>,
    /// Whether it is told anything.
    pub enabled: Option<bool>,
    /// A new secret; those before it sign until the given instant at most.
    pub rotate: Option<Rotation>,
}

/// A new secret in place of the others.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The new one.
    pub secret: EndpointSecret,
    /// Until when those before it sign.
    pub old_until: Millis,
    /// Secrets that are kept at most; the oldest go.
    pub keep: usize,
}

impl EndpointChange {
    /// The endpoint with this change.
    pub(crate) fn apply(&self, endpoint: &mut Endpoint, now: Millis) {
        if let Some(url) = &self.url {
            endpoint.url.clone_from(url);
        }
        if let Some(wanted) = &self.wanted {
            endpoint.wanted = wanted.clone();
        }
        if let Some(enabled) = self.enabled {
            endpoint.enabled = enabled;
        }
        let Some(Rotation { secret, old_until, keep }) = &self.rotate else { return };
        if endpoint.secrets.first() == Some(secret) {
            // This very change, done before by a try whose outcome was not known.
            return;
        }
        for old in &mut endpoint.secrets {
            old.until = Some(old.until.map_or(*old_until, |until| until.min(*old_until)));
        }
        endpoint.secrets.retain(|old| old.until.is_none_or(|until| now < until));
        endpoint.secrets.insert(0, secret.clone());
        endpoint.secrets.truncate((*keep).max(1));
    }
}

/// What became of an event that an endpoint was not told at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeliveryState {
    /// It will be told.
    Pending,
    /// It was tried as often as it may be.
    Dead,
    /// An operator let it be.
    Discarded,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Pending, Self::Dead, Self::Discarded];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }

    /// The state that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == word)
    }

    /// The state of what was tried.
    pub(crate) fn of(parcel: &PendingDelivery) -> Self {
        if parcel.dead { Self::Dead } else { Self::Pending }
    }
}

/// An event that an endpoint was not told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number, by which a dead one is named.
    pub seq: i64,
    /// To whom.
    pub endpoint: String,
    /// Which event.
    pub position: i64,
    /// The word for what happened, also one that this program does not know, and when it did;
    /// `None`: the event is forgotten.
    pub event: Option<(String, Millis)>,
    /// What it is about.
    pub about: String,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried in vain.
    pub tries: u32,
    /// When it is tried next, if it is.
    pub next_at: Millis,
    /// What went wrong last.
    pub error: Option<String>,
    /// Why an operator let it be.
    pub why: Option<String>,
    /// When it got its state.
    pub at: Millis,
}

/// Which deliveries to list, newest event first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryQuery {
    /// To whom.
    pub endpoint: String,
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Continue after this position (from [`OutboxPage::next`]).
    pub after: Option<i64>,
    /// At most this many.
    pub limit: usize,
}

/// A page of deliveries or dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxPage<T> {
    /// Newest first.
    pub rows: Vec<T>,
    /// Position to continue after; `None`: no more.
    pub next: Option<i64>,
}

impl<T> OutboxPage<T> {
    /// A page of what was read, which is one row more than asked if there is a next page.
    pub(crate) fn of(mut rows: Vec<T>, limit: usize, at: impl Fn(&T) -> i64) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(at);
        Self { rows, next }
    }
}

/// What telling one endpoint of one event once more came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redelivery {
    /// It is pending.
    Done,
    /// There is no such event, or not any more.
    NoEvent,
    /// No such endpoint.
    NoEndpoint,
    /// The endpoint has not come to it yet: it will be told in its turn.
    Ahead,
    /// As many wait as may wait.
    Full,
}

/// How far an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Whose.
    pub endpoint: String,
    /// What it is.
    pub kind: EndpointKind,
    /// Whether it is told anything now.
    pub enabled: bool,
    /// Events after its position, whether it wants them or not; of those without a position at most
    /// [`crate::limits::UNSEQUENCED_COUNTED_MAX`].
    pub waiting: u64,
    /// Events behind it that are tried again.
    pub pending: u64,
    /// Events behind it that were given up and that nobody has seen to.
    pub dead: u64,
    /// Since when something waits for it that it was not told yet: when the next event behind its
    /// position happened, or when the first of those that are tried again failed or was to be told
    /// once more.
    pub oldest_at: Option<Millis>,
}

/// What can be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeadLetterKind {
    /// An event that an endpoint did not take.
    Delivery,
    /// Money that a provider did not give back.
    Refund,
    /// A ticket that could not be settled. Its units went back.
    Ticket,
}

impl DeadLetterKind {
    /// Every kind, in the order in which they are listed.
    pub const ALL: &[Self] = &[Self::Delivery, Self::Refund, Self::Ticket];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Refund => "refund",
            Self::Ticket => "ticket",
        }
    }

    /// The kind that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// Names what was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterId {
    /// A delivery, by its number.
    Delivery(i64),
    /// A refund.
    Refund(RefundId),
    /// A ticket.
    Ticket(TicketId),
}

impl DeadLetterId {
    /// Of which kind it is.
    pub(crate) fn kind(&self) -> DeadLetterKind {
        match self {
            Self::Delivery(_) => DeadLetterKind::Delivery,
            Self::Refund(_) => DeadLetterKind::Refund,
            Self::Ticket(_) => DeadLetterKind::Ticket,
        }
    }
}

/// Something that was given up and that nobody has seen to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Which.
    pub id: DeadLetterId,
    /// What went wrong last.
    pub reason: String,
    /// The order that it is about, or the item or sale.
    pub about: String,
    /// When it was given up; of a refund, when it was decided.
    pub at: Millis,
    /// How often it was tried.
    pub tries: u32,
    /// Of a delivery: which.
    pub delivery: Option<DeadDelivery>,
}

/// To whom, which event, and what happened and when, unless the event is forgotten.
pub type DeadDelivery = (String, i64, Option<(String, Millis)>);

/// What a dead letter holds.
#[derive(Clone, Debug)]
pub enum DeadLetterContent {
    /// The event that an endpoint did not take; `None`: it is forgotten.
    Event(Option<Box<EventRead>>),
    /// The refund that a provider did not make.
    Refund(Box<Refund>),
    /// The request that could not be decided.
    Request {
        /// What was asked for.
        item: ItemId,
        /// By whom.
        buyer: String,
        /// How many.
        units: u32,
    },
}

/// What an operator's word on a dead letter came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterOutcome {
    /// Done.
    Done,
    /// There is no such dead letter, or somebody has seen to it.
    NotFound,
    /// It cannot be tried again: a ticket's units went back, or its event is forgotten.
    Gone,
    /// As many wait for its endpoint as may wait.
    Full,
}

/// How many of each were given up and not seen to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// Deliveries.
    pub deliveries: u64,
    /// Refunds.
    pub refunds: u64,
    /// Tickets.
    pub tickets: u64,
}

/// What may be forgotten: rows that are older than these instants and of use to nobody any more.
#[derive(Clone, Copy, Debug)]
pub struct RetentionCutoffs {
    /// Events that are about no order and that every endpoint is past. An order's history is kept.
    pub events_before: Millis,
    /// Deliveries that are dead or discarded, and dead letters of tickets, whether or not somebody
    /// has seen to them. A ticket's verdict is kept.
    pub dead_before: Millis,
    /// Messages of providers that had their effect. A payment is known by its own id as well.
    pub inbox_before: Millis,
}
