//! Blocked buyers and addresses, in PostgreSQL.
use tokio_postgres::Row;

use doorbuster_core::Millis;

use crate::contract::{Block, BlockKind, BlocksVersion};
use crate::store::StoreResult;

use super::failure::Failure;
use super::rows::{self, int};
use super::transaction::RetryUnknown;
use super::{Postgres, PostgresLedger};

type Done<T> = Result<T, Failure>;

fn block(row: &Row) -> Done<Block> {
    Ok(Block {
        kind: rows::parse_text(row, 0, "kind", BlockKind::parse)?,
        value: row.try_get(1)?,
        until: rows::time(row, 2)?,
        reason: row.try_get(3)?,
        at: Millis(row.try_get(4)?),
    })
}

/// Concurrent insertions may exceed the bound by a few rows in total. The bound protects the memory
/// of nodes, which have room for a few more.
fn insert(ledger: &mut PostgresLedger<'_>, block: &Block, most: usize) -> Done<bool> {
    ledger.run("DELETE FROM block WHERE until <= $1", &[&block.at.0])?;
    let sql = "INSERT INTO block (kind, value, until, reason, at)
         SELECT $1::text, $2::text, $3::bigint, $4::text, $5::bigint
         WHERE (SELECT count(*) FROM block WHERE kind <> $1 OR value <> $2) < $6
         ON CONFLICT (kind, value) DO UPDATE SET until = excluded.until, reason = excluded.reason,
         at = excluded.at";
    let until = block.until.map(|until| until.0);
    let most = int(most as u64);
    let kind = block.kind.as_str();
    Ok(ledger.run(sql, &[&kind, &block.value, &until, &block.reason, &block.at.0, &most])? > 0)
}

impl Postgres {
    pub(crate) async fn insert_block(
        &self,
        kind: BlockKind,
        value: &str,
        until: Option<Millis>,
        reason: &str,
        most: usize,
    ) -> StoreResult<Option<Block>> {
        let (value, reason) = (value.to_owned(), reason.to_owned());
        let write = move |ledger: &mut PostgresLedger<'_>| {
            let block =
                Block { kind, value: value.clone(), until, reason: reason.clone(), at: ledger.now };
            let written = insert(ledger, &block, most)?;
            Ok(ledger.record_if(written)?.then_some(block))
        };
        self.job(RetryUnknown::Allowed, write).await
    }

    pub(crate) async fn delete_block(&self, kind: BlockKind, value: &str) -> StoreResult<bool> {
        let value = value.to_owned();
        let delete = move |ledger: &mut PostgresLedger<'_>| {
            let sql = "DELETE FROM block WHERE kind = $1 AND value = $2 AND (until IS NULL
                       OR until > $3)";
            let deleted = ledger.run(sql, &[&kind.as_str(), &value, &ledger.now.0])? > 0;
            ledger.record_if(deleted)
        };
        self.job(RetryUnknown::Never, delete).await
    }

    pub(crate) async fn blocks(&self) -> StoreResult<Vec<Block>> {
        let sql =
            "SELECT kind, value, until, reason, at FROM block WHERE until IS NULL OR until > $1
             ORDER BY at DESC, kind, value";
        self.all(sql, &[&self.now().0], block).await
    }

    pub(crate) async fn blocks_version(&self) -> StoreResult<BlocksVersion> {
        let sql = "SELECT count(*), coalesce(sum(at + coalesce(until, 0)), 0)::bigint FROM block";
        let marks = self
            .all(sql, &[], |row| Ok(BlocksVersion { count: row.try_get(0)?, sum: row.try_get(1)? }))
            .await?;
        Ok(marks.into_iter().next().unwrap_or_default())
    }
}
