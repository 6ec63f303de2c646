//! Reads whether commits wait for standbys.

use super::Postgres;
use super::standbys::{REPLICATION, replication};
use crate::contract::{Replication, StoreResult};
use crate::sql::Row;

impl Postgres {
    /// Reads whether commits wait for standbys, and the state of the standbys. If the query fails,
    /// and the last connection was refused because standbys are missing, returns the state of the
    /// standbys at the time of this refusal.
    pub(crate) async fn replication(&self) -> StoreResult<Replication> {
        let connector = &self.shared().connector;
        let read = |row: Row<'_>| {
            let (all, hidden, synchronous) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let lists = (row.texts(5)?, row.texts(6)?);
            Ok(replication((row.get(0)?, row.get(1)?), (all, hidden, synchronous), lists))
        };
        let found = match self.one(REPLICATION, &[], read).await {
            Ok(found) => found.unwrap_or_default(),
            Err(error) => return connector.missing_standbys().ok_or(error),
        };
        connector.set_synchronous(
            found.is_synchronous() && matches!(&*found.synchronous_commit, "on" | "remote_apply"),
        );
        Ok(found)
    }
}
