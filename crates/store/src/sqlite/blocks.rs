//! Blocked buyers and addresses, in SQLite.
use rusqlite::{Row, params};

use doorbuster_core::Millis;

use crate::contract::{Block, BlockKind, BlocksVersion};
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::rows::int;

type Done<T> = Result<T, Failure>;

fn block(row: &Row<'_>) -> Done<Block> {
    let word: String = row.get(0)?;
    Ok(Block {
        kind: BlockKind::parse(&word)
            .ok_or_else(|| Failure::Row(format!("unknown kind of block {word:?}")))?,
        value: row.get(1)?,
        until: row.get::<_, Option<i64>>(2)?.map(Millis),
        reason: row.get(3)?,
        at: Millis(row.get(4)?),
    })
}

fn insert(ledger: &mut SqliteLedger<'_>, block: &Block, most: usize) -> Done<bool> {
    let sql = &mut ledger.sql;
    sql.run("DELETE FROM block WHERE until <= ?1", params![block.at.0])?;
    let written = sql.run(
        "INSERT INTO block (kind, value, until, reason, at) SELECT ?1, ?2, ?3, ?4, ?5
         WHERE (SELECT count(*) FROM block WHERE kind <> ?1 OR value <> ?2) < ?6
         ON CONFLICT (kind, value) DO UPDATE SET until = excluded.until, reason = excluded.reason,
         at = excluded.at",
        params![
            block.kind.as_str(),
            block.value,
            block.until.map(|until| until.0),
            block.reason,
            block.at.0,
            int(most as u64)
        ],
    )?;
    Ok(written > 0)
}

impl Sqlite {
    pub(crate) async fn insert_block(
        &self,
        kind: BlockKind,
        value: &str,
        until: Option<Millis>,
        reason: &str,
        most: usize,
    ) -> StoreResult<Option<Block>> {
        let (value, reason) = (value.to_owned(), reason.to_owned());
        self.job(move |ledger| {
            let block = Block { kind, value, until, reason, at: ledger.now };
            let written = insert(ledger, &block, most)?;
            Ok(ledger.record_if(written)?.then_some(block))
        })
        .await
    }

    pub(crate) async fn delete_block(&self, kind: BlockKind, value: &str) -> StoreResult<bool> {
        let value = value.to_owned();
        self.job(move |ledger| {
            let sql = "DELETE FROM block WHERE kind = ?1 AND value = ?2 AND (until IS NULL
                       OR until > ?3)";
            let now = ledger.now;
            let deleted = ledger.sql.run(sql, params![kind.as_str(), value, now.0])? > 0;
            ledger.record_if(deleted)
        })
        .await
    }

    pub(crate) async fn blocks(&self) -> StoreResult<Vec<Block>> {
        const SQL: &str =
            "SELECT kind, value, until, reason, at FROM block WHERE until IS NULL OR until > ?1
             ORDER BY at DESC, kind, value";
        let now = self.now();
        self.read(move |sql| sql.all(SQL, params![now.0], block)).await
    }

    pub(crate) async fn blocks_version(&self) -> StoreResult<BlocksVersion> {
        const SQL: &str = "SELECT count(*), coalesce(sum(at + coalesce(until, 0)), 0) FROM block";
        let mark = self
            .read(|sql| {
                sql.one(SQL, [], |row| Ok(BlocksVersion { count: row.get(0)?, sum: row.get(1)? }))
            })
            .await?;
        Ok(mark.unwrap_or_default())
    }
}
