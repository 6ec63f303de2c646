//! The ledger of units. Each item has a line for its first total, for each change of the total, and
//! for each change of an order's state. Each line has the item's counts after the change.
//!
//! The counts are computed only from the ledger's lines. So if the counts in an item's last line
//! equal the item's real counts, the ledger contains every movement of the item's units.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use doorbuster_core::{ItemId, Millis, OrderState, Stock};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::ItemState;
use doorbuster_engine::error::EngineError;
use doorbuster_store::{OrderTransition, Page, StockAdjustment};

use super::csv::CsvLines;
use crate::App;
use crate::limits::EXPORT_PAGE;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Balance {
    /// `None` for unlimited stock.
    total: Option<i64>,
    free: i64,
    held: i64,
    paid: i64,
}

impl Balance {
    fn move_units(&mut self, before: Option<OrderState>, after: OrderState, units: i64) {
        *self.holder(before) -= units;
        *self.holder(Some(after)) += units;
    }

    fn holder(&mut self, state: Option<OrderState>) -> &mut i64 {
        match state {
            Some(OrderState::Reserved) => &mut self.held,
            Some(OrderState::Paid) => &mut self.paid,
            None | Some(OrderState::Cancelled | OrderState::Expired | OrderState::Refunded) => {
                &mut self.free
            }
        }
    }
}

fn movement_name(before: Option<OrderState>, after: OrderState) -> &'static str {
    match (before, after) {
        (Some(OrderState::Cancelled | OrderState::Expired), OrderState::Paid) => "paid_late",
        (_, after) => after.as_str(),
    }
}

struct ReadAhead<T> {
    rows: VecDeque<T>,
    /// `None` if all rows were read.
    after: Option<i64>,
}

impl<T> Default for ReadAhead<T> {
    fn default() -> Self {
        Self { rows: VecDeque::new(), after: Some(0) }
    }
}

impl<T> ReadAhead<T> {
    fn replace(&mut self, page: Page<T>) {
        self.rows = page.rows.into();
        self.after = page.next;
    }

    /// Returns the position from which to read more rows. Returns `None` if rows that were already
    /// read still wait to be written, or if no further row exists.
    fn next_after(&self) -> Option<i64> {
        self.after.filter(|_| self.rows.is_empty())
    }
}

/// An item, and its counts after the last line that the export has written.
struct ItemAccount {
    item: Arc<ItemState>,
    balance: Balance,
}

#[derive(Default)]
pub(super) struct LedgerExport {
    sale: Option<String>,
    begun: bool,
    items: BTreeMap<ItemId, ItemAccount>,
    adjusted: ReadAhead<StockAdjustment>,
    moved: ReadAhead<OrderTransition>,
}

impl LedgerExport {
    pub(super) fn for_sale(sale: Option<String>) -> Self {
        Self { sale, ..Self::default() }
    }

    /// Returns `false` if the ledger is complete.
    pub(super) async fn next(
        &mut self,
        app: &App,
        lines: &mut CsvLines,
    ) -> Result<bool, EngineError> {
        let store = app.node.store();
        if !self.begun {
            self.begun = true;
            // The ledger reads events by position. A committed event gets its position later, in
            // `sequence_events`, so this function first gives a position to every event.
            while store.sequence_events(EXPORT_PAGE).await? >= EXPORT_PAGE {}
            let openings = store.opening_stocks(self.sale.clone()).await?;
            let ids: Vec<ItemId> = openings.iter().map(|opening| opening.item).collect();
            let items = app.catalogue_reader.find_items(&ids).await?;
            for (opening, item) in openings.iter().zip(items) {
                let total = match opening.total {
                    Stock::Counted(units) => Some(units.cast_signed()),
                    Stock::Unlimited => None,
                };
                let balance = Balance { total, free: total.unwrap_or(0), ..Balance::default() };
                let (account, said) = (
                    ItemAccount { item, balance },
                    LineDetail { at: opening.at, ..LineDetail::default() },
                );
                account.write_line(lines, "initial", &said);
                self.items.insert(opening.item, account);
            }
            return Ok(true);
        }
        loop {
            if let Some(after) = self.adjusted.next_after() {
                self.adjusted
                    .replace(store.stock_adjustments(self.sale.clone(), after, EXPORT_PAGE).await?);
            }
            if let Some(after) = self.moved.next_after() {
                self.moved
                    .replace(store.order_transitions(self.sale.clone(), after, EXPORT_PAGE).await?);
            }
            while self.adjusted.next_after().is_none() && self.moved.next_after().is_none() {
                if !self.write_next(lines) {
                    return Ok(!lines.is_empty());
                }
            }
            if !lines.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Writes one line: the next adjustment of an item's total or the next change of an order,
    /// whichever is older. Returns `false` if no change is left.
    fn write_next(&mut self, lines: &mut CsvLines) -> bool {
        let (adjusted, moved) = (self.adjusted.rows.front(), self.moved.rows.front());
        let is_adjusted = match (adjusted, moved) {
            (Some(adjusted), Some(moved)) => adjusted.at <= moved.at,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_adjusted && let Some(row) = self.adjusted.rows.pop_front() {
            let Some(account) = self.items.get_mut(&row.item) else { return true };
            account.balance.total = account.balance.total.map(|total| total + row.units);
            account.balance.free += row.units;
            let said = LineDetail {
                at: row.at,
                units: row.units,
                why: Some(row.reason),
                ..LineDetail::default()
            };
            account.write_line(lines, "adjusted", &said);
            return true;
        }
        let Some(row) = self.moved.rows.pop_front() else { return false };
        // The sale was created after the ledger began, so this item is only in later exports.
        let Some(account) = self.items.get_mut(&row.item) else { return true };
        let free = account.balance.free;
        account.balance.move_units(row.before, row.after, row.units.cast_signed());
        let units = account.balance.free - free;
        let said = LineDetail {
            at: row.at,
            units,
            order: Some(row.order.to_string()),
            by: row.by,
            why: row.why,
        };
        account.write_line(lines, movement_name(row.before, row.after), &said);
        true
    }
}

impl ItemAccount {
    fn write_line(&self, lines: &mut CsvLines, movement: &str, said: &LineDetail) {
        let Self { item, balance: after } = self;
        let units = if movement == "initial" { after.total.unwrap_or(0) } else { said.units };
        lines
            .value(api_conversion::time(said.at))
            .text(&item.sale)
            .text(&item.row.name)
            .value(movement)
            .value(units);
        lines.text(said.order.as_deref().unwrap_or_default()).text(&said.by);
        lines.text(said.why.as_deref().unwrap_or_default());
        lines
            .optional(after.total)
            .optional(after.total.map(|_| after.free))
            .value(after.held)
            .value(after.paid)
            .end_line();
    }
}

#[derive(Default)]
struct LineDetail {
    at: Millis,
    units: i64,
    order: Option<String>,
    by: String,
    why: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_balance_keeps_its_sum_when_units_move() {
        use OrderState::{Cancelled, Expired, Paid, Refunded, Reserved};
        let mut balance = Balance { total: Some(10), free: 10, ..Balance::default() };
        for (before, after, units, expected) in [
            (None, Reserved, 3, (7, 3, 0)),
            (None, Reserved, 2, (5, 5, 0)),
            (Some(Reserved), Paid, 3, (5, 2, 3)),
            (Some(Reserved), Expired, 2, (7, 0, 3)),
            (Some(Expired), Paid, 2, (5, 0, 5)),
            (Some(Paid), Refunded, 3, (8, 0, 2)),
            (None, Reserved, 1, (7, 1, 2)),
            (Some(Reserved), Cancelled, 1, (8, 0, 2)),
        ] {
            balance.move_units(before, after, units);
            assert_eq!(
                (balance.free, balance.held, balance.paid),
                expected,
                "{before:?} {after:?}"
            );
        }
        assert_eq!(movement_name(Some(Expired), Paid), "paid_late");
        assert_eq!(
            (movement_name(None, Reserved), movement_name(Some(Reserved), Paid)),
            ("reserved", "paid")
        );
    }
}
