//! Reads the version of the database server.
use crate::contract::StoreResult;
use crate::contract::StoreServer;

use super::Postgres;

impl Postgres {
    pub(crate) async fn server(&self) -> StoreResult<StoreServer> {
        let version = self.one("SHOW server_version", &[], |row| row.get(0)).await?;
        Ok(StoreServer { kind: "postgres", version: version.unwrap_or_default() })
    }
}
