//! Converts rows of waitlists to the types of `doorbuster-core`.
use doorbuster_core::{BuyerId, ItemId, Millis, RequestKey, TicketN, WaitlistEntry, WaitlistState};

use crate::failure::Done;
use crate::rows::ticket;
use crate::sql::Row;

macro_rules! entry_columns {
    () => {
        "w.item_id, w.n, w.id, w.buyer, w.request_key, w.state, w.joined_at, w.ended_at"
    };
}
pub(crate) use entry_columns;

pub(crate) fn entry(row: Row<'_>) -> Done<WaitlistEntry> {
    Ok(WaitlistEntry {
        item: ItemId(row.get(0)?),
        n: TicketN(row.number(1)?),
        id: ticket(row, 2)?,
        buyer: row.parse(3, "buyer", BuyerId::new)?,
        key: row.parse(4, "request key", RequestKey::new)?,
        state: row.parse(5, "state", WaitlistState::parse)?,
        joined_at: Millis(row.get(6)?),
        ended_at: row.time(7)?,
    })
}
