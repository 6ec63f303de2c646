//! Values that the tests of several steps use.
use doorbuster_core::{Epoch, Grant, GrantId, Seq, SlotKey, TicketN};

/// The grant is open, acknowledged and counted, and none of its tickets is resolved.
pub(crate) fn grant(id: u64, slot: SlotKey, granted: u64) -> Grant {
    Grant {
        id: GrantId(id),
        slot,
        epoch: Epoch(1),
        granted,
        settled: 0,
        counted: true,
        open: true,
        acked: true,
        max_n: TicketN(0),
        resolved: 0,
        feed_len: Seq(0),
        closed: None,
    }
}
