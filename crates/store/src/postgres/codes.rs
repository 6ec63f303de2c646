//! Access codes in PostgreSQL.
use tokio_postgres::Row;

use doorbuster_core::BuyerId;

use crate::contract::{CodeCounts, CodeSelection, CodesOutcome, FieldChange};
use crate::limits::CODES_MAX;
use crate::store::{CodeHash, StoreResult};

use super::failure::Failure;
use super::rows::number;
use super::transaction::RetryUnknown;
use super::{Postgres, PostgresLedger};

type Done<T> = Result<T, Failure>;

const COUNTS: &str =
    "SELECT count(*), coalesce(sum(uses), 0)::bigint, coalesce(sum(spent), 0)::bigint
     FROM access_code WHERE sale_id = $1";

/// Deletes unused codes. Ends codes that some buyers have used, because those buyers keep their
/// access.
const REVOKE: [&str; 2] = [
    "DELETE FROM access_code WHERE sale_id = $1 AND spent = 0
     AND (left(prefix, length($2::text)) = $2 OR hash = $3::bytea)",
    "UPDATE access_code SET uses = spent WHERE sale_id = $1 AND spent < uses AND spent > 0
     AND (left(prefix, length($2::text)) = $2 OR hash = $3::bytea)",
];

fn counted(row: &Row) -> Done<CodeCounts> {
    Ok(CodeCounts { codes: number(row, 0)?, uses: number(row, 1)?, spent: number(row, 2)? })
}

fn add(
    ledger: &mut PostgresLedger<'_>,
    sale: &str,
    hashes: &[(String, CodeHash)],
    uses: u32,
) -> Done<CodesOutcome> {
    // The lock on the sale makes concurrent additions wait for each other, so that the count is
    // right.
    if ledger
        .one("SELECT 1 FROM sale WHERE id = $1 FOR NO KEY UPDATE", &[&sale], |_| Ok(()))?
        .is_none()
    {
        return Ok(CodesOutcome::NotFound);
    }
    let before = ledger.one(COUNTS, &[&sale], counted)?.unwrap_or_default();
    if before.codes + hashes.len() as u64 > CODES_MAX {
        return Ok(CodesOutcome::TooMany);
    }
    let (prefixes, hashes): (Vec<&str>, Vec<&[u8]>) =
        hashes.iter().map(|(prefix, hash)| (prefix.as_str(), hash.as_slice())).unzip();
    let sql = "INSERT INTO access_code (sale_id, hash, uses, prefix) SELECT $1, hash, $3, prefix
               FROM unnest($2::bytea[], $4::text[]) AS new (hash, prefix)";
    ledger.run(sql, &[&sale, &hashes, &i64::from(uses), &prefixes])?;
    ledger.record(&[])?;
    Ok(CodesOutcome::Done)
}

fn spend(ledger: &mut PostgresLedger<'_>, sale: &str, hash: &[u8], buyer: &str) -> Done<bool> {
    // The lock on the code lasts until the commit, so that the count of uses is right.
    let free =
        "SELECT spent < uses FROM access_code WHERE sale_id = $1 AND hash = $2 FOR NO KEY UPDATE";
    let Some(is_free) = ledger.one(free, &[&sale, &hash], |row| Ok(row.try_get::<_, bool>(0)?))?
    else {
        return Ok(false);
    };
    let known = "SELECT 1 FROM access_code_use WHERE sale_id = $1 AND hash = $2 AND buyer = $3";
    if ledger.one(known, &[&sale, &hash, &buyer], |_| Ok(()))?.is_some() {
        return Ok(true);
    }
    if !is_free {
        return Ok(false);
    }
    ledger.run(
        "UPDATE access_code SET spent = spent + 1 WHERE sale_id = $1 AND hash = $2",
        &[&sale, &hash],
    )?;
    let insert = "INSERT INTO access_code_use (sale_id, buyer, hash, at) VALUES ($1, $2, $3, $4)";
    ledger.run(insert, &[&sale, &buyer, &hash, &ledger.now.0])?;
    Ok(true)
}

impl Postgres {
    pub(crate) async fn add_codes(
        &self,
        sale: &str,
        hashes: Vec<(String, CodeHash)>,
        uses: u32,
    ) -> StoreResult<CodesOutcome> {
        let sale = sale.to_owned();
        // A second run would find the codes of the first run. The caller gets an error with an
        // unknown outcome, and generates other codes.
        self.job(RetryUnknown::Never, move |ledger| add(ledger, &sale, &hashes, uses)).await
    }

    pub(crate) async fn revoke_codes(&self, sale: &str, codes: CodeSelection) -> StoreResult<u64> {
        let sale = sale.to_owned();
        let revoke = move |ledger: &mut PostgresLedger<'_>| {
            let (prefix, hash) = match &codes {
                CodeSelection::Prefix(prefix) => (Some(prefix.as_str()), None),
                CodeSelection::Code(hash) => (None, Some(hash.as_slice())),
            };
            let mut revoked = 0;
            for statement in REVOKE {
                revoked += ledger.run(statement, &[&sale, &prefix, &hash])?;
            }
            if revoked > 0 {
                ledger.record(&[FieldChange::set("/revoked", revoked)])?;
            }
            Ok(revoked)
        };
        self.job(RetryUnknown::Never, revoke).await
    }

    pub(crate) async fn spend_code(
        &self,
        sale: &str,
        hash: CodeHash,
        buyer: &BuyerId,
    ) -> StoreResult<bool> {
        // The lookup comes first, so that a wrong code costs only a read and no transaction.
        let found = "SELECT 1 FROM access_code WHERE sale_id = $1 AND hash = $2";
        if self.one(found, &[&sale, &hash.as_slice()], |_| Ok(())).await?.is_none() {
            return Ok(false);
        }
        let (sale, buyer) = (sale.to_owned(), buyer.clone());
        self.job(RetryUnknown::Allowed, move |ledger| spend(ledger, &sale, &hash, buyer.as_str()))
            .await
    }

    pub(crate) async fn code_counts(&self, sale: &str) -> StoreResult<CodeCounts> {
        Ok(self.one(COUNTS, &[&sale], counted).await?.unwrap_or_default())
    }
}
