//! The stock of items: its division among slots, its counts, and changes of totals.
use doorbuster_core::sale::Phase;
use doorbuster_core::stock::AdjustResult;
use doorbuster_core::{CloseCause, ItemId, Spread, Stock, stock};

use crate::contract::{AdjustOutcome, Adjustment, ItemCounts, SpreadOutcome};
use crate::counts::{COUNTS_OF_ALL, COUNTS_OF_ITEM, COUNTS_OF_ITEMS};
use crate::failure::Done;
use crate::sql::{Row, Statement, statement, values};
use crate::transaction::{RetryUnknown, Transaction};
use crate::{actions, rows};

use super::phases::lock_open_grants;
use super::sales::{lock_sale, recorded_change};
use super::{Store, StoreResult};

const SALE_OF_ITEM: Statement = statement("SELECT sale_id FROM item WHERE id = $1");
const UPDATE_SPREAD: Statement = statement(
    "UPDATE item SET partitions = $2, choose = $3, spread_initial = $4, spread_threshold = $5,
     spread_refill = $6, partitions_auto = $7 WHERE id = $1",
);
const NEXT_VERSION: Statement = statement("UPDATE sale SET version = version + 1 WHERE id = $1");
const ADJUSTED: Statement =
    statement("SELECT units, reason FROM adjustment WHERE item_id = $1 AND key = $2");
const INSERT_ADJUSTMENT: Statement = statement(
    "INSERT INTO adjustment (item_id, key, units, reason, total_after, at)
     VALUES ($1, $2, $3, $4, $5, $6)",
);

fn set_spread(
    tx: &mut Transaction<'_, '_>,
    item: ItemId,
    spread: &Spread,
    if_version: Option<u64>,
) -> Done<SpreadOutcome> {
    let id = tx.one(SALE_OF_ITEM, &values![item], |row| row.get::<String>(0))?;
    let Some(id) = id else { return Ok(SpreadOutcome::NotFound) };
    let Some(sale) = lock_sale(tx, &id)? else { return Ok(SpreadOutcome::NotFound) };
    if sale.phase == Phase::Closed {
        return Ok(SpreadOutcome::WrongState(sale.phase));
    }
    let known = sale.items.iter().find(|row| row.id == item).map(|row| row.spread);
    let kept = known.filter(|known| known.auto && spread.auto && if_version.is_none());
    let spread = &kept.map_or(*spread, |kept| Spread { partitions: kept.partitions, ..*spread });
    // A call may be repeated after the first call stored the spread and increased the version. So
    // the spread is compared before the version.
    if known == Some(*spread) {
        return Ok(SpreadOutcome::Done(sale));
    }
    if if_version.is_some_and(|wanted| wanted != sale.version) {
        return Ok(SpreadOutcome::VersionMismatch(sale.version));
    }
    tx.change_catalogue()?;
    let Spread { partitions, auto, choose, initial, threshold, refill } = spread;
    let choose = choose.as_str();
    let values = values![item, *partitions, choose, *initial, *threshold, *refill, *auto];
    // Transactions lock grants before items, so the grants are locked before the item's row is
    // changed.
    if sale.phase.is_before_opening() {
        lock_open_grants(tx, &[item])?;
    }
    tx.run(UPDATE_SPREAD, &values)?;
    if sale.phase.is_before_opening() {
        // A slot keeps the threshold and the units that it got with its grant. So before the sale
        // opens, the old grants are closed here, and the slots get new grants. While the sale runs,
        // a job replaces the grants.
        stock::close_item_grants(tx.ledger(), item, CloseCause::Rolled)?;
    }
    tx.run(NEXT_VERSION, &values![&id])?;
    let sale = recorded_change(tx, &sale)?;
    Ok(sale.map_or(SpreadOutcome::NotFound, SpreadOutcome::Done))
}

fn adjusted(row: Row<'_>) -> Done<(i64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn adjust(tx: &mut Transaction<'_, '_>, adjustment: &Adjustment) -> Done<AdjustOutcome> {
    let Adjustment { item, units, reason, key } = adjustment;
    let (item, now) = (*item, tx.now());
    // In PostgreSQL this read locks the sale, so the sale cannot close before this transaction
    // ends.
    tx.ledger().on_sale(item)?;
    // The item is locked before the adjustment is read. So if two calls with the same key run
    // concurrently, the second call finds the adjustment of the first call.
    if tx.ledger().item(item)?.is_none() {
        return Ok(AdjustOutcome::NotFound);
    }
    let earlier = tx.one(ADJUSTED, &values![item, key], adjusted)?;
    match &earlier {
        Some(earlier) if *earlier != (*units, reason.clone()) => {
            return Ok(AdjustOutcome::KeyReused);
        }
        Some(_) => {}
        None => match stock::adjust(tx.ledger(), item, *units, now)? {
            AdjustResult::Done(done) => {
                let total = rows::total(done.total);
                let values = values![item, key, *units, reason, total, now];
                tx.run(INSERT_ADJUSTMENT, &values)?;
                if let Stock::Counted(total) = done.total {
                    tx.record(&actions::adjusted(*units, total, reason))?;
                }
            }
            AdjustResult::NotInPool(pool) => return Ok(AdjustOutcome::NotInPool(pool)),
            AdjustResult::TooMuch => return Ok(AdjustOutcome::TooMuch),
            AdjustResult::Unlimited => return Ok(AdjustOutcome::Unlimited),
            AdjustResult::Closed => return Ok(AdjustOutcome::Closed),
            AdjustResult::NotFound => return Ok(AdjustOutcome::NotFound),
        },
    }
    let counts = tx.one(COUNTS_OF_ITEM, &values![item], rows::counts)?;
    // The item's row is written at the end of the transaction. Until then, only the row cache has
    // the new total and pool.
    let cached = tx.ledger().item(item)?;
    let counts = counts.zip(cached).map(|(mut counts, item)| {
        (counts.total, counts.pool) = (item.total, item.pool);
        counts.kept = item.kept_for_waitlist();
        counts
    });
    let outcome = if earlier.is_some() { AdjustOutcome::Repeated } else { AdjustOutcome::Done };
    Ok(counts.map_or(AdjustOutcome::NotFound, outcome))
}

impl Store {
    /// Changes how an item's stock is divided among its slots. This is allowed until the sale is
    /// closed. The sale's version increases if anything changed. If `if_version` is given and the
    /// sale has another version, nothing changes. If the server chooses the number of partitions
    /// before and after the change, a call without `if_version` keeps the stored number. The reason
    /// is that the caller's number may be outdated.
    pub async fn set_spread(
        &self,
        item: ItemId,
        spread: Spread,
        if_version: Option<u64>,
    ) -> StoreResult<SpreadOutcome> {
        self.job(RetryUnknown::Allowed, move |tx| set_spread(tx, item, &spread, if_version)).await
    }

    /// Returns how many units of these items (or of all items) are in each state, in one snapshot.
    /// The result is sorted by item. Items that do not exist are left out.
    pub async fn counts(&self, items: Option<Vec<ItemId>>) -> StoreResult<Vec<ItemCounts>> {
        match items {
            None => self.all(COUNTS_OF_ALL, [], rows::counts).await,
            Some(items) => self.all(COUNTS_OF_ITEMS, values![items.as_slice()], rows::counts).await,
        }
    }

    /// Changes an item's total and records the reason. This is allowed until the sale is closed. A
    /// second call with the same key, units and reason has no effect.
    pub async fn adjust(&self, adjustment: Adjustment) -> StoreResult<AdjustOutcome> {
        self.job(RetryUnknown::Allowed, move |tx| adjust(tx, &adjustment)).await
    }

    /// Returns the units and the reason of the adjustment with this key.
    pub async fn adjustment(&self, item: ItemId, key: &str) -> StoreResult<Option<(i64, String)>> {
        self.one(ADJUSTED, values![item, key.to_owned()], adjusted).await
    }
}
