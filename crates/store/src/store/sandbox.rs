//! Documents of the built-in payment provider, which the store does not interpret.
use crate::limits::PAGE_ROWS_MAX;
use crate::sql::{Row, Statement, as_limit, statement, values};
use crate::transaction::RetryUnknown;

use super::{Store, StoreResult};

const GET: Statement = statement("SELECT value FROM sandbox WHERE key = $1");
const INSERT: Statement =
    statement("INSERT INTO sandbox (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING");
const REPLACE: Statement = statement("UPDATE sandbox SET value = $3 WHERE key = $1 AND value = $2");
const DELETE: Statement = statement("DELETE FROM sandbox WHERE key = $1 AND value = $2");
const LIST: Statement = statement(
    "SELECT key, value FROM sandbox WHERE key >= $1 AND key > $2
     AND substr(key, 1, length($1)) = $1 ORDER BY key LIMIT $3",
);

impl Store {
    /// Returns the document under this key.
    pub async fn sandbox_get(&self, key: &str) -> StoreResult<Option<String>> {
        self.one(GET, values![key.to_owned()], |row| row.get(0)).await
    }

    /// Writes `new` if the current document is `old` (`None` means no document). Returns false if
    /// the current document differs.
    pub async fn sandbox_swap(
        &self,
        key: String,
        old: Option<String>,
        new: String,
    ) -> StoreResult<bool> {
        // This job never runs twice: the second run would find the document of the first run, and
        // return false. So after an unknown outcome, the caller must read the document.
        self.job(RetryUnknown::Never, move |tx| {
            let changed = match &old {
                None => tx.run(INSERT, &values![&key, &new])?,
                Some(old) => tx.run(REPLACE, &values![&key, old, &new])?,
            };
            Ok(changed == 1)
        })
        .await
    }

    /// Deletes each of these documents whose content is still the given content. Returns the number
    /// of deleted documents.
    pub async fn sandbox_delete(&self, documents: Vec<(String, String)>) -> StoreResult<usize> {
        self.job(RetryUnknown::Allowed, move |tx| {
            let mut deleted = 0;
            for (key, value) in &documents {
                deleted += tx.run(DELETE, &values![key, value])?;
            }
            Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
        })
        .await
    }

    /// Returns at most `limit` documents whose keys begin with `prefix` and are greater than
    /// `after`, sorted by key.
    pub async fn sandbox_list(
        &self,
        prefix: String,
        after: String,
        limit: usize,
    ) -> StoreResult<Vec<(String, String)>> {
        let limit = as_limit(limit.min(PAGE_ROWS_MAX));
        let document = |row: Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.all(LIST, values![prefix, after, limit], document).await
    }
}
