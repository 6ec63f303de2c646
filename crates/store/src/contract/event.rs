//! Stored events and their positions.
use doorbuster_core::event::Event;
use doorbuster_core::outbox::ordering_key;

/// An event with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event's position, or 0 if the event has no position yet. A position never changes. A
    /// later event of the same order, and an event of a later commit, has a higher position.
    pub position: i64,
    /// The number of the event's row.
    pub seq: i64,
    /// The event. If the event is about an order, the event contains the order's state after the
    /// change.
    pub event: Event,
}

/// An event row that is damaged, or that a newer program wrote. The event cannot be delivered, but
/// other events can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableEvent {
    /// The event's position, as in [`StoredEvent::position`].
    pub position: i64,
    /// The event type in the row.
    pub what: String,
    /// The subject that the row names. While the delivery of this event is pending, later events
    /// about the same subject wait.
    pub about: String,
    /// The reason why the row cannot be read.
    pub reason: String,
}

/// The result of reading an event row.
pub type EventRead = Result<StoredEvent, UnreadableEvent>;

/// Returns the subject of an event row, even if the row is unreadable.
pub(crate) fn event_about(read: &EventRead) -> String {
    read.as_ref()
        .map_or_else(|unreadable| unreadable.about.clone(), |stored| ordering_key(&stored.event))
}
