//! Secrets that nobody configured: all nodes of a deployment must have the same, so the first
//! node's is kept beside the truth.
use crate::contract::OpenError;

use super::connect;
use super::failure::Failure;
use super::migrate;

/// The deployment's secret of this name: the one that is kept, or else `fresh`, which is kept from
/// now on. Before any store is opened: it brings the schema up to date itself.
///
/// # Errors When the database cannot be reached or is not ours.
pub async fn shared_secret(url: &str, name: &str, fresh: &str) -> Result<String, OpenError> {
    let failed = |error: tokio_postgres::Error| OpenError::Failed(Failure::from(error).to_string());
    let mut client = connect::client(&connect::address(url)?).await?;
    migrate::migrate(&mut client).await?;
    let keep = "INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    client.execute(keep, &[&name, &fresh]).await.map_err(failed)?;
    let row = client
        .query_one("SELECT value FROM secret WHERE name = $1", &[&name])
        .await
        .map_err(failed)?;
    Ok(row.get(0))
}

/// The deployment's secret of this name, if one is kept. Changes nothing, and makes no schema.
///
/// # Errors
/// When the database cannot be reached.
pub async fn stored_secret(url: &str, name: &str) -> Result<Option<String>, OpenError> {
    let failed = |error: tokio_postgres::Error| OpenError::Failed(Failure::from(error).to_string());
    let client = connect::client(&connect::address(url)?).await?;
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
