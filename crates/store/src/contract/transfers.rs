//! Counts of unit transfers between an item's pool and its slots.
use doorbuster_core::GrantId;

/// The transfers of one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTransfers {
    /// The grant.
    pub grant: GrantId,
    /// How many times units moved from the pool to the grant.
    pub refills: u64,
    /// The number of finished recalls: how many times the slot answered a recall.
    pub recalls: u64,
}
