//! Makes room in what a node remembers of who holds an order, once it remembers as many as it may:
//! sales that are long over are forgotten.
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;

/// Between two looks at whether there is room.
const EVERY: Duration = Duration::from_secs(60);
/// Rest after everything was read again and there is no room: it is a long read, and sales end
/// seldom.
const REST: Duration = Duration::from_secs(3_600);

/// Makes room until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(EVERY).await;
        if !engine.holders().is_full() {
            continue;
        }
        engine.holders().begin_anew();
        while let Err(error) = engine.remember_holders().await {
            tracing::warn!(%error, "who holds an order could not be read again yet");
            tokio::time::sleep(EVERY).await;
        }
        engine.holders().is_complete();
        tracing::warn!(
            requests = engine.holders().len(),
            full = engine.holders().is_full(),
            "this node remembered as many orders as it may: sales that are long over were forgotten"
        );
        if engine.holders().is_full() {
            tokio::time::sleep(REST).await;
        }
    }
}
