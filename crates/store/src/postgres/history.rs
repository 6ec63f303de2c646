//! The store's key and its history.
use std::sync::atomic::Ordering;

use doorbuster_core::Millis;
use doorbuster_core::database_history::DatabaseHistory;

use crate::contract::{HistoryCause, OpenError, StoreHistoryRow};
use crate::history::{check_key, parse_paused};
use crate::limits::HISTORY_ROWS_MAX;
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::rows;
use super::transaction::RetryUnknown;

impl Postgres {
    pub(crate) async fn bind_key(&self) -> Result<(), OpenError> {
        let given = self.shared().id_key.fingerprint();
        let key = given.clone();
        let bind = move |ledger: &mut super::PostgresLedger<'_>| {
            let created =
                "INSERT INTO store_history (fence, token, at, cause, system_id, timeline, paused)
                 SELECT 1, md5(random()::text), $1, 'created', system_identifier::text,
                        ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint,
                        '[]'
                 FROM pg_control_system() WHERE NOT EXISTS (SELECT FROM store_history)
                 ON CONFLICT DO NOTHING";
            ledger.run(created, &[&ledger.now.0])?;
            let identity = "INSERT INTO identity (one, id_key) VALUES (1, $1)
                 ON CONFLICT DO NOTHING";
            ledger.run(identity, &[&key]).map(drop)
        };
        let failed = |error: crate::StoreError| OpenError::Failed(error.to_string());
        self.job(RetryUnknown::Allowed, bind).await.map_err(failed)?;
        let sql = "SELECT id_key FROM identity";
        let kept = self.one(sql, &[], |row| Ok(row.try_get::<_, String>(0)?)).await;
        let missing = || OpenError::Failed("the store has no identity".to_owned());
        check_key(&given, kept.map_err(failed)?.ok_or_else(missing)?)?;
        let sql = "SELECT fence, token, system_id, timeline FROM store_history
                   ORDER BY fence DESC LIMIT 1";
        let newest = self.one(sql, &[], |row| {
            Ok(DatabaseHistory {
                fence: row.try_get(0)?,
                token: row.try_get(1)?,
                system_id: row.try_get(2)?,
                timeline: row.try_get(3)?,
            })
        });
        if let Some(newest) = newest.await.map_err(failed)? {
            self.shared().connector.memory().learn(&given, &newest);
            // This process has not acknowledged any order yet.
            self.shared().compared.fetch_max(newest.fence, Ordering::AcqRel);
        }
        Ok(())
    }

    pub(crate) async fn store_history(&self) -> StoreResult<Vec<StoreHistoryRow>> {
        let sql = "SELECT fence, token, at, cause, paused FROM store_history
                   ORDER BY fence DESC LIMIT $1";
        self.all(sql, &[&HISTORY_ROWS_MAX], |row| {
            let paused: &str = row.try_get(4)?;
            let bad = || Failure::Row("invalid list of paused sales".to_owned());
            Ok(StoreHistoryRow {
                fence: row.try_get(0)?,
                token: row.try_get(1)?,
                at: Millis(row.try_get(2)?),
                cause: rows::parse_text(row, 3, "cause", HistoryCause::parse)?,
                backup_at: None,
                paused: parse_paused(paused).ok_or_else(bad)?,
            })
        })
        .await
    }
}
