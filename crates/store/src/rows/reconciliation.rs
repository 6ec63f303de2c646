//! Converts rows of reports to their values.
use doorbuster_core::{ItemId, Millis, TicketId};

use crate::contract::{
    Difference, DifferenceKind, ItemTotals, MoneyTotals, OpeningStock, OrderTransition,
    StockAdjustment,
};
use crate::failure::{Done, Failure};
use crate::reconciliation;
use crate::reconciliation::{ItemRow, state_after};
use crate::rows::stock;
use crate::sql::Row;

pub(crate) fn item(row: Row<'_>) -> Done<ItemRow> {
    let books = ItemTotals {
        item: ItemId(row.get(0)?),
        sale: row.get(1)?,
        name: row.get(2)?,
        total: stock(row, 3)?,
        pool: row.number(4)?,
        in_slots: row.number(5)?,
        held: row.number(6)?,
        paid: row.number(7)?,
        ended: row.number(8)?,
        price_minor: row.get(9)?,
        currency: row.get(10)?,
        money: Vec::new(),
    };
    Ok(ItemRow { books, expected: (row.number(11)?, row.number(12)?) })
}

pub(crate) fn money(row: Row<'_>) -> Done<(Option<ItemId>, MoneyTotals)> {
    let sum = |at| Done::Ok(reconciliation::sum(row.get(at)?, row.get(at + 1)?));
    let sums = MoneyTotals {
        currency: row.get(1)?,
        captured: sum(2)?,
        standing: sum(4)?,
        refunded: sum(6)?,
        pending: sum(8)?,
        failed: sum(10)?,
    };
    Ok((row.get::<Option<i64>>(0)?.map(ItemId), sums))
}

fn difference(kind: DifferenceKind, row: Row<'_>) -> Done<Difference> {
    let item = row.get::<Option<i64>>(0)?.map(ItemId);
    Ok(Difference { kind, item, order: row.get(1)?, payment: row.get(2)?, detail: row.get(3)? })
}

pub(crate) fn keyed_difference(kind: DifferenceKind, row: Row<'_>) -> Done<(i64, Difference)> {
    Ok((row.get(4)?, difference(kind, row)?))
}

pub(crate) fn opening(row: Row<'_>) -> Done<OpeningStock> {
    Ok(OpeningStock { item: ItemId(row.get(0)?), total: stock(row, 1)?, at: Millis(row.get(2)?) })
}

pub(crate) fn stock_adjustments(row: Row<'_>) -> Done<(i64, StockAdjustment)> {
    let (item, at) = (ItemId(row.get(1)?), Millis(row.get(4)?));
    Ok((row.get(0)?, StockAdjustment { item, units: row.get(2)?, reason: row.get(3)?, at }))
}

pub(crate) fn order_transitions(row: Row<'_>) -> Done<(i64, OrderTransition)> {
    let wrong = |what: &str| Failure::Row(format!("event of an order has no valid {what}"));
    let order_transitions = OrderTransition {
        order: TicketId::parse(row.text(1, "order")?).ok_or_else(|| wrong("order"))?,
        item: ItemId(row.get(2)?),
        units: row.number(3)?,
        before: row.text_opt(8, "state")?.and_then(state_after),
        after: state_after(row.text(4, "state")?).ok_or_else(|| wrong("state"))?,
        at: Millis(row.get(5)?),
        by: row.get(6)?,
        why: row.get(7)?,
    };
    Ok((row.get(0)?, order_transitions))
}
