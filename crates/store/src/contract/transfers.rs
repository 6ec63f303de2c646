//! Counts of unit transfers between an item's pool and its slots.
use doorbuster_core::GrantId;

/// The transfers of one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTransfers {
    /// The grant.
    pub grant: GrantId,
    /// How often units of the pool were added to the grant.
    pub refills: u64,
    /// How often the slot answered a recall.
    pub recalls: u64,
}
