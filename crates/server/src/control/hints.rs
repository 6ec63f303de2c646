//! What others want of this node, and what may have happened to slots: hints, each of which only
//! saves time.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::Phase;

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

/// Between two looks at what others recall from the slots of this node, while a sale is open. A
/// unit that came back may lie here any moment.
const ERRANDS: Duration = Duration::from_millis(40);
/// The same while a pool is empty, and the tail is gathered.
const ERRANDS_AT_THE_TAIL: Duration = Duration::from_millis(10);
/// The same while no sale is open.
const ERRANDS_AT_REST: Duration = Duration::from_secs(1);

/// Has the slots looked at whenever their servers changed, until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut seen = engine.slots().evidence().changes;
    loop {
        seen = engine.slots().wait_for_change(seen).await;
        let evidence = engine.slots().evidence();
        tracing::warn!(servers = ?evidence.servers, "servers that hold slots changed");
        for refusal in evidence.refusals {
            tracing::error!(refusal, "a server that holds slots would be refused at a start");
        }
        engine.control().suspect();
    }
}

/// Looks for recalls that other nodes began from slots that only this one reaches, until the
/// program stops.
pub(super) async fn run_errands(engine: Arc<Engine>) {
    if engine.layout().reaches_all() {
        return std::future::pending().await;
    }
    loop {
        drop(tokio::time::timeout(pause(&engine), engine.control().opened.notified()).await);
        if let Err(error) = errands(&engine).await {
            tracing::debug!(%error, "what other nodes recall is not known");
        }
    }
}

fn pause(engine: &Engine) -> Duration {
    let catalogue = engine.catalogue();
    let open =
        catalogue.sales().filter(|sale| sale.row.phase == Phase::Open).flat_map(|sale| &sale.items);
    let is_at_the_tail =
        |item: &Arc<ItemState>| item.gauge.open_pool() == 0 && item.gauge.counts().in_slots > 0;
    let pauses = open.map(|item| if is_at_the_tail(item) { ERRANDS_AT_THE_TAIL } else { ERRANDS });
    pauses.min().unwrap_or(ERRANDS_AT_REST)
}

async fn errands(engine: &Engine) -> Result<(), EngineError> {
    let pending = engine.store().pending_recalls().await?;
    for recall in pending {
        let Some(grant) = engine.store().grant(recall.grant).await? else { continue };
        let catalogue = engine.catalogue();
        if let Some(item) = catalogue.item_of(grant.slot.item)
            && item.slots.contains(&grant.slot)
        {
            engine.control().wake(item.row.id);
        }
    }
    Ok(())
}
