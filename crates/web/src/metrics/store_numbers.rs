//! The numbers of the metrics page that are read from the store.

use doorbuster_core::CloseCause;
use doorbuster_store::{DeadLetterCounts, EndpointStatus, StoreResult};

use crate::App;
use crate::limits::METRICS_READ_MAX;

/// A number is `None` if the store does not return it in time. Its metric is then missing on the
/// page.
#[derive(Debug, Default)]
pub(super) struct StoreNumbers {
    pub(super) refunds_pending: Option<u64>,
    pub(super) endpoint_statuses: Option<Vec<EndpointStatus>>,
    pub(super) dead_letters: Option<DeadLetterCounts>,
    pub(super) closings: Option<Vec<(CloseCause, u64)>>,
}

/// Reads the numbers concurrently. During an outage of the store, each read would retry for several
/// seconds. So during an outage, this function returns at once, without numbers.
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

/// Returns `None` if the read fails or takes too long.
async fn in_time<T>(read: impl Future<Output = StoreResult<T>>) -> Option<T> {
    tokio::time::timeout(METRICS_READ_MAX, read).await.ok()?.ok()
}
