//! The usher: a few times a second it looks at the rooms of the sales that have one, calls in where this node leads, and tells whoever waits here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use doorbuster_api::gate::Room;
use doorbuster_core::{Millis, Phase};
use doorbuster_store::{StoreResult, WaitingPlace, WaitingRoom};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::hall::Hall;
use super::limits::{HOLD, IDLE_TICKS, ROWS_MAX, TICK, calls_max};
use super::{RoomError, Rooms, free};
use crate::catalogue::SaleState;
use crate::engine::Engine;
use crate::notify::Kind;

/// Works until it is dropped.
pub(super) async fn run(rooms: &Rooms, engine: &Engine) {
    let mut every = interval(TICK);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ticks = 0u32;
    loop {
        every.tick().await;
        ticks = ticks.wrapping_add(1);
        let sales = with_rooms(engine);
        rooms.keep(|name| sales.iter().any(|sale| sale.row.id == name));
        let is_idle = !sales.iter().any(|sale| sale.row.phase == Phase::Open);
        if sales.is_empty()
            || (is_idle && !ticks.is_multiple_of(IDLE_TICKS))
            || engine.is_stopping()
        {
            continue;
        }
        if let Err(error) = look(rooms, engine, &sales).await {
            // The next look makes good for it; whoever is asked meanwhile answers from memory.
            tracing::debug!(%error, "the waiting rooms could not be looked at");
        }
    }
}

fn with_rooms(engine: &Engine) -> Vec<Arc<SaleState>> {
    let is_on = |phase| matches!(phase, Phase::Scheduled | Phase::Open | Phase::Paused);
    let catalogue = engine.catalogue();
    catalogue
        .sales()
        .filter(|sale| !sale.door.waiting_room.is_off() && is_on(sale.row.phase))
        .cloned()
        .collect()
}

async fn look(rooms: &Rooms, engine: &Engine, sales: &[Arc<SaleState>]) -> Result<(), RoomError> {
    let names = sales.iter().map(|sale| sale.row.id.clone()).collect();
    let looked_at = Instant::now();
    let rows = engine.store().rooms(names).await?;
    for sale in sales {
        let hall = rooms.hall(&sale.row.id);
        let room = match rows.iter().find(|room| room.sale == sale.row.id) {
            Some(room) => {
                hall.know(room);
                room.clone()
            }
            None => rooms.draw(engine, sale).await?,
        };
        rooms.drawn(engine, sale, &hall).await?;
        follow(engine, &hall, &room).await?;
        hall.read_at(looked_at);
        if sale.row.phase == Phase::Open && engine.control().leads() && !sale.is_draining() {
            call(rooms, engine, sale, &hall).await?;
        }
        if sale.door.waiting_room == Room::Auto {
            let until = hold(engine, sale, &hall).await?;
            sale.flags.held_until.store(until.0, Ordering::Relaxed);
        }
        let limit = sale.items.iter().map(|item| u64::from(item.row.limit)).max().unwrap_or(1);
        hall.mark(engine.now(), free(sale), limit);
        if hall.is_news(free(sale), engine.hub().readers(), Instant::now()) {
            engine.hub().publish(Kind::Room(hall.sale().clone()));
        }
    }
    Ok(())
}

/// Reads the lots of a draw that is closed, all of them.
pub(super) async fn read_lots(engine: &Engine, hall: &Hall) -> StoreResult<()> {
    let mut lots = Vec::new();
    loop {
        let page = engine.store().drawn_after(hall.sale(), lots.last().copied(), ROWS_MAX).await?;
        lots.extend(page.iter().map(|(lot, _)| *lot));
        if page.len() < ROWS_MAX {
            break;
        }
    }
    hall.know_lots(lots);
    Ok(())
}

/// Hears of whom others called in.
async fn follow(engine: &Engine, hall: &Hall, room: &WaitingRoom) -> StoreResult<()> {
    while hall.heard() < room.line.called {
        let called = engine.store().called_after(hall.sale(), hall.heard(), ROWS_MAX).await?;
        if called.is_empty() {
            break;
        }
        tell(engine, hall, &called);
    }
    Ok(())
}

/// Calls in whoever finds something.
async fn call(rooms: &Rooms, engine: &Engine, sale: &SaleState, hall: &Hall) -> StoreResult<()> {
    let waits = hall.room().is_some_and(|room| room.line.waiting() > 0);
    if !waits || free(sale) == Some(0) {
        return Ok(());
    }
    let Some(seen) = engine.store().view_room(hall.sale()).await? else { return Ok(()) };
    let called =
        engine.store().call_in(hall.sale(), &seen, calls_max(rooms.per_sec), rooms.for_ms).await?;
    tell(engine, hall, &called);
    Ok(())
}

/// Tells those who were called in.
fn tell(engine: &Engine, hall: &Hall, called: &[WaitingPlace]) {
    for buyer in hall.hear(called, |buyer| engine.hub().reads(buyer)) {
        engine.hub().publish(Kind::Place { sale: hall.sale().clone(), buyer });
    }
}

/// Opens a room when too many come, and keeps it open while somebody is in line. Until when it is open.
async fn hold(engine: &Engine, sale: &SaleState, hall: &Hall) -> StoreResult<Millis> {
    let hold_ms = i64::try_from(HOLD.as_millis()).unwrap_or(i64::MAX);
    let Some(room) = hall.room() else { return Ok(Millis(0)) };
    let left_ms = room.open_until.map_or(0, |until| until.0 - engine.now().0);
    // Counted in any case. Whoever comes to an empty shop hears so, and needs no line.
    let is_pressed = hall.is_pressed(&sale.flags.arrivals, Instant::now(), engine.nodes())
        && free(sale) != Some(0);
    let is_needed =
        is_pressed || (left_ms > 0 && room.line.waiting() > 0 && engine.control().leads());
    if is_needed && left_ms < hold_ms / 2 {
        engine.store().hold_room(hall.sale(), hold_ms).await?;
        return Ok(engine.now().plus(hold_ms));
    }
    Ok(room.open_until.unwrap_or(Millis(0)))
}
