//! Access codes: operators create them, the store keeps their hashes, and buyers spend them.
use rusqlite::params;

use doorbuster_core::BuyerId;

use crate::contract::{CodeCounts, CodeSelection, CodesOutcome, FieldChange};
use crate::failure::Done;
use crate::limits::CODES_MAX;
use crate::sql::{Row, Statement, locking, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::{Store, StoreResult};

/// The hash of a code together with its sale.
pub type CodeHash = [u8; 32];

/// Because of the lock on the sale, a call that adds codes sees the codes of all earlier calls. So
/// the sale never has too many codes.
const LOCK_SALE: Statement = locking!("SELECT 1 FROM sale WHERE id = $1", "FOR NO KEY UPDATE");
const COUNTS: Statement = statement(
    "SELECT count(*), CAST(coalesce(sum(uses), 0) AS bigint),
            CAST(coalesce(sum(spent), 0) AS bigint) FROM access_code WHERE sale_id = $1",
);
const INSERT: &str =
    "INSERT INTO access_code (sale_id, hash, uses, prefix) VALUES (?1, ?2, ?3, ?4)";
const INSERT_ALL: &str = "INSERT INTO access_code (sale_id, hash, uses, prefix)
     SELECT $1, hash, $3, prefix FROM unnest($2::bytea[], $4::text[]) AS new (hash, prefix)";
/// Deletes unused codes, and ends codes that some buyers have used. Those buyers keep their access.
const REVOKE: [Statement; 2] = [
    statement(
        "DELETE FROM access_code WHERE sale_id = $1 AND spent = 0
         AND (substr(prefix, 1, length(CAST($2 AS text))) = $2 OR hash = $3)",
    ),
    statement(
        "UPDATE access_code SET uses = spent WHERE sale_id = $1 AND spent < uses AND spent > 0
         AND (substr(prefix, 1, length(CAST($2 AS text))) = $2 OR hash = $3)",
    ),
];
const EXISTS: Statement = statement("SELECT 1 FROM access_code WHERE sale_id = $1 AND hash = $2");
/// The lock on the code lasts until the commit, so that two buyers never spend the same use.
const LOCK_CODE: Statement = locking!(
    "SELECT spent < uses FROM access_code WHERE sale_id = $1 AND hash = $2",
    "FOR NO KEY UPDATE"
);
const USED: Statement =
    statement("SELECT 1 FROM access_code_use WHERE sale_id = $1 AND hash = $2 AND buyer = $3");
const SPEND: Statement =
    statement("UPDATE access_code SET spent = spent + 1 WHERE sale_id = $1 AND hash = $2");
const INSERT_USE: Statement =
    statement("INSERT INTO access_code_use (sale_id, hash, buyer, at) VALUES ($1, $2, $3, $4)");

fn counts(row: Row<'_>) -> Done<CodeCounts> {
    Ok(CodeCounts { codes: row.number(0)?, uses: row.number(1)?, spent: row.number(2)? })
}

fn add(
    tx: &mut Transaction<'_, '_>,
    sale: &str,
    codes: &[(String, CodeHash)],
    uses: u32,
) -> Done<CodesOutcome> {
    if !tx.exists(LOCK_SALE, &values![sale])? {
        return Ok(CodesOutcome::NotFound);
    }
    let before = tx.one(COUNTS, &values![sale], counts)?.unwrap_or_default();
    if before.codes + codes.len() as u64 > CODES_MAX {
        return Ok(CodesOutcome::TooMany);
    }
    match tx {
        Transaction::Sqlite(ledger) => {
            for (prefix, hash) in codes {
                ledger.sql.run(INSERT, params![sale, hash, uses, prefix])?;
            }
        }
        Transaction::Postgres(ledger) => {
            let (prefixes, hashes): (Vec<&str>, Vec<&[u8]>) =
                codes.iter().map(|(prefix, hash)| (prefix.as_str(), hash.as_slice())).unzip();
            ledger.run(INSERT_ALL, &[&sale, &hashes, &i64::from(uses), &prefixes])?;
        }
    }
    tx.record(&[])?;
    Ok(CodesOutcome::Done)
}

fn spend(tx: &mut Transaction<'_, '_>, sale: &str, hash: &CodeHash, buyer: &str) -> Done<bool> {
    let key = values![sale, hash];
    let Some(is_free) = tx.one(LOCK_CODE, &key, |row| row.get::<bool>(0))? else {
        return Ok(false);
    };
    if tx.exists(USED, &values![sale, hash, buyer])? {
        return Ok(true);
    }
    if is_free {
        tx.run(SPEND, &key)?;
        tx.run(INSERT_USE, &values![sale, hash, buyer, tx.now()])?;
    }
    Ok(is_free)
}

impl Store {
    /// Adds either all of these codes or none of them. Each code admits the given number of buyers.
    /// `hashes` has the first characters and the hash of each code.
    pub async fn add_codes(
        &self,
        sale: &str,
        hashes: Vec<(String, CodeHash)>,
        uses: u32,
    ) -> StoreResult<CodesOutcome> {
        let sale = sale.to_owned();
        // A second run would treat the codes of the first run as duplicates. After an error, the
        // caller generates other codes.
        self.job(RetryUnknown::Never, move |tx| add(tx, &sale, &hashes, uses)).await
    }

    /// Revokes codes of the sale, so that no further buyer can use them. Returns the number of
    /// revoked codes.
    pub async fn revoke_codes(&self, sale: &str, codes: CodeSelection) -> StoreResult<u64> {
        let sale = sale.to_owned();
        self.job(RetryUnknown::Never, move |tx| {
            let (prefix, hash) = match &codes {
                CodeSelection::Prefix(prefix) => (Some(prefix), None),
                CodeSelection::Code(hash) => (None, Some(hash)),
            };
            let mut revoked = 0;
            for statement in REVOKE {
                revoked += tx.run(statement, &values![&sale, prefix, hash])?;
            }
            if revoked > 0 {
                tx.record(&[FieldChange::set("/revoked", revoked)])?;
            }
            Ok(revoked)
        })
        .await
    }

    /// Spends a code for the buyer. Returns true if this call or an earlier call spent the code for
    /// this buyer. Returns false if the code does not exist, or if other buyers have spent all its
    /// uses.
    pub async fn spend_code(
        &self,
        sale: &str,
        hash: CodeHash,
        buyer: &BuyerId,
    ) -> StoreResult<bool> {
        let (sale, buyer) = (sale.to_owned(), buyer.clone());
        // The lookup comes first, so that a wrong code costs only a read and no commit.
        let key = values![sale.clone(), hash.to_vec()];
        if self.one(EXISTS, key, |_| Ok(())).await?.is_none() {
            return Ok(false);
        }
        let spend = move |tx: &mut Transaction<'_, '_>| spend(tx, &sale, &hash, buyer.as_str());
        self.job(RetryUnknown::Allowed, spend).await
    }

    /// Returns the number of codes of a sale, and how many uses are spent.
    pub async fn code_counts(&self, sale: &str) -> StoreResult<CodeCounts> {
        Ok(self.one(COUNTS, values![sale.to_owned()], counts).await?.unwrap_or_default())
    }
}
