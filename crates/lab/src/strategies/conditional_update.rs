//! A conditional update: the statement that takes the units also checks whether they are left.
//!
//! How it works: `UPDATE … SET available = available - n WHERE available >= n`. If one row changed,
//! the units are sold; if no row changed, the item is sold out. The same statement writes the
//! order, so the stock and the order always change together.
//! Where it comes from: nearly every article recommends this update after the naive versions.
//! When it holds: always. If another buyer has changed the row in the meantime, the database checks
//! the condition again on the row's newest version.
//! How it breaks: it does not break. All buyers write one row, so the row's lock and the commit
//! limit the speed to some thousand orders per second.

use crate::backends::{Backends, execute, is_duplicate};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "conditional-update",
    family: Family::Database,
    title: "Conditional update",
    claim: Claim::Safe,
    source: "common practice: UPDATE … WHERE available >= n",
    suits: "Up to some thousand buyers a second; the best start for most shops",
    text: include_str!("conditional_update.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(ConditionalUpdate(backends.clone()))),
};

const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const TAKE: &str = "
WITH taken AS (
    UPDATE stock SET available = available - $2 WHERE item = 1 AND available >= $2 RETURNING item
)
INSERT INTO orders (buyer, units) SELECT $1, $2 FROM taken";

struct ConditionalUpdate(Backends);

impl Strategy for ConditionalUpdate {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let db = self.0.db().await?;
            match execute(&db, TAKE, &[&buyer, &units]).await {
                Ok(1) => return Ok(Answer::Sold),
                // The buyer already has an order, so the statement took no units.
                Err(error) if is_duplicate(&error) => return Ok(Answer::Sold),
                written => written?,
            };
            drop(db);
            Ok(if self.0.has_order(buyer).await? { Answer::Sold } else { Answer::SoldOut })
        })
    }
}
