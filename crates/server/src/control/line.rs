//! Serves those who stand in line with units that came back. Woken by the commit that left such a unit, by a sale that goes on, and every second for
//! whatever was missed. The leader does it; two who do, do no harm: the store gives each unit once, by turn.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{Phase, Place};
use futures_util::StreamExt;

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};
use crate::notify::Kind;

const EVERY: Duration = Duration::from_secs(1);
/// Items whose lines are served at the same time; the store commits them in groups.
const SERVED_AT_ONCE: usize = 16;

/// Serves until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        drop(tokio::time::timeout(EVERY, engine.control().lines_changed.notified()).await);
        while engine.control().leads() && !engine.is_stopping() && serve_all(&engine).await {}
    }
}

/// Serves each line that units are kept for, as many places as one transaction takes. True: somebody is to be served again.
async fn serve_all(engine: &Engine) -> bool {
    let catalogue = engine.catalogue().clone();
    let on = catalogue.sales().filter(|sale| sale.row.phase == Phase::Open && !sale.is_draining());
    let items = on.flat_map(|sale| sale.items.iter().cloned()).filter(|item| item.gauge.counts().kept > 0);
    let items: Vec<Arc<ItemState>> = items.collect();
    let each = futures_util::stream::iter(items).map(|item| async move {
        serve(engine, &item).await.unwrap_or_else(|error| {
            tracing::warn!(%error, item = %item.row.id, "those in line could not be served yet");
            false
        })
    });
    each.buffer_unordered(SERVED_AT_ONCE).fold(false, async |any, more| any | more).await
}

async fn serve(engine: &Engine, item: &ItemState) -> Result<bool, EngineError> {
    let served = engine.store().serve_line(item.row.id).await?;
    engine.meter().serve_line(served.orders.len(), served.passed_over.len());
    for place in served.passed_over {
        tell(engine, item, place).await?;
    }
    Ok(served.more)
}

/// Tells whoever was passed over and listens here; others read it. Who got an order is told of it as of any.
async fn tell(engine: &Engine, item: &ItemState, place: Place) -> Result<(), EngineError> {
    if engine.hub().readers() == 0 {
        return Ok(());
    }
    let Some(resolved) = engine.store().verdict(place.id).await? else { return Ok(()) };
    let Place { id, buyer, .. } = place;
    engine.hub().publish(match resolved.order {
        Some(order) => Kind::Order(Arc::new(order)),
        None => {
            let (item, units, verdict) = (item.row.id, doorbuster_core::Units::ONE, resolved.verdict);
            Kind::Refused { id, item, buyer, units, verdict }
        }
    });
    Ok(())
}
