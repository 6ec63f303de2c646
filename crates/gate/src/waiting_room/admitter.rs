//! The admitter checks the waiting rooms a few times per second. On the leader, it admits visitors.
//! On every node, it finds out which visitors were admitted, and notifies the admitted visitors who
//! are connected to this node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use doorbuster_api::gate::WaitingRoomMode;
use doorbuster_core::gate::room::{
    KEEP_OPEN_MS, OPEN_ADMISSIONS_MAX, RoomDemand, divide_admissions,
};
use doorbuster_core::{Millis, Phase};
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::node::Node;
use doorbuster_engine::notify::EventKind;
use doorbuster_store::{
    RoomAdmissions, RoomProgressStep, RoomVisitor, StoreResult, WaitingRoom, WaitingRoomView,
};
use futures_util::future::try_join_all;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::limits::{IDLE_TICKS, ROWS_MAX, TICK, admissions_max};
use super::room_state::WaitingRoomState;
use super::{SaleRoom, WaitingRoomError, WaitingRooms};

/// Runs the admitter until the future is dropped.
pub(super) async fn run(rooms: &WaitingRooms, node: &Node) {
    let mut every = interval(TICK);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ticks = 0u32;
    let mut history = node.store().history_changes();
    loop {
        every.tick().await;
        rooms.forget_after_failover(history.as_mut());
        ticks = ticks.wrapping_add(1);
        let sales = sales_with_rooms(node);
        rooms.retain_rooms(|key| {
            sales.iter().any(|sale| *sale.row.id == *key.sale && sale.room_by_key(key).is_some())
        });
        let is_idle = !sales.iter().any(|sale| sale.row.phase == Phase::Open);
        if sales.is_empty()
            || (is_idle && !ticks.is_multiple_of(IDLE_TICKS))
            || node.lifecycle().is_stopping()
        {
            continue;
        }
        if let Err(error) = refresh(rooms, node, &sales).await {
            // The next check tries again. Until then, the node answers requests from its memory.
            tracing::debug!(%error, "failed to check the waiting rooms; will retry");
        }
    }
}

impl WaitingRooms {
    /// Admits up to `visitors` more visitors, even if no units are free. Returns `None` if the sale
    /// is not open, or if its draw has not been closed.
    pub async fn admit_more(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        visitors: u64,
    ) -> StoreResult<Option<RoomProgressStep>> {
        node.store().admit_more(&room.key(), visitors, self.for_ms).await
    }
}

fn sales_with_rooms(node: &Node) -> Vec<Arc<SaleState>> {
    let is_on = |phase| matches!(phase, Phase::Scheduled | Phase::Open | Phase::Paused);
    let catalogue = node.catalogue();
    catalogue
        .sales()
        .filter(|sale| !sale.front_door.waiting_room.is_off() && is_on(sale.row.phase))
        .cloned()
        .collect()
}

async fn refresh(
    rooms: &WaitingRooms,
    node: &Node,
    sales: &[Arc<SaleState>],
) -> Result<(), WaitingRoomError> {
    let names = sales.iter().map(|sale| sale.row.id.clone()).collect();
    let looked_at = Instant::now();
    let rows = node.store().waiting_rooms(names).await?;
    let step = rooms.steps.fetch_add(1, Ordering::Relaxed);
    for sale in sales {
        for room in sale.rooms() {
            let room_state = rooms.room_state(room);
            let row = match rows.iter().find(|row| row.key == *room_state.key()) {
                Some(row) => {
                    room_state.apply_row(row);
                    row.clone()
                }
                None => rooms.draw(node, room).await?,
            };
            rooms.ensure_drawn(node, room, &room_state).await?;
            read_admitted(node, &room_state, &row).await?;
            room_state.set_read_at(looked_at);
        }
        limit_pace(rooms, sale, step);
        if sale.row.phase == Phase::Open && node.control().leads() && !sale.is_draining() {
            admit(rooms, node, sale, step).await?;
        }
        for room in sale.rooms() {
            follow_room(rooms, node, room).await?;
        }
    }
    Ok(())
}

/// First opens an automatic room, or keeps it open, if necessary. Then publishes the room's
/// progress.
async fn follow_room(
    rooms: &WaitingRooms,
    node: &Node,
    room: SaleRoom<'_>,
) -> Result<(), WaitingRoomError> {
    let (room_state, free) = (rooms.room_state(room), room.free_units());
    if room.sale.front_door.waiting_room == WaitingRoomMode::Auto {
        let until = keep_open(node, room, &room_state).await?;
        room.runtime().open_until.store(until.0, Ordering::Relaxed);
    } else if room_state.progress().waiting() > 0 {
        hold_open(room, node.now());
    }
    room_state.record_pace(node.now(), free, room.limit());
    // Each connected client is notified about each room of the sale.
    let notified = node.hub().stream_readers() * room.rooms_of_sale();
    if room_state.should_publish(free, notified, Instant::now()) {
        node.hub().publish(EventKind::Room(room_state.key().clone()));
    }
    Ok(())
}

/// Call this function while visitors wait in the room. If the mode is `always` and an operator
/// changes it to `auto`, the store keeps the room open. With this function, the room is open on
/// this node, too, until the node's next check reads the room's row.
pub(super) fn hold_open(room: SaleRoom<'_>, now: Millis) {
    let open_until = &room.runtime().open_until;
    let is_always = room.sale.front_door.waiting_room == WaitingRoomMode::Always;
    if is_always && open_until.load(Ordering::Relaxed) - now.0 < KEEP_OPEN_MS / 2 {
        open_until.store(now.plus(KEEP_OPEN_MS).0, Ordering::Relaxed);
    }
}

/// If a sale has several rooms, computes for each room the maximum number of visitors that the
/// leader admits in one check. The node uses this number to estimate waiting times. It subtracts
/// one from its result, because the leader's result may be lower by one.
fn limit_pace(rooms: &WaitingRooms, sale: &SaleState, step: usize) {
    let states: Vec<_> = sale.rooms().map(|room| rooms.room_state(room)).collect();
    if states.len() < 2 {
        return;
    }
    let demand = |state: &Arc<WaitingRoomState>| {
        let waiting = state.progress().waiting();
        RoomDemand { waiting, admissions: waiting }
    };
    let demands: Vec<_> = states.iter().map(demand).collect();
    let parts = divide_admissions(admissions_max(rooms.per_sec), &demands, step);
    for (state, part) in states.iter().zip(parts) {
        state.set_admissions_max(part.saturating_sub(1));
    }
}

pub(super) async fn read_lots(node: &Node, room_state: &WaitingRoomState) -> StoreResult<()> {
    let mut lots = Vec::new();
    loop {
        let page =
            node.store().drawn_after(room_state.key(), lots.last().copied(), ROWS_MAX).await?;
        lots.extend(page.iter().map(|(lot, _)| *lot));
        if page.len() < ROWS_MAX {
            break;
        }
    }
    room_state.set_lots(lots);
    Ok(())
}

async fn read_admitted(
    node: &Node,
    room_state: &WaitingRoomState,
    room: &WaitingRoom,
) -> StoreResult<()> {
    while room_state.admitted_up_to() < room.line.admitted {
        let admitted = node
            .store()
            .admitted_after(room_state.key(), room_state.admitted_up_to(), ROWS_MAX)
            .await?;
        if admitted.is_empty() {
            break;
        }
        publish_admitted(node, room_state, &admitted);
    }
    Ok(())
}

/// Admits visitors of all the sale's rooms in one transaction, if units are free. The rooms share
/// two limits: the admissions in one check, and the open admissions.
pub(super) async fn admit(
    rooms: &WaitingRooms,
    node: &Node,
    sale: &SaleState,
    step: usize,
) -> StoreResult<()> {
    let waits = |room: SaleRoom<'_>| {
        room.free_units() != Some(0) && rooms.room_state(room).progress().waiting() > 0
    };
    if !sale.rooms().any(waits) {
        return Ok(());
    }
    // A room that no visitor has entered has no open admissions, so its row need not be read.
    let states: Vec<_> = sale
        .rooms()
        .map(|room| rooms.room_state(room))
        .filter(|room_state| room_state.progress().entered > 0)
        .collect();
    let views = states.iter().map(|room_state| node.store().waiting_room_view(room_state.key()));
    let views = try_join_all(views).await?;
    let seen: Vec<_> =
        states.iter().zip(views).filter_map(|(state, view)| Some((state, view?))).collect();
    // An operator or another node may have admitted visitors since this check read the rows. The
    // publication below would skip these visitors, so they are published first.
    for (room_state, view) in &seen {
        read_admitted(node, room_state, &view.room).await?;
    }
    let open: u64 = seen.iter().map(|(_, view)| view.shop.open).sum();
    let total = admissions_max(rooms.per_sec).min(OPEN_ADMISSIONS_MAX.saturating_sub(open));
    let demand = |(_, WaitingRoomView { room, shop }): &(_, WaitingRoomView)| {
        let (waiting, admissions) = (room.line.waiting(), shop.admissions(&room.line, total));
        RoomDemand { waiting, admissions }
    };
    let demands: Vec<_> = seen.iter().map(demand).collect();
    let parts = divide_admissions(total, &demands, step);
    let (states, admissions): (Vec<_>, Vec<_>) = seen
        .into_iter()
        .zip(parts)
        .filter(|(_, most)| *most > 0)
        .map(|((state, seen), most)| (state, RoomAdmissions { seen, most }))
        .unzip();
    if admissions.is_empty() {
        return Ok(());
    }
    let admitted = node.store().admit_visitors(admissions, rooms.for_ms).await?;
    for (room_state, admitted) in states.into_iter().zip(admitted) {
        publish_admitted(node, room_state, &admitted);
    }
    Ok(())
}

fn publish_admitted(node: &Node, room_state: &WaitingRoomState, admitted: &[RoomVisitor]) {
    for buyer in room_state.apply_admitted(admitted, |buyer| node.hub().has_reader(buyer)) {
        node.hub().publish(EventKind::Position { room: room_state.key().clone(), buyer });
    }
}

/// Opens an automatic room when too many buyers arrive, and keeps it open while visitors wait.
/// Returns the time until which the room is open.
async fn keep_open(
    node: &Node,
    room: SaleRoom<'_>,
    room_state: &WaitingRoomState,
) -> StoreResult<Millis> {
    let Some(row) = room_state.room() else { return Ok(Millis(0)) };
    let left_ms = row.open_until.map_or(0, |until| until.0 - node.now().0);
    // Without free units, every buyer is refused in any case, so the room need not open.
    let (arrivals, nodes) = (&room.runtime().arrivals, node.live_nodes().count().now());
    let is_pressed = room_state.is_overcrowded(arrivals, Instant::now(), nodes.into())
        && room.free_units() != Some(0);
    if left_ms >= KEEP_OPEN_MS / 2 {
        return Ok(row.open_until.unwrap_or(Millis(0)));
    }
    // The room's progress also counts visitors who have left, so this job asks the store whether
    // visitors wait. If the job was interrupted, `open_until` may have passed while visitors still
    // wait. The room then opens again only if one of these visitors entered before `open_until`.
    let is_waited_for = row.open_until.is_some()
        && row.line.waiting() > 0
        && node.control().leads()
        && node.store().waits_since_open(room_state.key()).await?;
    if is_pressed || is_waited_for {
        node.store().keep_room_open(room_state.key(), KEEP_OPEN_MS).await?;
        return Ok(node.now().plus(KEEP_OPEN_MS));
    }
    Ok(row.open_until.unwrap_or(Millis(0)))
}
