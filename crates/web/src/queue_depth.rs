//! Counts the tickets that wait for their verdicts.

use std::sync::Arc;

use doorbuster_engine::catalogue::ItemState;
use futures_util::StreamExt;
use futures_util::stream;

use crate::App;
use crate::limits::{METRICS_READ_MAX, QUEUES_READ_MAX};

/// Returns the number of waiting tickets of these items. If the slots do not answer in time, the
/// returned number is too low.
pub(crate) async fn queue_depth(app: &App, items: &[Arc<ItemState>]) -> u64 {
    let reads: Vec<_> = items.iter().map(|item| app.stock.queued(item)).collect();
    let mut depth = 0;
    let count = async {
        let mut counts = stream::iter(reads).buffer_unordered(QUEUES_READ_MAX);
        while let Some(tickets) = counts.next().await {
            depth += tickets;
        }
    };
    drop(tokio::time::timeout(METRICS_READ_MAX, count).await);
    depth
}
