//! What happened, as it stands in the store.
use doorbuster_core::event::Event;

/// An event with its place among all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What readers continue by: rises by commits, and never changes. Events of one order stand in the order in which they happened. 0: not given yet.
    pub position: i64,
    /// Its row.
    pub seq: i64,
    /// What happened. An order is as it was after the change.
    pub event: Event,
}
