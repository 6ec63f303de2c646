//! A blind update: one statement takes the units and does not check whether enough units are left.
//!
//! How it works: `UPDATE stock SET available = available - n` takes the units. Then the order is
//! written. When no units are left, the page hides the button, but the server checks nothing.
//! Where it comes from: the first version of many shops, and every guide that warns against it.
//! When it holds: while the buyers together request no more units than exist.
//! How it breaks: the stock becomes negative, and every buyer who still has the page open gets an
//! order. This happens even if the buyers come one after another.

use crate::backends::{Backends, execute};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "unsafe-update",
    family: Family::Database,
    title: "Blind update",
    claim: Claim::Unsafe,
    source: "the naive first version that every guide warns of",
    suits: "Nothing: it sells units that do not exist",
    text: include_str!("unsafe_update.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(UnsafeUpdate(backends.clone()))),
};

const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL, units bigint NOT NULL);";
const TAKE: &str = "UPDATE stock SET available = available - $1 WHERE item = 1";
const ORDER: &str = "INSERT INTO orders (buyer, units) VALUES ($1, $2)";

struct UnsafeUpdate(Backends);

impl Strategy for UnsafeUpdate {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let db = self.0.db().await?;
            execute(&db, TAKE, &[&units]).await?;
            execute(&db, ORDER, &[&buyer, &units]).await?;
            Ok(Answer::Sold)
        })
    }
}
