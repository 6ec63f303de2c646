//! Converts rows of the tables to and from the types of `doorbuster-core`. Every valid number is
//! below 2^63, so it fits a signed column unchanged.
use doorbuster_core::rows::FeedCause;
use doorbuster_core::{
    BuyerId, CloseCause, Counter, Epoch, FeedRow, Grant, GrantId, Item, ItemId, Millis, Order,
    OrderState, Recall, RecallId, RecallTarget, RequestKey, Resolution, Seq, SlotKey, Stock,
    TicketId, TicketN, Units, Verdict,
};

use crate::contract::ItemCounts;

use crate::failure::Done;
use crate::sql::{Row, bad_row, to_i64};

pub(crate) mod events;
pub(crate) mod money;
pub(crate) mod reconciliation;
pub(crate) mod waitlist;

// The columns, in the order in which the functions below read them. The lists of columns are
// macros, because `concat!` accepts macros but not constants.
macro_rules! item_columns {
    () => {
        "id, total, pool, limit_per_buyer, hold_ms, ended, paid, waiting"
    };
}
macro_rules! grant_columns {
    () => {
        "id, item_id, slot, epoch, granted, settled, counted, open, acked, max_n, resolved, \
         feed_len, closed_cause"
    };
}
macro_rules! order_columns {
    () => {
        "o.id, o.item_id, o.buyer, o.request_key, o.units, o.state, o.grant_id, o.n, \
         o.reserved_at, o.pay_by, o.paid_at, o.ended_at"
    };
}
macro_rules! feed_columns {
    () => {
        "grant_id, seq, ticket, buyer, request_key, units, counter, quota_delta, cause"
    };
}
macro_rules! recall_columns {
    () => {
        "id, grant_id, target_grant, asked, taken, done"
    };
}
macro_rules! resolution_columns {
    () => {
        "r.ticket, r.grant_id, r.n, r.verdict, r.order_id"
    };
}
pub(crate) use {
    feed_columns, grant_columns, item_columns, order_columns, recall_columns, resolution_columns,
};

pub(crate) fn closing(row: Row<'_>, at: usize) -> Done<CloseCause> {
    row.parse(at, "cause", CloseCause::parse)
}

pub(crate) fn ticket(row: Row<'_>, at: usize) -> Done<TicketId> {
    row.parse(at, "ticket id", TicketId::parse)
}

/// Returns the value of a stock's column. `None` is stored as NULL, which means unlimited.
pub(crate) fn total(stock: Stock) -> Option<i64> {
    match stock {
        Stock::Counted(units) => Some(to_i64(units)),
        Stock::Unlimited => None,
    }
}

pub(crate) fn stock(row: Row<'_>, at: usize) -> Done<Stock> {
    let total = row.number_opt(at)?;
    Ok(total.map_or(Stock::Unlimited, Stock::Counted))
}

pub(crate) fn item(row: Row<'_>) -> Done<Item> {
    Ok(Item {
        id: ItemId(row.get(0)?),
        total: stock(row, 1)?,
        pool: row.number(2)?,
        limit: row.number_u32(3, "limit")?,
        hold_ms: row.get(4)?,
        ended: row.number(5)?,
        paid: row.number(6)?,
        waiting: row.number(7)?,
    })
}

pub(crate) fn grant(row: Row<'_>) -> Done<Grant> {
    Ok(Grant {
        id: GrantId(row.number(0)?),
        slot: SlotKey { item: ItemId(row.get(1)?), index: row.number_u32(2, "slot")? },
        epoch: Epoch(row.number(3)?),
        granted: row.number(4)?,
        settled: row.number(5)?,
        counted: row.get(6)?,
        open: row.get(7)?,
        acked: row.get(8)?,
        max_n: TicketN(row.number(9)?),
        resolved: row.number(10)?,
        feed_len: Seq(row.number(11)?),
        closed: row.parse_opt(12, "cause", CloseCause::parse)?,
    })
}

pub(crate) fn order(row: Row<'_>) -> Done<Order> {
    Ok(Order {
        id: ticket(row, 0)?,
        item: ItemId(row.get(1)?),
        buyer: row.parse(2, "buyer", BuyerId::new)?,
        key: row.parse(3, "request key", RequestKey::new)?,
        units: Units::new(row.number_u32(4, "number of units")?)
            .ok_or_else(|| bad_row("number of units"))?,
        state: row.parse(5, "state", OrderState::parse)?,
        grant: GrantId(row.number(6)?),
        n: TicketN(row.number(7)?),
        reserved_at: Millis(row.get(8)?),
        pay_by: Millis(row.get(9)?),
        paid_at: row.time(10)?,
        ended_at: row.time(11)?,
    })
}

pub(crate) fn feed(row: Row<'_>) -> Done<FeedRow> {
    Ok(FeedRow {
        grant: GrantId(row.number(0)?),
        seq: Seq(row.number(1)?),
        ticket: row.parse_opt(2, "ticket id", TicketId::parse)?,
        buyer: row.parse_opt(3, "buyer", BuyerId::new)?,
        key: row.parse_opt(4, "request key", RequestKey::new)?,
        units: row.number(5)?,
        counter: row.parse(6, "counter", Counter::parse)?,
        quota_delta: row.get(7)?,
        cause: row.parse(8, "cause", FeedCause::parse)?,
    })
}

pub(crate) fn recall(row: Row<'_>) -> Done<Recall> {
    let target = row.get::<Option<i64>>(2)?.map(|id| GrantId(id.cast_unsigned()));
    Ok(Recall {
        id: RecallId(row.number(0)?),
        grant: GrantId(row.number(1)?),
        target: target.map_or(RecallTarget::Pool, RecallTarget::Grant),
        asked: row.number(3)?,
        taken: row.number(4)?,
        done: row.get(5)?,
    })
}

/// Returns two columns of a returned ticket's record: the verdict's word, and the order that the
/// verdict names. A consumed ticket has no such record, because the ticket became an order.
pub(crate) fn verdict_columns(verdict: &Verdict) -> (&'static str, Option<TicketId>) {
    match verdict {
        Verdict::Order(id) => ("order", Some(*id)),
        Verdict::KeyReused => ("key_reused", None),
        Verdict::LimitReached => ("limit_reached", None),
        Verdict::Unavailable | Verdict::Reserved => ("unavailable", None),
    }
}

pub(crate) fn resolution(row: Row<'_>) -> Done<Resolution> {
    let verdict = match row.parse_opt(4, "ticket id", TicketId::parse)? {
        Some(order) => Verdict::Order(order),
        None => row.parse(3, "verdict", |text| match text {
            "key_reused" => Some(Verdict::KeyReused),
            "limit_reached" => Some(Verdict::LimitReached),
            "unavailable" => Some(Verdict::Unavailable),
            _ => None,
        })?,
    };
    let n = row.get::<Option<i64>>(2)?.map(|n| TicketN(n.cast_unsigned()));
    Ok(Resolution { ticket: ticket(row, 0)?, grant: GrantId(row.number(1)?), n, verdict })
}

pub(crate) fn counts(row: Row<'_>) -> Done<ItemCounts> {
    let (pool, ended, paid) = (row.number(2)?, row.number(3)?, row.number(4)?);
    let (settled, waiting) = (row.number(6)?, row.number(7)?);
    Ok(ItemCounts {
        item: ItemId(row.get(0)?),
        total: stock(row, 1)?,
        pool,
        kept: pool.min(waiting),
        in_slots: row.number(5)?,
        // Rows that do not add up cause no error here, because an error would end every poll of the
        // item. The audit finds the fault and pauses the sale.
        held: settled.saturating_sub(ended).saturating_sub(paid),
        paid,
        waiting,
    })
}
