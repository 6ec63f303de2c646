//! The first steps of a worker.
use std::sync::Arc;

use doorbuster_store::{Endpoint, StoreError};
use tokio::sync::watch;

use super::{Outbox, Worker, pending_rows};

pub(super) async fn stored_endpoint(
    outbox: &Outbox,
    id: &str,
) -> Result<Option<Endpoint>, StoreError> {
    let endpoints = outbox.node.store().endpoints().await?;
    Ok(endpoints.into_iter().find(|row| row.id == id))
}

/// Creates the worker of an endpoint. Returns `None` if the endpoint is disabled or does not exist.
pub(super) async fn start<'o>(
    outbox: &'o Arc<Outbox>,
    id: &'o str,
    endpoint: &watch::Receiver<Arc<Endpoint>>,
) -> Result<Option<Worker<'o>>, StoreError> {
    // This reads the endpoint from the store, because an operator may have disabled it at another
    // node.
    let Some(mut row) = stored_endpoint(outbox, id).await?.filter(|row| row.enabled) else {
        return Ok(None);
    };
    // The worker uses the list of event types that this node knows. If the store has a newer list,
    // `endpoint` soon gets the newer list too. Then this worker ends, and the next worker uses that
    // list.
    row.wanted.clone_from(&endpoint.borrow().wanted);
    // An operator may have removed event types from the endpoint, and an earlier worker may have
    // left delivery rows of these types.
    outbox.node.store().delete_unwanted_deliveries(id).await?;
    let rows = pending_rows(outbox, id).await?;
    Ok(Some(Worker::new(outbox, id, row, rows)))
}
