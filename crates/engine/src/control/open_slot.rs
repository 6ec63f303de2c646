//! A slot as a round of reconciliation sees it.

use doorbuster_core::Grant;
use doorbuster_core::slot::SlotView;

/// A slot that this node reaches, and its open grant.
#[derive(Clone, Debug)]
pub(super) struct OpenSlot {
    /// The grant as it was read, plus the units that the slot got since then.
    pub(super) grant: Grant,
    /// The slot's own view.
    pub(super) view: SlotView,
    /// Whether the slot accepted its grant in this round.
    pub(super) is_new: bool,
    /// Whether the slot has applied all feed rows that the store had when the grant was read.
    pub(super) is_current: bool,
}
