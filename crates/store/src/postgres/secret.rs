//! Secrets that are not in the settings. All nodes of a deployment must have the same secrets, so
//! the first node stores its secrets in the database.
use crate::contract::OpenError;
use crate::failure::Failure;
use crate::history_memory::KnownHistories;

use super::connector::{Connector, ConnectorUse};
use super::{connect, migrate};

/// Returns the deployment's stored secret of this name. If there is none, stores and returns
/// `fresh`. First migrates the schema, because this function runs before the store is opened.
///
/// # Errors
///
/// Fails if the database cannot be reached or is not a store.
pub async fn shared_secret(
    url: &str,
    memory: &KnownHistories,
    name: &str,
    fresh: &str,
) -> Result<String, OpenError> {
    let failed = |error: tokio_postgres::Error| OpenError::Failed(Failure::from(error).to_string());
    let address = connect::address(url)?;
    let connector = Connector::new(&address, memory.clone(), ConnectorUse::Store, 0);
    let mut client = connect::client(&connector).await?;
    migrate::migrate(&mut client).await?;
    let keep = "INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    client.execute(keep, &[&name, &fresh]).await.map_err(failed)?;
    let row = client
        .query_one("SELECT value FROM secret WHERE name = $1", &[&name])
        .await
        .map_err(failed)?;
    Ok(row.get(0))
}

/// Returns the deployment's stored secret of this name, or `None` if there is no such secret.
/// Changes nothing and creates no schema.
///
/// # Errors
///
/// Fails if the database cannot be reached.
pub async fn stored_secret(url: &str, name: &str) -> Result<Option<String>, OpenError> {
    let failed = |error: tokio_postgres::Error| OpenError::Failed(Failure::from(error).to_string());
    let memory = KnownHistories::default();
    let connector = Connector::new(&connect::address(url)?, memory, ConnectorUse::Read, 0);
    let client = connect::client(&connector).await?;
    let there =
        client.query_one("SELECT to_regclass('secret') IS NOT NULL", &[]).await.map_err(failed)?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client
        .query_opt("SELECT value FROM secret WHERE name = $1", &[&name])
        .await
        .map_err(failed)?;
    Ok(row.map(|row| row.get(0)))
}
