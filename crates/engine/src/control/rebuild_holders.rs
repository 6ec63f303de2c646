//! Frees memory when the set of requests that hold orders is full: removes the requests of sales
//! that ended long ago.
use std::sync::Arc;
use std::time::Duration;

use crate::node::Node;
use crate::outage_log;

const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// The pause after a rebuild that leaves the set full. A rebuild is slow, and the next rebuild can
/// free more memory only after more sales have ended.
const REST_AFTER_FULL: Duration = Duration::from_secs(3_600);

/// Runs until the program stops.
pub(super) async fn run(node: Arc<Node>) {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        if !node.holders().is_full() {
            continue;
        }
        node.holders().begin_rebuild();
        while let Err(error) = node.load_holders().await {
            outage_log::warn!(
                node.outage_log(),
                error,
                event = "store.holders_failed",
                "failed to refresh the set of request keys that have orders; will retry"
            );
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        node.holders().finish_rebuild();
        tracing::warn!(
            requests = node.holders().len(),
            full = node.holders().is_full(),
            event = "store.holders_full",
            "the set of request keys that have orders was full; removed the keys of sales that \
             ended long ago"
        );
        if node.holders().is_full() {
            tokio::time::sleep(REST_AFTER_FULL).await;
        }
    }
}
