//! Values that the tests of several steps use.
use doorbuster_core::{Epoch, Grant, GrantId, Seq, SlotKey, TicketN};

/// Returns a grant that is open, acknowledged and counted. None of its tickets is settled.
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
