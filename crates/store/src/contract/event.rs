//! What happened, as it stands in the store.
use doorbuster_core::event::Event;
use doorbuster_core::outbox::ordering_key;

/// An event with its place among all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// What readers continue by: rises by commits, and never changes. Events of one order stand in
    /// the order in which they happened. 0: not given yet.
    pub position: i64,
    /// Its row.
    pub seq: i64,
    /// What happened. An order is as it was after the change.
    pub event: Event,
}

/// An event's row that is not as this program writes them: damaged, or of a program that came
/// later. Nobody can be told of it; the events around it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableEvent {
    /// Its place, as [`StoredEvent::position`] is.
    pub position: i64,
    /// The word that stands there for what happened.
    pub what: String,
    /// What it is about, as far as its row says: later events about the same come after it.
    pub about: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An event's row as it was read.
pub type EventRead = Result<StoredEvent, UnreadableEvent>;

/// What an event's row is about, also one that cannot be read.
pub(crate) fn event_about(read: &EventRead) -> String {
    read.as_ref()
        .map_or_else(|unreadable| unreadable.about.clone(), |told| ordering_key(&told.event))
}
