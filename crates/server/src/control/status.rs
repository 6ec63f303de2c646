//! Tells readers that a sale's status changed: at once, then at most a few times a second.
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::notify::Kind;

/// Between two events of one sale.
const PACE: Duration = Duration::from_millis(250);

/// Announces until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        engine.control().sales_changed.notified().await;
        for sale in engine.control().take_sales() {
            engine.hub().publish(Kind::Status(sale));
        }
        tokio::time::sleep(PACE).await;
    }
}
