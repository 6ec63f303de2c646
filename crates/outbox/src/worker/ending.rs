//! The last steps of a worker.
use std::sync::Arc;

use doorbuster_store::{Endpoint, NewAction, StoreError, recorded};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Worker, log};

impl Worker<'_> {
    /// Disables the endpoint after the answer 410 Gone. The endpoint's events wait until an
    /// operator enables the endpoint again. If an operator has changed the address since the
    /// answer, the endpoint stays enabled.
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

    /// Stops the running attempts and stores the known results, before the worker ends. An operator
    /// may have removed types since this worker started, and the worker may have added rows of
    /// these types. So the rows are deleted here. [`super::start`] deletes such rows too, but a
    /// disabled endpoint starts no worker.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        self.sending.abort_all();
        self.write_notes().await?;
        self.sending = JoinSet::new();
        self.advance().await?;
        self.outbox.node.store().delete_unwanted_deliveries(self.id).await
    }

    /// Ends this worker because the endpoint's types changed. The next worker reads the events
    /// after the endpoint's position again, with the new types.
    pub(super) async fn finish_for_new_types(
        self,
        endpoint: &mut watch::Receiver<Arc<Endpoint>>,
    ) -> Result<(), StoreError> {
        // Because of this mark, `run` starts the next worker without a pause.
        endpoint.mark_changed();
        self.finish().await
    }
}
