//! The last steps of a worker.
use std::sync::Arc;

use doorbuster_store::{Endpoint, NewAction, StoreError, recorded};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Worker, log};

impl Worker<'_> {
    /// Disables the endpoint, because it answered 410 Gone. Does nothing if an operator has changed
    /// the endpoint's address since then. The events wait until an operator enables the endpoint
    /// again.
    pub(super) async fn disable(&mut self) -> Result<(), StoreError> {
        let store = self.outbox.node.store();
        let (subject, reason) = (format!("endpoint:{}", self.id), "the endpoint answered 410 Gone");
        let action = NewAction::by_engine("endpoint.disabled", subject, reason);
        if recorded(action, store.disable_endpoint(self.id, &self.url)).await? {
            log::endpoint_gone(self.id);
        }
        self.outbox.notify_workers();
        Ok(())
    }

    /// Stops the running attempts, and stores the results that are known.
    ///
    /// Also deletes the delivery rows of event types that an operator removed from the endpoint
    /// while this worker ran. [`super::start`] also deletes such rows, but `start` is not called
    /// for a disabled endpoint.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        self.sending.abort_all();
        self.write_notes().await?;
        self.sending = JoinSet::new();
        self.advance().await?;
        self.outbox.node.store().delete_unwanted_deliveries(self.id).await
    }

    /// Ends this worker, because the endpoint's list of event types changed. The next worker uses
    /// the new list, and reads the events after the position again.
    pub(super) async fn finish_for_new_types(
        self,
        endpoint: &mut watch::Receiver<Arc<Endpoint>>,
    ) -> Result<(), StoreError> {
        // This call makes `run` start the next worker without a pause.
        endpoint.mark_changed();
        self.finish().await
    }
}
