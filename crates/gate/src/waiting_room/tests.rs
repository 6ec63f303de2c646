//! Tests the state of a waiting room in the memory of a node, without a store.

mod with_store;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_base::master_keys::MasterKeys;
use doorbuster_core::gate::draw::DrawSeed;
use doorbuster_core::gate::room::{RoomProgress, VisitorStatus};
use doorbuster_core::{BuyerId, ItemId, Millis};
use doorbuster_engine::sale_room::Arrivals;
use doorbuster_store::{RoomKey, RoomVisitor, WaitingRoom};
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::batcher::{PositionAction, PositionBatcher};
use super::room_state::WaitingRoomState;
use super::{WaitingRoomError, WaitingRooms};

const NOW: Millis = Millis(1_000);
const PER_SEC: u64 = 2_000;

fn seed() -> DrawSeed {
    DrawSeed::new([5; 32])
}

fn room(entered: u64, participants: Option<u64>, admitted: u64) -> WaitingRoom {
    let line = RoomProgress { entered, participants, admitted };
    WaitingRoom {
        key: RoomKey::of_sale("spring"),
        item_name: None,
        seed: seed(),
        line,
        open_until: None,
    }
}

fn visitor(name: &str, rank: Option<u64>, until: Option<i64>) -> RoomVisitor {
    let lot = rank.is_none().then(|| seed().lot(None, name));
    RoomVisitor { buyer: buyer(name), lot, rank, until: until.map(Millis) }
}

fn buyer(name: &str) -> BuyerId {
    BuyerId::new(name).expect("a test's buyer")
}

fn status_of(room_state: &WaitingRoomState, name: &str, free: u64) -> Option<VisitorStatus> {
    room_state.position(&buyer(name), None, Some(free), NOW).map(|(status, _)| status)
}

#[test]
fn a_room_state_knows_ranks_once_the_draw_is_read() {
    let room_state = WaitingRoomState::new(RoomKey::of_sale("spring"), None, PER_SEC);
    let names: Vec<String> = (0..20).map(|n| format!("b{n}")).collect();
    names.iter().for_each(|name| room_state.apply_position(&visitor(name, None, None)));
    assert_eq!(
        status_of(&room_state, "b0", 9),
        None,
        "there must be no status before the room's row is read"
    );
    room_state.apply_row(&room(20, None, 0));
    assert_eq!(status_of(&room_state, "b0", 9), Some(VisitorStatus::NotDrawn));
    room_state.apply_row(&room(20, Some(20), 0));
    assert!(!room_state.is_drawn());
    let mut lots: Vec<_> = names.iter().map(|name| seed().lot(None, name)).collect();
    lots.sort_unstable();
    room_state.set_lots(lots);
    assert!(room_state.is_drawn());
    let order =
        doorbuster_core::gate::draw::drawn_order(&seed(), None, names.iter().map(String::as_str));
    for (at, name) in order.iter().enumerate() {
        let position = at as u64 + 1;
        let wanted = if position > 9 {
            VisitorStatus::BeyondStock(position)
        } else {
            VisitorStatus::Waiting(position)
        };
        assert_eq!(status_of(&room_state, name, 9), Some(wanted));
    }
    // Another node admits the first three visitors. This node learns of this only from the row.
    room_state.apply_row(&room(20, Some(20), 3));
    assert_eq!(status_of(&room_state, order[0], 9), None);
    let admitted: Vec<_> =
        (0..3).map(|at| visitor(order[at], Some(at as u64 + 1), Some(2_000))).collect();
    assert_eq!(room_state.apply_admitted(&admitted, |_| false).len(), 3);
    assert_eq!(
        (status_of(&room_state, order[2], 0), room_state.admitted_up_to()),
        (Some(VisitorStatus::Admitted(Millis(2_000))), 3)
    );
    assert_eq!(status_of(&room_state, order[3], 9), Some(VisitorStatus::Waiting(1)));
    // An older row changes nothing.
    room_state.apply_row(&room(20, None, 0));
    assert_eq!(status_of(&room_state, order[3], 9), Some(VisitorStatus::Waiting(1)));
    assert_eq!(
        room_state.position(&buyer(order[2]), None, None, Millis(2_000)),
        None,
        "a lapsed admission must not be shown"
    );
}

#[test]
fn a_sale_that_was_created_again_starts_with_an_empty_room() {
    let room_state = WaitingRoomState::new(RoomKey::of_sale("spring"), None, PER_SEC);
    room_state.apply_position(&visitor("anna", None, None));
    room_state.apply_row(&room(20, Some(20), 9));
    room_state.set_lots(vec![seed().lot(None, "anna")]);
    assert!(room_state.is_drawn());
    let of_new_sale = |row: WaitingRoom| WaitingRoom { seed: DrawSeed::new([6; 32]), ..row };
    let row = of_new_sale(room(1, None, 0));
    room_state.apply_row(&row);
    assert_eq!(room_state.room(), Some(row));
    assert_eq!((room_state.counts().in_memory, room_state.admitted_up_to()), (0, 0));
    room_state.apply_row(&of_new_sale(room(1, Some(1), 0)));
    assert!(!room_state.is_drawn(), "the node must not use the lots of the deleted sale");
}

#[test]
fn a_position_that_does_not_fit_in_memory_is_answered_from_the_store() {
    let room_state = WaitingRoomState::new(RoomKey::of_sale("spring"), None, PER_SEC);
    room_state.apply_row(&room(2, None, 0));
    let (anna, found) = (buyer("anna"), visitor("anna", None, None));
    assert_eq!(room_state.position(&anna, None, Some(9), NOW), None);
    let shown = room_state.position(&anna, Some(&found), Some(9), NOW);
    assert_eq!(shown, Some((VisitorStatus::NotDrawn, None)));
}

#[test]
fn an_admitted_visitor_is_notified_even_before_the_draw_is_read() {
    let room_state = WaitingRoomState::new(RoomKey::of_sale("spring"), None, PER_SEC);
    room_state.apply_position(&visitor("anna", None, None));
    room_state.apply_row(&room(2, None, 0));
    assert!(
        room_state.can_answer(&buyer("anna"), true)
            && !room_state.can_answer(&buyer("anna"), false),
        "without a draw, the node must answer from memory before the opening but not after it"
    );
    room_state.apply_row(&room(2, Some(2), 1));
    assert_eq!(
        room_state.apply_admitted(&[visitor("bert", Some(1), Some(2_000))], |_| true),
        [buyer("bert")]
    );
    for is_before_opening in [false, true] {
        assert!(room_state.can_answer(&buyer("bert"), is_before_opening));
    }
    assert_eq!(status_of(&room_state, "bert", 9), Some(VisitorStatus::Admitted(Millis(2_000))));
    assert!(
        !room_state.can_answer(&buyer("anna"), false),
        "Anna's rank is not known yet, so the node must not answer"
    );
}

#[test]
fn a_room_is_overcrowded_when_more_buyers_arrive_than_it_admits() {
    let (room_state, counter) =
        (WaitingRoomState::new(RoomKey::of_sale("spring"), None, PER_SEC), Arrivals::default());
    let start = Instant::now();
    let nodes = std::cell::Cell::new(1);
    let pressed = |arrivals: u64, secs: u64| {
        (0..arrivals).for_each(|n| counter.record_arrival(&format!("b{n}"), PER_SEC));
        room_state.is_overcrowded(&counter, start + Duration::from_secs(secs), nodes.get())
    };
    assert!(
        !pressed(2 * PER_SEC, 0),
        "the first count must not open the room, because there is no earlier count to compare with"
    );
    assert!(!pressed(PER_SEC, 1));
    // The counter may count two buyers as one, so this test uses 5 % more buyers than the bound.
    assert!(pressed(PER_SEC * 21 / 20, 2));
    assert!(
        !pressed(PER_SEC, 2),
        "the room must not open in the first second after the last count"
    );
    assert!(!pressed(0, 3));
    // A buyer who sends many requests counts once.
    (0..100 * PER_SEC).for_each(|_| counter.record_arrival("robot", PER_SEC));
    assert!(!pressed(PER_SEC - 1, 4));
    assert!(
        pressed(20 * PER_SEC, 5),
        "the room must open if more buyers arrive than the counter can count"
    );
    // With four nodes, the bound of each node is a quarter of `PER_SEC`.
    nodes.set(4);
    assert!(!pressed(PER_SEC / 4, 6));
    assert!(pressed(PER_SEC * 21 / 80, 7));
    room_state.apply_row(&WaitingRoom { open_until: Some(Millis(1_001)), ..room(0, None, 0) });
    assert!(room_state.is_auto_open(NOW) && !room_state.is_auto_open(Millis(1_001)));
}

#[test]
fn a_room_counts_as_overcrowded_by_its_configured_admissions() {
    for per_sec in [4, 100, 20_000] {
        let (room_state, counter) =
            (WaitingRoomState::new(RoomKey::of_sale("spring"), None, per_sec), Arrivals::default());
        let start = Instant::now();
        let pressed = |arrivals: u64, secs: u64| {
            (0..arrivals).for_each(|n| counter.record_arrival(&format!("b{n}"), per_sec));
            room_state.is_overcrowded(&counter, start + Duration::from_secs(secs), 1)
        };
        assert!(
            !pressed(0, 0),
            "the first count must not open the room, because there is no earlier count to compare with"
        );
        assert!(!pressed(per_sec, 1));
        assert!(pressed(2 * per_sec, 2));
        assert!(!pressed(0, 3));
    }
}

#[test]
fn positions_are_published_when_they_change_and_not_too_often() {
    let room_state = WaitingRoomState::new(RoomKey::of_sale("spring"), None, PER_SEC);
    let start = Instant::now();
    let must_publish = |free, readers, secs| {
        room_state.should_publish(Some(free), readers, start + Duration::from_secs(secs))
    };
    assert!(!must_publish(5, 1, 0), "without a waiting room, nothing must be published");
    room_state.apply_row(&room(9, Some(9), 0));
    assert!(must_publish(5, 1, 0));
    assert!(!must_publish(4, 1, 0), "a publication came too soon after the last one");
    assert!(must_publish(0, 1, 0), "a publication must come when the units run out");
    assert!(must_publish(1, 1, 0), "a publication must come when a unit comes back");
    assert!(!must_publish(1, 1, 2), "a publication came although nothing changed");
    room_state.apply_row(&room(9, Some(9), 1));
    assert!(
        !must_publish(1, 50_000, 2),
        "with so many readers, positions must be published less often"
    );
    assert!(must_publish(1, 1, 2));
}

#[test]
fn each_room_of_a_sale_has_its_own_lots() {
    let key = RoomKey { item: Some(ItemId(7)), ..RoomKey::of_sale("spring") };
    let room_state = WaitingRoomState::new(key.clone(), Some("phone".to_owned()), PER_SEC);
    let row = WaitingRoom { key, item_name: Some("phone".to_owned()), ..room(2, Some(2), 0) };
    for name in ["anna", "bert"] {
        room_state.apply_position(&RoomVisitor {
            lot: Some(row.lot(&buyer(name))),
            ..visitor(name, None, None)
        });
    }
    room_state.apply_row(&row);
    let mut lots = ["anna", "bert"].map(|name| row.lot(&buyer(name)));
    lots.sort_unstable();
    room_state.set_lots(lots.to_vec());
    let order = doorbuster_core::gate::draw::drawn_order(&seed(), Some("phone"), ["anna", "bert"]);
    for (at, name) in order.iter().enumerate() {
        let wanted = VisitorStatus::Waiting(at as u64 + 1);
        assert_eq!(status_of(&room_state, name, 9), Some(wanted));
    }
    assert_eq!(room_state.counts().item.as_deref(), Some("phone"));
}

#[tokio::test]
async fn a_batcher_that_ends_refuses_waiting_and_later_requests() {
    let (batcher, room, anna) = (PositionBatcher::new(), RoomKey::of_sale("spring"), buyer("anna"));
    let queue = batcher.take_queue();
    assert!(queue.is_some());
    let mut waiting = Box::pin(batcher.request(&room, &anna, PositionAction::Enter));
    assert!(waiting.as_mut().now_or_never().is_none(), "the request must wait in the queue");
    drop(queue);
    let waited = waiting.now_or_never();
    assert!(matches!(waited, Some(Err(WaitingRoomError::Busy))), "{waited:?}");
    let later = batcher.request(&room, &anna, PositionAction::Enter).now_or_never();
    assert!(matches!(later, Some(Err(WaitingRoomError::Busy))), "{later:?}");
}

#[test]
fn a_node_accepts_smaller_counts_after_a_failover() {
    let masters = MasterKeys::new(vec![[3; 32]]).expect("one");
    let rooms = WaitingRooms::new(&masters, Duration::from_secs(60), PER_SEC);
    let (fence, mut history) = watch::channel(1);
    let admitted_after = |row: &WaitingRoom| {
        let room_state = rooms.state_of_key(&row.key);
        room_state.apply_row(row);
        room_state.progress().admitted
    };
    assert_eq!(admitted_after(&room(20, Some(20), 9)), 9);
    rooms.forget_after_failover(Some(&mut history));
    assert_eq!(admitted_after(&room(18, Some(18), 7)), 9, "an older row must be ignored");
    fence.send_replace(2);
    rooms.forget_after_failover(Some(&mut history));
    assert_eq!(admitted_after(&room(18, Some(18), 7)), 7);
    // The node forgets the states of its rooms once for each failover. A second call for the same
    // failover must change nothing.
    rooms.forget_after_failover(Some(&mut history));
    assert_eq!(admitted_after(&room(18, Some(18), 6)), 7);
}

#[test]
fn a_room_keeps_its_item_and_its_admissions_after_a_failover() {
    let masters = MasterKeys::new(vec![[3; 32]]).expect("one");
    let rooms = WaitingRooms::new(&masters, Duration::from_secs(60), PER_SEC);
    let (fence, mut history) = watch::channel(1);
    let key = RoomKey { item: Some(ItemId(7)), ..RoomKey::of_sale("spring") };
    let before = Arc::new(WaitingRoomState::new(key.clone(), Some("phone".to_owned()), 4));
    rooms.states.lock().expect("no thread panicked").insert(key.clone(), before.clone());
    before.apply_row(&WaitingRoom { key: key.clone(), ..room(20, Some(20), 9) });
    fence.send_replace(2);
    rooms.forget_after_failover(Some(&mut history));
    // The test uses the state as the batcher does after a failover. The batcher knows the room's
    // key but not the item's name, so the state must have kept this name.
    let after = rooms.state_of_key(&key);
    assert_eq!(after.progress(), RoomProgress::default());
    assert_eq!(after.counts().item.as_deref(), Some("phone"));
    assert!(Arc::ptr_eq(&before, &after), "a request in progress must not keep an old state");
    let (arrivals, start) = (Arrivals::default(), Instant::now());
    assert!(!after.is_overcrowded(&arrivals, start, 1));
    (0..8).for_each(|n| arrivals.record_arrival(&format!("b{n}"), 4));
    assert!(after.is_overcrowded(&arrivals, start + Duration::from_secs(1), 1));
}
