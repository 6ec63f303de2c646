//! Access codes in SQLite.
use rusqlite::params;

use doorbuster_core::BuyerId;

use crate::contract::{CodeCounts, CodeSelection, CodesOutcome, FieldChange};
use crate::limits::CODES_MAX;
use crate::store::{CodeHash, StoreResult};

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::rows::number;
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

/// Deletes unused codes. Ends codes that some buyers have used, because those buyers keep their
/// access.
const REVOKE: [&str; 2] = [
    "DELETE FROM access_code WHERE sale_id = ?1 AND spent = 0
     AND (substr(prefix, 1, length(?2)) = ?2 OR hash = ?3)",
    "UPDATE access_code SET uses = spent WHERE sale_id = ?1 AND spent < uses AND spent > 0
     AND (substr(prefix, 1, length(?2)) = ?2 OR hash = ?3)",
];

fn counts(sql: &mut Statements<'_>, sale: &str) -> Done<CodeCounts> {
    let found = sql.one(
        "SELECT count(*), coalesce(sum(uses), 0), coalesce(sum(spent), 0) FROM access_code WHERE \
         sale_id = ?1",
        params![sale],
        |row| {
            Ok(CodeCounts { codes: number(row, 0)?, uses: number(row, 1)?, spent: number(row, 2)? })
        },
    )?;
    Ok(found.unwrap_or_default())
}

fn add(
    ledger: &mut SqliteLedger<'_>,
    sale: &str,
    hashes: &[(String, CodeHash)],
    uses: u32,
) -> Done<CodesOutcome> {
    let sql = &mut ledger.sql;
    if sql.one("SELECT 1 FROM sale WHERE id = ?1", params![sale], |_| Ok(()))?.is_none() {
        return Ok(CodesOutcome::NotFound);
    }
    if counts(sql, sale)?.codes + hashes.len() as u64 > CODES_MAX {
        return Ok(CodesOutcome::TooMany);
    }
    for (prefix, hash) in hashes {
        sql.run(
            "INSERT INTO access_code (sale_id, hash, uses, prefix) VALUES (?1, ?2, ?3, ?4)",
            params![sale, hash, uses, prefix],
        )?;
    }
    ledger.record(&[])?;
    Ok(CodesOutcome::Done)
}

fn spend(ledger: &mut SqliteLedger<'_>, sale: &str, hash: &CodeHash, buyer: &str) -> Done<bool> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    let known = sql.one(
        "SELECT 1 FROM access_code_use WHERE sale_id = ?1 AND hash = ?2 AND buyer = ?3",
        params![sale, hash, buyer],
        |_| Ok(()),
    )?;
    if known.is_some() {
        return Ok(true);
    }
    let spent = sql.run(
        "UPDATE access_code SET spent = spent + 1 WHERE sale_id = ?1 AND hash = ?2
         AND spent < uses",
        params![sale, hash],
    )?;
    if spent == 0 {
        return Ok(false);
    }
    sql.run(
        "INSERT INTO access_code_use (sale_id, buyer, hash, at) VALUES (?1, ?2, ?3, ?4)",
        params![sale, buyer, hash, now.0],
    )?;
    Ok(true)
}

impl Sqlite {
    pub(crate) async fn add_codes(
        &self,
        sale: &str,
        hashes: Vec<(String, CodeHash)>,
        uses: u32,
    ) -> StoreResult<CodesOutcome> {
        let sale = sale.to_owned();
        self.job(move |ledger| add(ledger, &sale, &hashes, uses)).await
    }

    pub(crate) async fn revoke_codes(&self, sale: &str, codes: CodeSelection) -> StoreResult<u64> {
        let sale = sale.to_owned();
        self.job(move |ledger| {
            let (prefix, hash) = match &codes {
                CodeSelection::Prefix(prefix) => (Some(prefix), None),
                CodeSelection::Code(hash) => (None, Some(hash)),
            };
            let mut revoked = 0;
            for statement in REVOKE {
                let rows = ledger.sql.run(statement, params![sale, prefix, hash])?;
                revoked += rows as u64;
            }
            if revoked > 0 {
                ledger.record(&[FieldChange::set("/revoked", revoked)])?;
            }
            Ok(revoked)
        })
        .await
    }

    pub(crate) async fn spend_code(
        &self,
        sale: &str,
        hash: CodeHash,
        buyer: &BuyerId,
    ) -> StoreResult<bool> {
        // The lookup comes first, so that a wrong code costs only a read and no commit.
        const FOUND: &str = "SELECT 1 FROM access_code WHERE sale_id = ?1 AND hash = ?2";
        let (sale, buyer) = (sale.to_owned(), buyer.clone());
        let of = sale.clone();
        if self.read(move |sql| sql.one(FOUND, params![of, hash], |_| Ok(()))).await?.is_none() {
            return Ok(false);
        }
        self.job(move |ledger| spend(ledger, &sale, &hash, buyer.as_str())).await
    }

    pub(crate) async fn code_counts(&self, sale: &str) -> StoreResult<CodeCounts> {
        let sale = sale.to_owned();
        self.read(move |sql| counts(sql, &sale)).await
    }
}
