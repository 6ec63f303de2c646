//! Tests waiting rooms: one position for each buyer, the draw, admissions, and their expiry.
use doorbuster_core::event::Attribution;
use doorbuster_core::gate::draw::{self, DrawSeed};
use doorbuster_core::gate::room::{IDLE_TURN_MS, LEFT, RoomProgress, RoomSupply};
use doorbuster_core::order::EndReason;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{BuyerId, ItemId, SlotKey, Stock};

use super::{Fixture, buyer, new_item, new_sale};
use crate::actions::recorded;
use crate::contract::{
    ActionQuery, EnterOutcome, NewAction, RoomAdmissions, RoomKey, RoomProgressStep, RoomVisitor,
    WaitingRoomView,
};

const SALE: &str = "spring";
/// The length of an admission, in milliseconds. While other visitors wait, the store shortens an
/// admission to `IDLE_TURN_MS`. An admission of this length is therefore never shortened.
const FOR_MS: i64 = IDLE_TURN_MS;
const ADMISSIONS_MAX: u64 = 500;

fn room() -> RoomKey {
    RoomKey::of_sale(SALE)
}

fn seed() -> DrawSeed {
    DrawSeed::new([3; 32])
}

fn buyers(names: &[&str]) -> Vec<BuyerId> {
    names.iter().map(|name| buyer(name)).collect()
}

async fn sale(fixture: &Fixture, units: u64, limit: u32) -> ItemId {
    let new = new_sale(SALE, vec![new_item("phone", Stock::Counted(units), limit)]);
    fixture.store.create_sale(new).await.expect("writes").expect("a free id").items[0].id
}

async fn open(fixture: &Fixture) {
    fixture.store.step_sale(SALE, PhaseStep::Open).await.expect("writes");
}

async fn enter(fixture: &Fixture, names: &[&str]) -> Vec<EnterOutcome> {
    fixture
        .store
        .enter_room(&room(), seed(), buyers(names))
        .await
        .expect("writes")
        .expect("a sale")
        .1
}

pub(super) async fn admit(
    fixture: &Fixture,
    seen: &WaitingRoomView,
    most: u64,
    for_ms: i64,
) -> Vec<RoomVisitor> {
    let rooms = vec![RoomAdmissions { seen: seen.clone(), most }];
    let mut admitted = fixture.store.admit_visitors(rooms, for_ms).await.expect("writes");
    admitted.pop().expect("one room")
}

async fn admit_all(fixture: &Fixture) -> Vec<String> {
    let seen = fixture.store.waiting_room_view(&room()).await.expect("reads").expect("a room");
    let admitted = admit(fixture, &seen, ADMISSIONS_MAX, FOR_MS).await;
    admitted.iter().map(|visitor| visitor.buyer.as_str().to_owned()).collect()
}

async fn shop(fixture: &Fixture) -> (RoomProgress, RoomSupply) {
    let view = fixture.store.waiting_room_view(&room()).await.expect("reads").expect("a room");
    (view.room.line, view.shop)
}

/// The first call of `open_room` creates the room and its seed. The first call after the opening of
/// the sale closes the draw.
pub async fn a_room_has_one_seed(fixture: Fixture) {
    assert_eq!(
        fixture.store.open_room(&room(), seed()).await.expect("writes"),
        None,
        "an unknown sale must not get a room"
    );
    sale(&fixture, 5, 1).await;
    assert_eq!(fixture.store.waiting_rooms(vec![SALE.into()]).await.expect("reads"), []);
    assert_eq!(fixture.store.waiting_room_view(&room()).await.expect("reads"), None);
    let made = fixture.store.open_room(&room(), seed()).await.expect("writes").expect("a sale");
    assert_eq!(
        (&made.key, &made.seed, made.line, made.open_until),
        (&room(), &seed(), RoomProgress::default(), None)
    );
    let again = fixture
        .store
        .open_room(&room(), DrawSeed::new([4; 32]))
        .await
        .expect("writes")
        .expect("a sale");
    assert_eq!(again, made, "the first seed must stay");
    enter(&fixture, &["anna", "bert"]).await;
    open(&fixture).await;
    let drawn = fixture.store.open_room(&room(), seed()).await.expect("writes").expect("a sale");
    assert_eq!(drawn.line, RoomProgress { entered: 2, participants: Some(2), admitted: 0 });
    assert_eq!(
        fixture.store.waiting_rooms(vec!["other".into(), SALE.into()]).await.expect("reads"),
        [drawn]
    );
    fixture.store.keep_room_open(&room(), 500).await.expect("writes");
    let held = fixture.store.waiting_rooms(vec![SALE.into()]).await.expect("reads");
    assert_eq!(held[0].open_until, Some(fixture.clock.now().plus(500)));
}

/// A buyer gets one position, even if the buyer enters several times, concurrently or later.
pub async fn a_buyer_has_one_position(fixture: Fixture) {
    sale(&fixture, 5, 1).await;
    let first = enter(&fixture, &["anna", "anna", "bert"]).await;
    let EnterOutcome::New(visitor) = &first[0] else { panic!("{first:?}") };
    assert_eq!(
        visitor,
        &RoomVisitor {
            buyer: buyer("anna"),
            lot: Some(seed().lot(None, "anna")),
            rank: None,
            until: None
        }
    );
    assert_eq!(first[1], EnterOutcome::Known(visitor.clone()));
    assert!(matches!(first[2], EnterOutcome::New(_)));
    let room = room();
    let one = || fixture.store.enter_room(&room, seed(), buyers(&["cleo"]));
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    let answers = [a, b, c, d].map(|answer| answer.expect("writes").expect("a sale").1.remove(0));
    assert_eq!(
        answers.iter().filter(|answer| matches!(answer, EnterOutcome::New(_))).count(),
        1,
        "{answers:?}"
    );
    open(&fixture).await;
    assert_eq!(enter(&fixture, &["anna"]).await, [EnterOutcome::Known(visitor.clone())]);
    let late = enter(&fixture, &["dora"]).await;
    let EnterOutcome::New(late) = &late[0] else { panic!("{late:?}") };
    assert_eq!((late.lot, late.rank, late.until), (None, Some(4), None));
    let mut found =
        fixture.store.visitors(&room, buyers(&["dora", "nobody", "anna"])).await.expect("reads");
    found.sort_by(|a, b| a.buyer.cmp(&b.buyer));
    assert_eq!(found, [visitor.clone(), late.clone()]);
    assert_eq!(
        fixture.store.visitors(&RoomKey::of_sale("other"), buyers(&["anna"])).await.expect("reads"),
        []
    );
}

/// Buyers in the draw are admitted first, in the draw's order. Later buyers are admitted in the
/// order of arrival.
pub async fn buyers_in_the_draw_are_admitted_first(fixture: Fixture) {
    sale(&fixture, 1_000, 1).await;
    let names: Vec<String> = (0..40).map(|n| format!("b{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    enter(&fixture, &names).await;
    assert!(admit_all(&fixture).await.is_empty(), "buyers must not be admitted before the opening");
    open(&fixture).await;
    enter(&fixture, &["late-1", "late-2"]).await;
    let drawn = draw::drawn_order(&seed(), None, names.iter().copied());
    let mut listed = Vec::new();
    while let page =
        fixture.store.drawn_after(&room(), listed.last().copied(), 15).await.expect("reads")
        && !page.is_empty()
    {
        assert!(page.len() <= 15);
        assert_eq!(page[0].1.as_str(), drawn[listed.len()]);
        listed.extend(page.iter().map(|(lot, _)| *lot));
    }
    assert_eq!(listed.len(), 40);
    assert_eq!(admit_all(&fixture).await[..40], drawn, "all buyers in the draw must be admitted");
    let admitted = fixture.store.admitted_after(&room(), 38, 10).await.expect("reads");
    let ranks: Vec<_> =
        admitted.iter().map(|visitor| (visitor.buyer.as_str(), visitor.rank)).collect();
    let last =
        [(drawn[38], Some(39)), (drawn[39], Some(40)), ("late-1", Some(41)), ("late-2", Some(42))];
    assert_eq!(ranks, last);
    assert!(admitted.iter().all(|visitor| visitor.until == Some(fixture.clock.now().plus(FOR_MS))));
}

/// The room admits one visitor for each available unit, even if several nodes admit visitors.
pub async fn no_visitor_is_admitted_without_a_free_unit(fixture: Fixture) {
    let item = sale(&fixture, 3, 1).await;
    open(&fixture).await;
    enter(&fixture, &["a", "b", "c", "d", "e", "f"]).await;
    // Even if two calls use the same snapshot, they do not admit a visitor twice.
    let room = room();
    let seen = fixture.store.waiting_room_view(&room).await.expect("reads").expect("a room");
    assert_eq!(seen.shop, RoomSupply { free: Some(3), limit: 1, open: 0, used: 0, used_units: 0 });
    let (one, two) = tokio::join!(
        admit(&fixture, &seen, ADMISSIONS_MAX, FOR_MS),
        admit(&fixture, &seen, ADMISSIONS_MAX, FOR_MS)
    );
    assert_eq!(one.len() + two.len(), 3);
    assert!(
        admit_all(&fixture).await.is_empty(),
        "a fourth visitor must not get one of three units"
    );
    let grant = fixture.open(SlotKey { item, index: 0 }, 3).await;
    assert_eq!(shop(&fixture).await.1.free, Some(3), "units in a slot must count as free");
    let order = fixture.reserve(&grant, 1, "a", 1).await;
    assert_eq!(
        shop(&fixture).await.1,
        RoomSupply { free: Some(2), limit: 1, open: 2, used: 1, used_units: 1 }
    );
    assert!(admit_all(&fixture).await.is_empty());
    // A returned unit is free again, for the next visitor.
    fixture
        .store
        .end_order(order.id, EndReason::Cancel, Attribution::BUYER.clone())
        .await
        .expect("writes");
    assert_eq!(shop(&fixture).await.1.free, Some(3));
    // The sale is paused after the snapshot was read, so no unit is free.
    let seen = fixture.store.waiting_room_view(&room).await.expect("reads").expect("a room");
    fixture.store.step_sale(SALE, PhaseStep::Pause).await.expect("writes");
    assert_eq!(
        admit(&fixture, &seen, ADMISSIONS_MAX, FOR_MS).await,
        [],
        "a paused sale must not admit"
    );
    assert_eq!(shop(&fixture).await.1.free, Some(0));
    fixture.store.step_sale(SALE, PhaseStep::Resume).await.expect("writes");
    assert_eq!(admit_all(&fixture).await, ["d"]);
}

/// An unused admission expires, and the next visitor gets the unit.
pub async fn an_unused_admission_expires(fixture: Fixture) {
    sale(&fixture, 1, 1).await;
    enter(&fixture, &["early-1", "early-2"]).await;
    open(&fixture).await;
    enter(&fixture, &["late"]).await;
    let drawn = draw::drawn_order(&seed(), None, ["early-1", "early-2"]);
    assert_eq!(admit_all(&fixture).await, drawn[..1]);
    assert!(matches!(
        &enter(&fixture, &drawn[..1]).await[0],
        EnterOutcome::Known(visitor) if visitor.until.is_some()
    ));
    fixture.clock.advance(FOR_MS - 1);
    assert!(admit_all(&fixture).await.is_empty());
    fixture.clock.advance(1);
    assert_eq!(admit_all(&fixture).await, drawn[1..]);
    let again = enter(&fixture, &drawn[..1]).await;
    let EnterOutcome::New(again) = &again[0] else { panic!("{again:?}") };
    assert_eq!((again.rank, again.until), (Some(4), None));
    assert_eq!(
        fixture.store.drawn_after(&room(), None, 10).await.expect("reads").len(),
        2,
        "the draw must not change"
    );
    fixture.clock.advance(FOR_MS);
    assert_eq!(admit_all(&fixture).await, ["late"]);
    fixture.clock.advance(FOR_MS);
    assert_eq!(admit_all(&fixture).await, drawn[..1]);
    fixture.clock.advance(FOR_MS);
    assert!(admit_all(&fixture).await.is_empty(), "the room must have no visitor left");
}

/// While other visitors wait, an admission is short at first. The admitted visitor's first request
/// extends the admission to its full length, but only once.
pub async fn an_idle_turn_passes_and_a_used_one_is_kept(fixture: Fixture) {
    const WHOLE_MS: i64 = 5 * IDLE_TURN_MS;
    let admit_next = async || {
        let seen = fixture.store.waiting_room_view(&room()).await.expect("reads").expect("a room");
        let admitted = admit(&fixture, &seen, ADMISSIONS_MAX, WHOLE_MS).await;
        let named = |visitor: RoomVisitor| (visitor.buyer.as_str().to_owned(), visitor.until);
        admitted.into_iter().map(named).collect::<Vec<_>>()
    };
    let keep = async |name: &str| {
        let kept = fixture.store.keep_turn(&room(), buyer(name), WHOLE_MS).await.expect("writes");
        kept.and_then(|kept| kept.until)
    };
    sale(&fixture, 2, 1).await;
    open(&fixture).await;
    enter(&fixture, &["idle", "quick", "next", "last"]).await;
    let began = fixture.clock.now();
    let first = Some(began.plus(IDLE_TURN_MS));
    assert_eq!(admit_next().await, [("idle".to_owned(), first), ("quick".to_owned(), first)]);
    fixture.clock.advance(IDLE_TURN_MS - 1);
    assert_eq!(keep("quick").await, Some(began.plus(WHOLE_MS)));
    assert_eq!(keep("quick").await, Some(began.plus(WHOLE_MS)), "the turn was extended twice");
    assert_eq!(keep("next").await, None, "a waiting visitor must not have a turn");
    assert_eq!(keep("nobody").await, None);
    assert!(admit_next().await.is_empty());
    fixture.clock.advance(1);
    assert_eq!(keep("idle").await, first, "a turn that has passed must not be extended");
    let next = fixture.clock.now();
    assert_eq!(admit_next().await, [("next".to_owned(), Some(next.plus(IDLE_TURN_MS)))]);
    fixture.clock.advance(IDLE_TURN_MS);
    let last = fixture.clock.now();
    assert_eq!(
        admit_next().await,
        [("last".to_owned(), Some(last.plus(WHOLE_MS)))],
        "the last visitor must get the full time, because no other visitor waits"
    );
}

/// If a visitor leaves before being admitted, the room passes over the visitor. If an admitted
/// visitor leaves, the admission ends. In both cases, the draw stays the same.
pub async fn a_visitor_who_leaves_is_passed_over(fixture: Fixture) {
    let leave = async |name: &str| {
        let left = fixture.store.leave_room(&room(), buyer(name)).await.expect("writes");
        left.map(|left| (left.rank, left.until))
    };
    sale(&fixture, 1, 1).await;
    assert_eq!(leave("early-1").await, None, "a visitor must not leave a room that does not exist");
    enter(&fixture, &["early-1", "early-2", "early-3"]).await;
    assert_eq!(leave("nobody").await, None);
    let drawn = draw::drawn_order(&seed(), None, ["early-1", "early-2", "early-3"]);
    assert_eq!(leave(drawn[0]).await, Some((None, Some(LEFT))));
    assert_eq!(leave(drawn[0]).await, None, "a visitor must leave only once");
    assert_eq!(leave(drawn[1]).await, Some((None, Some(LEFT))));
    let again = enter(&fixture, &[drawn[1]]).await;
    assert!(
        matches!(&again[0], EnterOutcome::New(visitor) if visitor.until.is_none()),
        "{again:?}"
    );
    open(&fixture).await;
    enter(&fixture, &["late"]).await;
    // The draw stays the same, so the first call admits the visitor who left. This visitor's
    // admission ended at once, so the second call gives the unit to the next visitor.
    assert_eq!(admit_all(&fixture).await, drawn[..1]);
    assert_eq!(admit_all(&fixture).await, drawn[1..2]);
    assert!(admit_all(&fixture).await.is_empty());
    let left = leave(drawn[1]).await.expect("an admission");
    assert_eq!(left, (Some(2), Some(fixture.clock.now())));
    assert_eq!(admit_all(&fixture).await, drawn[2..]);
    for (name, rank) in [(drawn[0], 5), (drawn[1], 6)] {
        let again = enter(&fixture, &[name]).await;
        let EnterOutcome::New(again) = &again[0] else { panic!("{again:?}") };
        assert_eq!((again.rank, again.until), (Some(rank), None));
    }
    let listed = fixture.store.drawn_after(&room(), None, 10).await.expect("reads");
    assert_eq!(listed.len(), 3, "the draw must not change");
}

/// With unlimited stock, every visitor is admitted.
pub async fn unlimited_stock_admits_every_visitor(fixture: Fixture) {
    let items = vec![new_item("a", Stock::Counted(0), 3), new_item("b", Stock::Unlimited, 2)];
    fixture.store.create_sale(new_sale(SALE, items)).await.expect("writes").expect("a free id");
    open(&fixture).await;
    enter(&fixture, &["a", "b", "c"]).await;
    assert_eq!(
        shop(&fixture).await.1,
        RoomSupply { free: None, limit: 3, ..RoomSupply::default() }
    );
    let seen = fixture.store.waiting_room_view(&room()).await.expect("reads").expect("a room");
    let admitted = admit(&fixture, &seen, 2, FOR_MS).await;
    assert_eq!(admitted.len(), 2, "one call must not admit more visitors than its maximum");
    assert_eq!(admit_all(&fixture).await, ["c"]);
}

/// An operator can admit more visitors than there are units. The recorded action says how many
/// visitors the operator admitted.
pub async fn an_operator_admits_visitors_without_regard_to_the_stock(fixture: Fixture) {
    let store = &fixture.store;
    sale(&fixture, 1, 1).await;
    let more = async |visitors| {
        let action = NewAction::by_engine("visitors.admitted", format!("sale:{SALE}"), "a test");
        recorded(action, store.admit_more(&room(), visitors, FOR_MS)).await.expect("writes")
    };
    assert_eq!(more(1).await, None, "a room that does not exist must not admit visitors");
    enter(&fixture, &["anna", "bert", "carl"]).await;
    assert_eq!(more(1).await, None, "a sale that is not open must not admit visitors");
    open(&fixture).await;
    store.open_room(&room(), seed()).await.expect("writes");
    assert_eq!(more(2).await, Some(RoomProgressStep { admitted: 2, waiting: 1 }));
    assert_eq!(admit_all(&fixture).await, Vec::<String>::new(), "there must be no third admission");
    enter(&fixture, &["dora"]).await;
    assert_eq!(more(9).await, Some(RoomProgressStep { admitted: 2, waiting: 0 }));
    assert_eq!(more(9).await, Some(RoomProgressStep { admitted: 0, waiting: 0 }));
    let admitted = store.admitted_after(&room(), 0, 10).await.expect("reads");
    let until = fixture.clock.now().plus(FOR_MS);
    assert!(admitted.iter().all(|visitor| visitor.until == Some(until)), "{admitted:?}");
    enter(&fixture, &["emil", "finn", "gina"]).await;
    for name in ["emil", "gina"] {
        store.leave_room(&room(), buyer(name)).await.expect("writes").expect("a visitor");
    }
    let one = RoomProgressStep { admitted: 1, waiting: 0 };
    assert_eq!(more(2).await, Some(one), "visitors who have left must not be counted");
    let query = ActionQuery { limit: 10, ..ActionQuery::default() };
    let actions = store.actions(query).await.expect("reads").rows;
    let counts = actions.iter().filter_map(|row| row.action.changes[0].to.as_u64());
    assert_eq!(counts.collect::<Vec<_>>(), [1, 2, 2], "a call without admissions writes no action");
    store.step_sale(SALE, PhaseStep::Pause).await.expect("writes");
    assert_eq!(more(1).await, None, "a paused sale must not admit visitors");
}
