//! The admitter checks the rooms of sales a few times per second. On the leader it admits visitors.
//! It also notifies the admitted visitors who wait at this node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use doorbuster_api::gate::WaitingRoomMode;
use doorbuster_core::{Millis, Phase};
use doorbuster_store::{RoomProgressStep, RoomVisitor, StoreResult, WaitingRoom};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::limits::{IDLE_TICKS, KEEP_OPEN, ROWS_MAX, TICK, admissions_max};
use super::room_state::WaitingRoomState;
use super::{WaitingRoomError, WaitingRooms, free_units};
use crate::catalogue::SaleState;
use crate::engine::Engine;
use crate::notify::EventKind;

/// Runs the admitter until the future is dropped.
pub(super) async fn run(rooms: &WaitingRooms, engine: &Engine) {
    let mut every = interval(TICK);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ticks = 0u32;
    loop {
        every.tick().await;
        ticks = ticks.wrapping_add(1);
        let sales = sales_with_rooms(engine);
        rooms.retain_sales(|name| sales.iter().any(|sale| sale.row.id == name));
        let is_idle = !sales.iter().any(|sale| sale.row.phase == Phase::Open);
        if sales.is_empty()
            || (is_idle && !ticks.is_multiple_of(IDLE_TICKS))
            || engine.is_stopping()
        {
            continue;
        }
        if let Err(error) = refresh(rooms, engine, &sales).await {
            // The next check repeats the work. Until then, requests are answered from memory.
            tracing::debug!(%error, "failed to check the waiting rooms; will retry");
        }
    }
}

impl WaitingRooms {
    /// Admits the next visitors, even if no units are free. The visitors' nodes notify them at the
    /// next check. `None`: the sale is not open, or its draw is not closed.
    pub(crate) async fn admit_more(
        &self,
        engine: &Engine,
        sale: &str,
        visitors: u64,
    ) -> StoreResult<Option<RoomProgressStep>> {
        engine.store().admit_more(sale, visitors, self.for_ms).await
    }
}

fn sales_with_rooms(engine: &Engine) -> Vec<Arc<SaleState>> {
    let is_on = |phase| matches!(phase, Phase::Scheduled | Phase::Open | Phase::Paused);
    let catalogue = engine.catalogue();
    catalogue
        .sales()
        .filter(|sale| !sale.front_door.waiting_room.is_off() && is_on(sale.row.phase))
        .cloned()
        .collect()
}

async fn refresh(
    rooms: &WaitingRooms,
    engine: &Engine,
    sales: &[Arc<SaleState>],
) -> Result<(), WaitingRoomError> {
    let names = sales.iter().map(|sale| sale.row.id.clone()).collect();
    let looked_at = Instant::now();
    let rows = engine.store().waiting_rooms(names).await?;
    for sale in sales {
        let room_state = rooms.room_state(&sale.row.id);
        let room = match rows.iter().find(|room| room.sale == sale.row.id) {
            Some(room) => {
                room_state.apply_row(room);
                room.clone()
            }
            None => rooms.draw(engine, sale).await?,
        };
        rooms.ensure_drawn(engine, sale, &room_state).await?;
        read_admitted(engine, &room_state, &room).await?;
        room_state.set_read_at(looked_at);
        if sale.row.phase == Phase::Open && engine.control().leads() && !sale.is_draining() {
            admit(rooms, engine, sale, &room_state).await?;
        }
        if sale.front_door.waiting_room == WaitingRoomMode::Auto {
            let until = keep_open(engine, sale, &room_state).await?;
            sale.flags.room_open_until.store(until.0, Ordering::Relaxed);
        }
        let limit = sale.items.iter().map(|item| u64::from(item.row.limit)).max().unwrap_or(1);
        room_state.record_pace(engine.now(), free_units(sale), limit);
        if room_state.should_publish(free_units(sale), engine.hub().readers(), Instant::now()) {
            engine.hub().publish(EventKind::Room(room_state.sale().clone()));
        }
    }
    Ok(())
}

/// Reads all lots of a closed draw.
pub(super) async fn read_lots(engine: &Engine, room_state: &WaitingRoomState) -> StoreResult<()> {
    let mut lots = Vec::new();
    loop {
        let page =
            engine.store().drawn_after(room_state.sale(), lots.last().copied(), ROWS_MAX).await?;
        lots.extend(page.iter().map(|(lot, _)| *lot));
        if page.len() < ROWS_MAX {
            break;
        }
    }
    room_state.set_lots(lots);
    Ok(())
}

/// Reads which visitors other nodes have admitted.
async fn read_admitted(
    engine: &Engine,
    room_state: &WaitingRoomState,
    room: &WaitingRoom,
) -> StoreResult<()> {
    while room_state.admitted_up_to() < room.line.called {
        let called = engine
            .store()
            .admitted_after(room_state.sale(), room_state.admitted_up_to(), ROWS_MAX)
            .await?;
        if called.is_empty() {
            break;
        }
        publish_admitted(engine, room_state, &called);
    }
    Ok(())
}

/// Admits visitors while units are free.
async fn admit(
    rooms: &WaitingRooms,
    engine: &Engine,
    sale: &SaleState,
    room_state: &WaitingRoomState,
) -> StoreResult<()> {
    let waits = room_state.room().is_some_and(|room| room.line.waiting() > 0);
    if !waits || free_units(sale) == Some(0) {
        return Ok(());
    }
    let Some(seen) = engine.store().waiting_room_view(room_state.sale()).await? else {
        return Ok(());
    };
    let called = engine
        .store()
        .admit_visitors(room_state.sale(), &seen, admissions_max(rooms.per_sec), rooms.for_ms)
        .await?;
    publish_admitted(engine, room_state, &called);
    Ok(())
}

/// Notifies the admitted visitors.
fn publish_admitted(engine: &Engine, room_state: &WaitingRoomState, called: &[RoomVisitor]) {
    for buyer in room_state.apply_admitted(called, |buyer| engine.hub().has_reader(buyer)) {
        engine.hub().publish(EventKind::Position { sale: room_state.sale().clone(), buyer });
    }
}

/// Opens a room when too many buyers arrive, and keeps it open while visitors wait. Returns the
/// time until which the room stays open.
async fn keep_open(
    engine: &Engine,
    sale: &SaleState,
    room_state: &WaitingRoomState,
) -> StoreResult<Millis> {
    let hold_ms = i64::try_from(KEEP_OPEN.as_millis()).unwrap_or(i64::MAX);
    let Some(room) = room_state.room() else { return Ok(Millis(0)) };
    let left_ms = room.open_until.map_or(0, |until| until.0 - engine.now().0);
    // Arrivals are counted even if no units are free. But in that case buyers get the answer that
    // nothing is left, and need no waiting room.
    let is_pressed =
        room_state.is_overcrowded(&sale.flags.arrivals, Instant::now(), engine.nodes())
            && free_units(sale) != Some(0);
    let is_needed =
        is_pressed || (left_ms > 0 && room.line.waiting() > 0 && engine.control().leads());
    if is_needed && left_ms < hold_ms / 2 {
        engine.store().keep_room_open(room_state.sale(), hold_ms).await?;
        return Ok(engine.now().plus(hold_ms));
    }
    Ok(room.open_until.unwrap_or(Millis(0)))
}
