//! How often units moved between an item's pool and its slots.
use doorbuster_core::GrantId;

/// What happened under one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTransfers {
    /// The grant.
    pub grant: GrantId,
    /// Times that units of the pool were added to it.
    pub refills: u64,
    /// Times that its slot was asked for units back, and answered.
    pub recalls: u64,
}
