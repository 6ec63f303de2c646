//! Blocked buyers and addresses.
use doorbuster_core::Millis;

use crate::actions;
use crate::contract::{Block, BlockKind, BlocksVersion};
use crate::failure::Done;
use crate::sql::{Row, Statement, as_limit, statement, values};
use crate::transaction::RetryUnknown;

use super::{Store, StoreResult};

const DELETE_ENDED: Statement = statement("DELETE FROM block WHERE until <= $1");
/// Concurrent insertions may exceed the largest number of blocks (`$6`) by a few rows. That does no
/// harm, because this limit only protects the memory of nodes.
const INSERT: Statement = statement(
    "INSERT INTO block (kind, value, until, reason, at)
     SELECT CAST($1 AS text), CAST($2 AS text), CAST($3 AS bigint), CAST($4 AS text),
            CAST($5 AS bigint)
     WHERE (SELECT count(*) FROM block WHERE kind <> $1 OR value <> $2) < $6
     ON CONFLICT (kind, value) DO UPDATE SET until = excluded.until, reason = excluded.reason,
     at = excluded.at",
);
const DELETE: Statement = statement(
    "DELETE FROM block WHERE kind = $1 AND value = $2
     AND (until IS NULL OR until > $3)",
);
const ONE: Statement = statement(
    "SELECT kind, value, until, reason, at FROM block WHERE kind = $1 AND value = $2
     AND (until IS NULL OR until > $3)",
);
const LIST: Statement = statement(
    "SELECT kind, value, until, reason, at FROM block
     WHERE until IS NULL OR until > $1 ORDER BY at DESC, kind, value",
);
const VERSION: Statement = statement(
    "SELECT count(*), CAST(coalesce(sum(at + coalesce(until, 0)), 0) AS bigint) FROM block",
);

fn block(row: Row<'_>) -> Done<Block> {
    Ok(Block {
        kind: row.parse(0, "kind of block", BlockKind::parse)?,
        value: row.get(1)?,
        until: row.time(2)?,
        reason: row.get(3)?,
        at: Millis(row.get(4)?),
    })
}

impl Store {
    /// Blocks this buyer or network until the given time, and replaces an earlier block of the same
    /// buyer or network. Also deletes blocks that have ended. Returns `None` if there are already
    /// `most` other blocks.
    pub async fn insert_block(
        &self,
        kind: BlockKind,
        value: &str,
        until: Option<Millis>,
        reason: &str,
        most: usize,
    ) -> StoreResult<Option<Block>> {
        let (value, reason) = (value.to_owned(), reason.to_owned());
        self.job(RetryUnknown::Allowed, move |tx| {
            let at = tx.now();
            tx.run(DELETE_ENDED, &values![at])?;
            let before = tx.one(ONE, &values![kind.as_str(), &value, at], block)?;
            let is_same = |block: &Block| block.until == until && block.reason == reason;
            if before.as_ref().is_some_and(is_same) {
                return Ok(before);
            }
            let values = values![kind.as_str(), &value, until, &reason, at, as_limit(most)];
            if tx.run(INSERT, &values)? == 0 {
                return Ok(None);
            }
            let after = Block { kind, value: value.clone(), until, reason: reason.clone(), at };
            tx.record(&actions::changed_block(before.as_ref(), Some(&after)))?;
            Ok(Some(after))
        })
        .await
    }

    /// Removes a block. Returns false if there was no such block.
    pub async fn delete_block(&self, kind: BlockKind, value: &str) -> StoreResult<bool> {
        let value = value.to_owned();
        self.job(RetryUnknown::Never, move |tx| {
            let values = values![kind.as_str(), &value, tx.now()];
            let before = tx.one(ONE, &values, block)?;
            let deleted = tx.run(DELETE, &values)? > 0;
            if deleted {
                tx.record(&actions::changed_block(before.as_ref(), None))?;
            }
            Ok(deleted)
        })
        .await
    }

    /// Returns every block that has not ended, newest first.
    pub async fn blocks(&self) -> StoreResult<Vec<Block>> {
        self.all(LIST, values![self.now()], block).await
    }

    /// Returns a value that changes whenever the blocks change. Reading this value costs less than
    /// reading the blocks.
    pub async fn blocks_version(&self) -> StoreResult<BlocksVersion> {
        let version = |row: Row<'_>| Ok(BlocksVersion { count: row.get(0)?, sum: row.get(1)? });
        Ok(self.one(VERSION, [], version).await?.unwrap_or_default())
    }
}
