//! Entries of items' waitlists. The rules are in [`doorbuster_core::waitlist`].
use doorbuster_core::WaitlistEntry;
pub use doorbuster_core::waitlist::WaitlistServed;

/// An entry, with the number of entries ahead of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitlistPosition {
    /// The entry.
    pub entry: WaitlistEntry,
    /// The number of waiting entries ahead of this entry. The number is 0 if this entry has ended.
    pub ahead: u64,
}
