//! The store's key and its history.
use std::sync::atomic::Ordering;

use doorbuster_core::database_history::DatabaseHistory;

use crate::contract::OpenError;
use crate::history::check_key;

use super::Postgres;
use super::inspect_database::SET_DATABASE_ID;
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
            ledger.run(SET_DATABASE_ID, &[])?;
            let identity = "INSERT INTO identity (one, id_key) VALUES (1, $1)
                 ON CONFLICT DO NOTHING";
            ledger.run(identity, &[&key]).map(drop)
        };
        let failed = |error: crate::StoreError| OpenError::Failed(error.to_string());
        self.job(RetryUnknown::Allowed, bind).await.map_err(failed)?;
        let sql = "SELECT id_key FROM identity";
        let kept = self.one(sql, &[], |row| row.get::<String>(0)).await;
        let missing = || OpenError::Failed("table identity is empty".to_owned());
        check_key(&given, kept.map_err(failed)?.ok_or_else(missing)?)?;
        let sql = "SELECT fence, token, system_id, timeline FROM store_history
                   ORDER BY fence DESC LIMIT 1";
        let newest = self.one(sql, &[], |row| {
            Ok(DatabaseHistory {
                fence: row.get(0)?,
                token: row.get(1)?,
                system_id: row.get(2)?,
                timeline: row.get(3)?,
                position: 0,
            })
        });
        if let Some(newest) = newest.await.map_err(failed)? {
            self.shared().connector.memory().learn(&given, &newest);
            // This process has not acknowledged any order yet, so there is nothing to compare.
            self.shared().compared.fetch_max(newest.fence, Ordering::AcqRel);
        }
        Ok(())
    }
}
