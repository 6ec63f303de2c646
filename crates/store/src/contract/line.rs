//! Places in the lines of items. The rules are in [`doorbuster_core::line`].
use doorbuster_core::Place;
pub use doorbuster_core::line::LineServed;

/// A place, and how far off its turn is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePlace {
    /// The place.
    pub place: Place,
    /// Places that wait before it; 0 for one that ended.
    pub ahead: u64,
}
