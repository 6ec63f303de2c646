//! Endpoints, their pending deliveries, and dead letters.
use std::fmt;

use doorbuster_core::money::{Refund, RefundId};
use doorbuster_core::outbox::EventFilter;
use doorbuster_core::{ItemId, Millis, TicketId};

use super::EventRead;

pub use doorbuster_types::{DeadLetterKind, DeliveryState, EndpointKind};

/// A secret that signs messages to an endpoint. The `Debug` output hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointSecret {
    /// The secret in its text form.
    pub secret: String,
    /// When the secret stops signing. `None` for the newest secret.
    pub until: Option<Millis>,
}

impl fmt::Debug for EndpointSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EndpointSecret").field("until", &self.until).finish_non_exhaustive()
    }
}

/// A receiver of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The endpoint's id.
    pub id: String,
    /// The endpoint's type.
    pub kind: EndpointKind,
    /// The endpoint's address.
    pub url: String,
    /// The events that the endpoint receives.
    pub wanted: EventFilter,
    /// The secrets that sign messages to the endpoint, newest first.
    pub secrets: Vec<EndpointSecret>,
    /// The endpoint's position. Every event up to this position was delivered, has its own delivery
    /// row, or is of a type that the endpoint does not receive.
    pub position: i64,
    /// Whether events are delivered to the endpoint now.
    pub enabled: bool,
    /// When the endpoint was added.
    pub created_at: Millis,
}

/// An endpoint to add. The endpoint receives the events that happen after the addition.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// The endpoint's id. The fields of [`Endpoint`] explain all fields of this type.
    pub id: String,
    /// The endpoint's type.
    pub kind: EndpointKind,
    /// The endpoint's address.
    pub url: String,
    /// The events that the endpoint receives.
    pub wanted: EventFilter,
    /// The secret that signs messages to the endpoint, if they are signed.
    pub secret: Option<EndpointSecret>,
    /// Whether events are delivered to the endpoint from the start.
    pub enabled: bool,
}

/// A change of an endpoint. A field that is `None` does not change.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// The endpoint's new address.
    pub url: Option<String>,
    /// The new filter. It applies to the events after the endpoint's current position.
    pub wanted: Option<EventFilter>,
    /// Whether events are delivered to the endpoint.
    pub enabled: Option<bool>,
    /// A new secret. The earlier secrets stop signing at [`Rotation::old_until`] at the latest.
    pub rotate: Option<Rotation>,
}

/// A new secret that replaces the endpoint's earlier secrets.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The new secret.
    pub secret: EndpointSecret,
    /// When the earlier secrets stop signing.
    pub old_until: Millis,
    /// The largest number of secrets that an endpoint keeps. Older secrets are removed.
    pub keep: usize,
}

impl EndpointChange {
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
            // An earlier attempt of this call already made the change. The caller did not learn
            // this, and repeated the call.
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

/// A delivery of one event to one endpoint. Only some deliveries have a row: those with a failed
/// attempt, those that wait behind a failed delivery, and those that an operator requested again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The number of the delivery. If the delivery becomes a dead letter, the dead letter's id
    /// contains this number.
    pub seq: i64,
    /// The endpoint.
    pub endpoint: String,
    /// The event's position.
    pub position: i64,
    /// The event's type and time. The type may be unknown to this program. `None` if the event was
    /// deleted.
    pub event: Option<(String, Millis)>,
    /// The subject of the event.
    pub about: String,
    /// The state of the delivery.
    pub state: DeliveryState,
    /// The number of failed attempts.
    pub tries: u32,
    /// The time of the next attempt, if the delivery is pending.
    pub next_at: Millis,
    /// The last error.
    pub error: Option<String>,
    /// The operator's reason, if an operator discarded the delivery.
    pub why: Option<String>,
    /// When the delivery entered its state.
    pub at: Millis,
}

/// A filter for a list of deliveries. The newest event comes first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryQuery {
    /// The endpoint.
    pub endpoint: String,
    /// Only deliveries in this state.
    pub state: Option<DeliveryState>,
    /// Continue after this position (from [`crate::Page::next`]).
    pub after: Option<i64>,
    /// The largest number of rows in the page.
    pub limit: usize,
}

/// The result of a request to deliver one event to one endpoint again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redelivery {
    /// The delivery is pending.
    Done,
    /// The event does not exist, or was deleted.
    NoEvent,
    /// No such endpoint exists.
    NoEndpoint,
    /// The endpoint's position is before the event, so the server will deliver the event without
    /// this request.
    Ahead,
    /// The endpoint has the maximum number of pending deliveries.
    Full,
}

/// The progress of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// The endpoint's id.
    pub endpoint: String,
    /// The endpoint's type.
    pub kind: EndpointKind,
    /// Whether events are delivered to the endpoint now.
    pub enabled: bool,
    /// The number of events after the endpoint's position, including events of types that the
    /// endpoint does not receive. In PostgreSQL, at most [`crate::limits::UNSEQUENCED_COUNTED_MAX`]
    /// events without a position are counted. If at least this many events with a position wait,
    /// they are not counted one by one: their number is then the last position minus the endpoint's
    /// position. After a failover, this difference can include positions that no event has.
    pub waiting: u64,
    /// The number of the endpoint's deliveries that will be retried.
    pub pending: u64,
    /// The number of the endpoint's dead deliveries that no operator has resolved.
    pub dead: u64,
    /// When the oldest undelivered event began to wait. An event after the endpoint's position
    /// waits from the time of the event. A pending delivery waits from the time when it first
    /// failed or was requested again.
    pub oldest_at: Option<Millis>,
}

/// Identifies a dead letter.
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
    /// Returns the kind of this dead letter.
    #[must_use]
    pub fn kind(&self) -> DeadLetterKind {
        match self {
            Self::Delivery(_) => DeadLetterKind::Delivery,
            Self::Refund(_) => DeadLetterKind::Refund,
            Self::Ticket(_) => DeadLetterKind::Ticket,
        }
    }
}

/// A dead letter that no operator has resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The dead letter's id.
    pub id: DeadLetterId,
    /// The last error.
    pub reason: String,
    /// The order, item or sale that the dead letter is about.
    pub about: String,
    /// When the delivery or the ticket became a dead letter. For a refund: when the refund was
    /// decided.
    pub at: Millis,
    /// The number of attempts.
    pub tries: u32,
    /// For a delivery: its endpoint and event.
    pub delivery: Option<DeadDelivery>,
}

/// The endpoint, the event's position, and the event's type and time. The type and time are missing
/// if the event was deleted.
pub type DeadDelivery = (String, i64, Option<(String, Millis)>);

/// The content of a dead letter.
#[derive(Clone, Debug)]
pub enum DeadLetterContent {
    /// The event that an endpoint did not accept. `None` if the event was deleted.
    Event(Option<Box<EventRead>>),
    /// The refund that a provider did not make.
    Refund(Box<Refund>),
    /// The request of a ticket that could not be settled.
    Request {
        /// The item.
        item: ItemId,
        /// The buyer.
        buyer: String,
        /// The number of units.
        units: u32,
    },
}

/// The result of an operator's action on a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterOutcome {
    /// The server will retry the dead letter.
    Done,
    /// The dead letter does not exist, or an operator has already resolved it.
    NotFound,
    /// The dead letter cannot be retried, because the ticket's units were returned or the event was
    /// deleted.
    Gone,
    /// The endpoint has the maximum number of pending deliveries.
    Full,
}

/// The number of unresolved dead letters of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// Deliveries.
    pub deliveries: u64,
    /// Refunds.
    pub refunds: u64,
    /// Tickets.
    pub tickets: u64,
}
