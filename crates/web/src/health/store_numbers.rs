//! The numbers that the store counts for the page of metrics.

use doorbuster_core::CloseCause;
use doorbuster_store::{DeadLetterCounts, EndpointStatus, StoreResult};

use crate::App;
use crate::limits::METRICS_READ_MAX;

/// The numbers that the store counts. If the store does not return a number in time, its metrics
/// are missing on the page.
#[derive(Debug, Default)]
pub(super) struct StoreNumbers {
    /// The number of refunds that have not arrived.
    pub(super) refunds_pending: Option<u64>,
    /// The progress of each endpoint.
    pub(super) endpoint_statuses: Option<Vec<EndpointStatus>>,
    /// The number of unresolved dead letters.
    pub(super) dead_letters: Option<DeadLetterCounts>,
    /// The number of closed grants for each cause.
    pub(super) closings: Option<Vec<(CloseCause, u64)>>,
}

/// Reads the numbers, all at the same time. During an outage of the store, returns at once without
/// numbers, because each read would retry for several seconds.
pub(super) async fn read(app: &App) -> StoreNumbers {
    let store = app.node.store();
    if !store.is_available() {
        return StoreNumbers::default();
    }
    let (refunds_pending, endpoint_statuses, dead_letters, closings) = tokio::join!(
        in_time(store.refunds_pending()),
        in_time(store.endpoint_statuses()),
        in_time(store.dead_letter_counts()),
        in_time(store.closings()),
    );
    StoreNumbers { refunds_pending, endpoint_statuses, dead_letters, closings }
}

/// Returns the result of a read. Returns `None` if the read fails or takes too long.
async fn in_time<T>(read: impl Future<Output = StoreResult<T>>) -> Option<T> {
    tokio::time::timeout(METRICS_READ_MAX, read).await.ok()?.ok()
}
