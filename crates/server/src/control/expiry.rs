//! Expires reserved orders whose payment window has passed. Sleeps until the next one is due; rests while another node leads, and while the machine's clock
//! cannot be trusted where it is the store's.
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;

/// Orders that one transaction expires, so that purchases are not held up behind a long one.
const EXPIRE_BATCH_MAX: usize = 500;
/// Longest sleep: an order that was made meanwhile is due a second after it at the earliest.
const LOOK_AT_LEAST: Duration = Duration::from_millis(500);
/// Shortest sleep when nothing is due.
const LOOK_AT_MOST: Duration = Duration::from_millis(10);

/// Expires orders until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        let rests = (engine.layout().is_alone() && engine.clock().has_alarm()) || !engine.control().leads();
        let wait = if rests { LOOK_AT_LEAST } else { expire(&engine).await };
        tokio::time::sleep(wait).await;
    }
}

async fn expire(engine: &Engine) -> Duration {
    match engine.store().next_due().await {
        Ok(Some(due)) if due <= engine.store().careful_now() => match engine.store().expire_due(EXPIRE_BATCH_MAX).await
        {
            Ok(orders) => {
                engine.meter().expire(orders.len());
                if orders.is_empty() { LOOK_AT_MOST } else { Duration::ZERO }
            }
            Err(error) => {
                tracing::warn!(%error, "orders could not be expired yet");
                LOOK_AT_LEAST
            }
        },
        Ok(Some(due)) => {
            let until = Duration::from_millis((due.0 - engine.store().careful_now().0).max(0).unsigned_abs());
            until.clamp(LOOK_AT_MOST, LOOK_AT_LEAST)
        }
        Ok(None) => LOOK_AT_LEAST,
        Err(error) => {
            tracing::warn!(%error, "the next due order is not known");
            LOOK_AT_LEAST
        }
    }
}
