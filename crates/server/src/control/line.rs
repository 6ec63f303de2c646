//! Serves those who stand in line with units that came back. Woken by the commit that left such a unit, by a sale that goes on, and every second for
//! whatever was missed. The leader does it; two who do, do no harm: the store gives each unit once, by turn. Whoever was passed over is told by
//! the node that they listen to.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_core::{Phase, Place, PlaceState, TicketId};
use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};
use crate::notify::Kind;

const EVERY: Duration = Duration::from_secs(1);
/// Items whose lines are served at the same time; the store commits them in groups.
const SERVED_AT_ONCE: usize = 16;

/// Refusals from elsewhere that wait to be looked at; at the bound they are let go, and a page that waits in line asks by itself.
const REFUSED_MAX: usize = 1_000;

/// Refusals that another node wrote, until somebody looks whether they are of places in line.
#[derive(Debug, Default)]
pub(super) struct Refused {
    ids: Mutex<Vec<TicketId>>,
    came: Notify,
}

impl Refused {
    pub(super) fn push(&self, id: TicketId) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() < REFUSED_MAX {
            ids.push(id);
        }
        drop(ids);
        self.came.notify_one();
    }

    fn take(&self) -> Vec<TicketId> {
        std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells whoever listens here that they were passed over by another node, until the program stops. An order tells itself; a refusal does not say whose it is.
pub(super) async fn tell_from_elsewhere(engine: Arc<Engine>) {
    loop {
        engine.control().refused.came.notified().await;
        for id in engine.control().refused.take() {
            let told = async {
                match engine.store().line_place(id).await?.map(|found| found.place) {
                    Some(place) if place.state == PlaceState::PassedOver => tell(&engine, place).await,
                    // Whoever gave a place up knows of it.
                    _ => Ok(()),
                }
            };
            if let Err(error) = told.await {
                tracing::debug!(%error, %id, "nobody is told of a refusal; whoever waits asks by themselves");
            }
        }
    }
}

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
        tell(engine, place).await?;
    }
    Ok(served.more)
}

/// Tells whoever was passed over and listens here; others read it. Who got an order is told of it as of any.
async fn tell(engine: &Engine, place: Place) -> Result<(), EngineError> {
    if !engine.hub().is_heard() {
        return Ok(());
    }
    let Some(resolved) = engine.store().verdict(place.id).await? else { return Ok(()) };
    let Place { id, item, buyer, .. } = place;
    engine.hub().publish(match resolved.order {
        Some(order) => Kind::Order(Arc::new(order)),
        None => {
            let (units, verdict) = (doorbuster_core::Units::ONE, resolved.verdict);
            Kind::Refused { id, item, buyer, units, verdict }
        }
    });
    Ok(())
}
