//! Serves those who stand in line with units that came back, and ends the lines of sales that have
//! ended. Woken by the commit that left such a unit, by a sale that goes on or ends, and every
//! second for whatever was missed, also by a leader before. The leader does it; two who do, do no
//! harm: the store gives each unit once, by turn, and ends each place once. Whoever was passed over
//! is told by the node that they listen to.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_core::{Phase, TicketId, Verdict, WaitlistEntry, WaitlistState};
use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::catalogue::{ItemState, SaleState};
use crate::engine::{Engine, EngineError};
use crate::notify::EventKind;

const EVERY: Duration = Duration::from_secs(1);
/// Items whose lines are tended at the same time; the store commits them in groups.
const TENDED_AT_ONCE: usize = 16;

/// Refusals from elsewhere that wait to be looked at; at the bound they are let go, and a page that
/// waits in line asks by itself.
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

/// Tells whoever listens here that they were passed over by another node, until the program stops.
/// An order tells itself; a refusal does not say whose it is.
pub(super) async fn tell_from_elsewhere(engine: Arc<Engine>) {
    loop {
        engine.control().refused.came.notified().await;
        for id in engine.control().refused.take() {
            let told = async {
                match engine.store().waitlist_position(id).await?.map(|found| found.place) {
                    Some(place) if place.state == WaitlistState::PassedOver => {
                        tell(&engine, place).await
                    }
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

/// What is to be done about a line.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// Units are kept for those who stand there.
    Serve,
    /// They stand there though the sale has ended.
    End,
}

/// Serves, and ends, until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        drop(tokio::time::timeout(EVERY, engine.control().lines_changed.notified()).await);
        while engine.control().leads() && !engine.is_stopping() && tend_all(&engine).await {}
    }
}

/// Does what is due about each line, for as many places as one transaction takes. True: somebody is
/// left.
async fn tend_all(engine: &Engine) -> bool {
    let catalogue = engine.catalogue().clone();
    let mut lines: Vec<(Arc<ItemState>, Due)> = Vec::new();
    for sale in catalogue.sales() {
        lines.extend(sale.items.iter().filter_map(|item| Some((item.clone(), due(sale, item)?))));
    }
    let each = futures_util::stream::iter(lines).map(|(item, due)| async move {
        let done = match due {
            Due::Serve => serve(engine, &item).await,
            Due::End => end(engine, &item).await,
        };
        done.unwrap_or_else(|error| {
            tracing::warn!(%error, item = %item.row.id, ?due, "a line could not be tended yet");
            false
        })
    });
    each.buffer_unordered(TENDED_AT_ONCE).fold(false, async |any, more| any | more).await
}

fn due(sale: &SaleState, item: &ItemState) -> Option<Due> {
    let counts = item.gauge.counts();
    match sale.row.phase {
        Phase::Open if !sale.is_draining() && counts.kept > 0 => Some(Due::Serve),
        Phase::Closed if counts.waiting > 0 => Some(Due::End),
        _ => None,
    }
}

async fn serve(engine: &Engine, item: &ItemState) -> Result<bool, EngineError> {
    let served = engine.store().serve_waitlist(item.row.id).await?;
    engine.meter().serve_waitlist(served.orders.len(), served.passed_over.len());
    for place in served.passed_over {
        tell(engine, place).await?;
    }
    Ok(served.more)
}

async fn end(engine: &Engine, item: &ItemState) -> Result<bool, EngineError> {
    let ended = engine.store().end_waitlist(item.row.id).await?;
    engine.meter().end_waitlist(ended.places.len());
    ended.places.into_iter().for_each(|place| tell_of_end(engine, place));
    Ok(ended.more)
}

fn tell_of_end(engine: &Engine, place: WaitlistEntry) {
    let WaitlistEntry { id, item, buyer, .. } = place;
    engine.hub().publish(EventKind::WaitlistEnded { id, item, buyer });
}

/// Tells whoever was passed over and listens here; others read it. Who got an order is told of it
/// as of any.
async fn tell(engine: &Engine, place: WaitlistEntry) -> Result<(), EngineError> {
    if !engine.hub().may_have_readers() {
        return Ok(());
    }
    let Some(resolved) = engine.store().verdict(place.id).await? else { return Ok(()) };
    match (resolved.order, resolved.verdict) {
        (Some(order), _) => engine.hub().publish(EventKind::Order(Arc::new(order))),
        // A turn that came is refused for the limit alone.
        (None, Verdict::Unavailable) => tell_of_end(engine, place),
        (None, verdict) => {
            let WaitlistEntry { id, item, buyer, .. } = place;
            engine.hub().publish(EventKind::Refused {
                id,
                item,
                buyer,
                units: doorbuster_core::Units::ONE,
                verdict,
            });
        }
    }
    Ok(())
}
