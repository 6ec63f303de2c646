//! Places in the lines of items. The rules are in [`doorbuster_core::line`].
use doorbuster_core::WaitlistEntry;
pub use doorbuster_core::waitlist::WaitlistServed;

/// A place, and how far off its turn is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitlistPosition {
    /// The place.
    pub place: WaitlistEntry,
    /// Places that wait before it; 0 for one that ended.
    pub ahead: u64,
}
