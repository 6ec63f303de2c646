//! Converts rows of the tables to and from the values of the rules. Numbers of 63 bits fit SQLite's
//! signed integers unchanged.
use rusqlite::Row;

use doorbuster_core::rows::FeedCause;
use doorbuster_core::{
    BuyerId, CloseCause, Counter, Epoch, FeedRow, Grant, GrantId, Item, ItemId, Millis, Order,
    OrderState, Recall, RecallId, RecallTarget, RequestKey, Resolution, Seq, SlotKey, Stock,
    TicketId, TicketN, Units, Verdict,
};

use super::failure::Failure;

type RowResult<T> = Result<T, Failure>;

// The columns in the order in which the functions below read them. They are macros, because
// `concat!` accepts macros but not constants.
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
        "id, item_id, buyer, request_key, units, state, grant_id, n, reserved_at, pay_by, paid_at, \
         ended_at"
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
        "ticket, grant_id, n, verdict, order_id"
    };
}
pub(super) use {
    feed_columns, grant_columns, item_columns, order_columns, recall_columns, resolution_columns,
};

/// Converts a `u64` to a signed column. Every valid number is below 2^63. A damaged number keeps
/// its bits.
pub(super) fn int(number: u64) -> i64 {
    number.cast_signed()
}

fn bad_row(what: &str) -> Failure {
    Failure::Row(format!("row contains an invalid {what}"))
}

pub(super) fn number(row: &Row<'_>, at: usize) -> RowResult<u64> {
    Ok(row.get::<_, i64>(at)?.cast_unsigned())
}

pub(super) fn parse_text<T>(
    row: &Row<'_>,
    at: usize,
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> RowResult<T> {
    parse(row.get_ref(at)?.as_str().map_err(|_| bad_row(what))?).ok_or_else(|| bad_row(what))
}

pub(super) fn parse_text_opt<T>(
    row: &Row<'_>,
    at: usize,
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> RowResult<Option<T>> {
    match row.get_ref(at)?.as_str_or_null().map_err(|_| bad_row(what))? {
        Some(text) => parse(text).ok_or_else(|| bad_row(what)).map(Some),
        None => Ok(None),
    }
}

fn cause(text: &str) -> Option<CloseCause> {
    CloseCause::ALL.iter().copied().find(|c| c.as_str() == text)
}

fn feed_cause(text: &str) -> Option<FeedCause> {
    use FeedCause::{OrderEnded, OrderRevived, Recalled, Refill, Returned};
    [Refill, Returned, OrderEnded, OrderRevived, Recalled].into_iter().find(|c| c.as_str() == text)
}

pub(super) fn closing(row: &Row<'_>, at: usize) -> RowResult<CloseCause> {
    parse_text(row, at, "cause", cause)
}

pub(super) fn ticket(row: &Row<'_>, at: usize) -> RowResult<TicketId> {
    parse_text(row, at, "ticket id", TicketId::parse)
}

pub(super) fn item(row: &Row<'_>) -> RowResult<Item> {
    let total = row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned);
    Ok(Item {
        id: ItemId(row.get(0)?),
        total: total.map_or(Stock::Unlimited, Stock::Counted),
        pool: number(row, 2)?,
        limit: row.get(3)?,
        hold_ms: row.get(4)?,
        ended: number(row, 5)?,
        paid: number(row, 6)?,
        waiting: number(row, 7)?,
    })
}

pub(super) fn grant(row: &Row<'_>) -> RowResult<Grant> {
    Ok(Grant {
        id: GrantId(number(row, 0)?),
        slot: SlotKey { item: ItemId(row.get(1)?), index: row.get(2)? },
        epoch: Epoch(number(row, 3)?),
        granted: number(row, 4)?,
        settled: number(row, 5)?,
        counted: row.get(6)?,
        open: row.get(7)?,
        acked: row.get(8)?,
        max_n: TicketN(number(row, 9)?),
        resolved: number(row, 10)?,
        feed_len: Seq(number(row, 11)?),
        closed: parse_text_opt(row, 12, "cause", cause)?,
    })
}

pub(super) fn order(row: &Row<'_>) -> RowResult<Order> {
    Ok(Order {
        id: ticket(row, 0)?,
        item: ItemId(row.get(1)?),
        buyer: parse_text(row, 2, "buyer", BuyerId::new)?,
        key: parse_text(row, 3, "request key", RequestKey::new)?,
        units: Units::new(row.get(4)?).ok_or_else(|| bad_row("number of units"))?,
        state: parse_text(row, 5, "state", OrderState::parse)?,
        grant: GrantId(number(row, 6)?),
        n: TicketN(number(row, 7)?),
        reserved_at: Millis(row.get(8)?),
        pay_by: Millis(row.get(9)?),
        paid_at: row.get::<_, Option<i64>>(10)?.map(Millis),
        ended_at: row.get::<_, Option<i64>>(11)?.map(Millis),
    })
}

pub(super) fn feed(row: &Row<'_>) -> RowResult<FeedRow> {
    Ok(FeedRow {
        grant: GrantId(number(row, 0)?),
        seq: Seq(number(row, 1)?),
        ticket: parse_text_opt(row, 2, "ticket id", TicketId::parse)?,
        buyer: parse_text_opt(row, 3, "buyer", BuyerId::new)?,
        key: parse_text_opt(row, 4, "request key", RequestKey::new)?,
        units: number(row, 5)?,
        counter: parse_text(row, 6, "counter", Counter::parse)?,
        quota_delta: row.get(7)?,
        cause: parse_text(row, 8, "cause", feed_cause)?,
    })
}

pub(super) fn recall(row: &Row<'_>) -> RowResult<Recall> {
    let target = row.get::<_, Option<i64>>(2)?.map(|id| GrantId(id.cast_unsigned()));
    Ok(Recall {
        id: RecallId(number(row, 0)?),
        grant: GrantId(number(row, 1)?),
        target: target.map_or(RecallTarget::Pool, RecallTarget::Grant),
        asked: number(row, 3)?,
        taken: number(row, 4)?,
        done: row.get(5)?,
    })
}

/// Returns the word for the verdict of a returned ticket, and the order that it names. The record
/// of a consumed ticket is its order.
pub(super) fn verdict_columns(verdict: &Verdict) -> (&'static str, Option<TicketId>) {
    match verdict {
        Verdict::Order(id) => ("order", Some(*id)),
        Verdict::KeyReused => ("key_reused", None),
        Verdict::LimitReached => ("limit_reached", None),
        Verdict::Unavailable | Verdict::Reserved => ("unavailable", None),
    }
}

pub(super) fn resolution(row: &Row<'_>) -> RowResult<Resolution> {
    let verdict = match parse_text_opt(row, 4, "ticket id", TicketId::parse)? {
        Some(order) => Verdict::Order(order),
        None => parse_text(row, 3, "verdict", |text| match text {
            "key_reused" => Some(Verdict::KeyReused),
            "limit_reached" => Some(Verdict::LimitReached),
            "unavailable" => Some(Verdict::Unavailable),
            _ => None,
        })?,
    };
    Ok(Resolution {
        ticket: ticket(row, 0)?,
        grant: GrantId(number(row, 1)?),
        n: row.get::<_, Option<i64>>(2)?.map(|n| TicketN(n.cast_unsigned())),
        verdict,
    })
}
