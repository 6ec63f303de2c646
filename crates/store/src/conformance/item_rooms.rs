//! Tests sales in which each item has its own waiting room.
use doorbuster_core::gate::draw::{self, DrawSeed};
use doorbuster_core::gate::room::{IDLE_TURN_MS, KEEP_OPEN_MS, RoomSupply};
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{ItemId, SlotKey, Stock};

use super::rooms::admit;
use super::{Fixture, buyer, new_item, new_sale};
use crate::actions::recorded;
use crate::contract::{
    ActionQuery, EnterOutcome, NewAction, PatchOutcome, RoomAdmissions, RoomKey, RoomProgressStep,
    SaleRow,
};

const SALE: &str = "spring";
const FOR_MS: i64 = IDLE_TURN_MS;
const ADMISSIONS_MAX: u64 = 500;

fn room(item: ItemId) -> RoomKey {
    RoomKey { sale: SALE.into(), item: Some(item) }
}

async fn sale(fixture: &Fixture, phones: u64, cases: u64) -> [ItemId; 2] {
    let items = vec![
        new_item("phone", Stock::Counted(phones), 1),
        new_item("case", Stock::Counted(cases), 2),
    ];
    let made = fixture.store.create_sale(new_sale(SALE, items)).await;
    let made = made.expect("writes").expect("a free id");
    [made.items[0].id, made.items[1].id]
}

async fn open(fixture: &Fixture) {
    fixture.store.step_sale(SALE, PhaseStep::Open).await.expect("writes");
}

async fn enter(
    fixture: &Fixture,
    item: ItemId,
    seed: DrawSeed,
    names: &[&str],
) -> Vec<EnterOutcome> {
    let buyers = names.iter().map(|name| buyer(name)).collect();
    let entered = fixture.store.enter_room(&room(item), seed, buyers).await;
    entered.expect("writes").expect("a sale").1
}

async fn admit_all(fixture: &Fixture, item: ItemId) -> Vec<String> {
    let seen = fixture.store.waiting_room_view(&room(item)).await.expect("reads").expect("a room");
    let admitted = admit(fixture, &seen, ADMISSIONS_MAX, FOR_MS).await;
    admitted.into_iter().map(|visitor| visitor.buyer.as_str().to_owned()).collect()
}

async fn supply(fixture: &Fixture, item: ItemId) -> RoomSupply {
    let view = fixture.store.waiting_room_view(&room(item)).await.expect("reads");
    view.expect("a room").shop
}

/// All rooms of a sale have the same seed, but each room's draw has its own sequence of buyers.
pub async fn the_rooms_of_a_sale_have_one_seed(fixture: Fixture) {
    let [phone, case] = sale(&fixture, 5, 5).await;
    let (seed, names) = (DrawSeed::new([3; 32]), ["anna", "bert", "carl", "dora"]);
    enter(&fixture, phone, seed.clone(), &names).await;
    enter(&fixture, case, DrawSeed::new([4; 32]), &names).await;
    let unknown = room(ItemId(case.0 + 1));
    let none = fixture.store.open_room(&unknown, seed.clone()).await.expect("writes");
    assert_eq!(none, None, "an item of no sale must not get a room");
    let mut rooms = fixture.store.waiting_rooms(vec![SALE.into()]).await.expect("reads");
    rooms.sort_by(|a, b| a.key.cmp(&b.key));
    assert!(rooms.iter().all(|room| room.seed == seed), "{rooms:?}");
    let found: Vec<_> =
        rooms.iter().map(|it| (it.key.item, it.item_name.as_deref(), it.line.entered)).collect();
    assert_eq!(
        found,
        [(None, None, 0), (Some(phone), Some("phone"), 4), (Some(case), Some("case"), 4)]
    );
    open(&fixture).await;
    for (item, name) in [(phone, "phone"), (case, "case")] {
        fixture.store.open_room(&room(item), seed.clone()).await.expect("writes");
        let listed = fixture.store.drawn_after(&room(item), None, 9).await.expect("reads");
        let listed: Vec<&str> = listed.iter().map(|(_, buyer)| buyer.as_str()).collect();
        assert_eq!(listed, draw::drawn_order(&seed, Some(name), names));
        assert_eq!(admit_all(&fixture, item).await, draw::drawn_order(&seed, Some(name), names));
    }
}

/// A room admits buyers only while its own item has units. A buyer can wait in two rooms.
pub async fn each_room_has_the_supply_of_its_item(fixture: Fixture) {
    let [phone, case] = sale(&fixture, 1, 8).await;
    let seed = || DrawSeed::new([3; 32]);
    open(&fixture).await;
    enter(&fixture, phone, seed(), &["anna", "bert"]).await;
    enter(&fixture, case, seed(), &["bert", "anna"]).await;
    assert_eq!(
        supply(&fixture, case).await,
        RoomSupply { free: Some(8), limit: 2, ..RoomSupply::default() }
    );
    assert_eq!(
        admit_all(&fixture, phone).await,
        ["anna"],
        "the room must admit one buyer for the last phone"
    );
    let grant = fixture.open(SlotKey { item: phone, index: 0 }, 1).await;
    fixture.reserve(&grant, 1, "anna", 1).await;
    let sold = RoomSupply { free: Some(0), limit: 1, open: 0, used: 1, used_units: 1 };
    assert_eq!(supply(&fixture, phone).await, sold);
    assert!(
        admit_all(&fixture, phone).await.is_empty(),
        "the room must not admit a buyer after the last phone is sold"
    );
    assert_eq!(admit_all(&fixture, case).await, ["bert", "anna"]);
    let cases = supply(&fixture, case).await;
    assert_eq!(
        (cases.open, cases.used),
        (2, 0),
        "an order for a phone must not use the admission to buy a case"
    );
    // Bert leaves only the waiting room for cases. He keeps his position in the room for phones.
    let left = fixture.store.leave_room(&room(case), buyer("bert")).await.expect("writes");
    assert_eq!(left.expect("a position").until, Some(fixture.clock.now()));
    let stays = fixture.store.visitors(&room(phone), vec![buyer("bert")]).await.expect("reads");
    assert_eq!((stays[0].rank, stays[0].until), (Some(2), None));
    let kept = fixture.store.keep_turn(&room(case), buyer("anna"), 2 * FOR_MS).await;
    assert_eq!(
        kept.expect("writes").and_then(|it| it.until),
        Some(fixture.clock.now().plus(2 * FOR_MS))
    );
    assert_eq!(fixture.store.admitted_after(&room(phone), 0, 9).await.expect("reads").len(), 1);
    fixture.store.keep_room_open(&room(case), 500).await.expect("writes");
    let rooms = fixture.store.waiting_rooms(vec![SALE.into()]).await.expect("reads");
    let held: Vec<_> =
        rooms.iter().filter(|room| room.open_until.is_some()).map(|room| room.key.item).collect();
    assert_eq!(held, [Some(case)]);
}

/// One transaction can admit visitors of two rooms. If one room has admitted visitors since the
/// caller read it, the transaction admits only visitors of the other room.
pub async fn one_transaction_admits_visitors_of_both_rooms(fixture: Fixture) {
    let items = sale(&fixture, 1, 8).await;
    open(&fixture).await;
    for item in items {
        enter(&fixture, item, DrawSeed::new([3; 32]), &["anna", "bert"]).await;
    }
    let mut rooms = Vec::new();
    for item in items {
        let seen = fixture.store.waiting_room_view(&room(item)).await.expect("reads");
        rooms.push(RoomAdmissions { seen: seen.expect("a room"), most: ADMISSIONS_MAX });
    }
    assert_eq!(
        admit_all(&fixture, items[0]).await,
        ["anna"],
        "anna must be admitted, so that the first snapshot is old"
    );
    let admitted = fixture.store.admit_visitors(rooms.clone(), FOR_MS).await.expect("writes");
    assert_eq!(admitted.iter().map(Vec::len).collect::<Vec<_>>(), [0, 2]);
    let again = fixture.store.admit_visitors(rooms, FOR_MS).await.expect("writes");
    assert_eq!(again, [vec![], vec![]], "rooms with old snapshots must not admit visitors");
}

/// An operator can admit visitors to one item. The action then names the item.
pub async fn an_operator_admits_visitors_of_one_item(fixture: Fixture) {
    let [phone, case] = sale(&fixture, 1, 1).await;
    let seed = || DrawSeed::new([3; 32]);
    open(&fixture).await;
    enter(&fixture, phone, seed(), &["anna", "bert"]).await;
    enter(&fixture, case, seed(), &["carl"]).await;
    let action = NewAction::by_engine("visitors.admitted", format!("sale:{SALE}"), "a test");
    let key = room(phone);
    let more = recorded(action, fixture.store.admit_more(&key, 9, FOR_MS)).await;
    assert_eq!(more.expect("writes"), Some(RoomProgressStep { admitted: 2, waiting: 0 }));
    let query = ActionQuery { limit: 10, ..ActionQuery::default() };
    let actions = fixture.store.actions(query).await.expect("reads").rows;
    let changes: Vec<_> =
        actions[0].action.changes.iter().map(|it| (it.path.as_str(), it.to.to_string())).collect();
    assert_eq!(changes[0], ("/admitted", "2".to_owned()));
    assert_eq!(changes[1], ("/item", "\"phone\"".to_owned()));
    assert_eq!(admit_all(&fixture, case).await, ["carl"]);
}

/// The store can tell whether a room still has a waiting visitor who entered while the room was
/// open.
pub async fn a_room_knows_who_waits_since_it_was_open(fixture: Fixture) {
    let [phone, _] = sale(&fixture, 3, 3).await;
    let seed = || DrawSeed::new([3; 32]);
    let waits = async || fixture.store.waits_since_open(&room(phone)).await.expect("reads");
    let leave = async |name: &str| {
        fixture.store.leave_room(&room(phone), buyer(name)).await.expect("writes");
    };
    assert!(!waits().await, "there is no room yet");
    enter(&fixture, phone, seed(), &["anna"]).await;
    open(&fixture).await;
    enter(&fixture, phone, seed(), &["bert"]).await;
    assert!(!waits().await, "the room was never open");
    fixture.store.keep_room_open(&room(phone), 500).await.expect("writes");
    fixture.clock.advance(501);
    enter(&fixture, phone, seed(), &["carl"]).await;
    for name in ["anna", "bert"] {
        assert!(waits().await, "{name} must count");
        leave(name).await;
    }
    assert!(!waits().await, "a visitor of the closed room must not count");
}

/// If the rooms of a sale become automatic, the rooms in which visitors wait are open. The other
/// rooms stay closed.
pub async fn rooms_with_visitors_are_open_when_they_become_automatic(fixture: Fixture) {
    let [phone, case] = sale(&fixture, 3, 3).await;
    let seed = || DrawSeed::new([3; 32]);
    let set_mode = async |mode: &'static str| {
        let patch = move |sale: &mut SaleRow| {
            sale.front_door = format!(r#"{{"waiting_room":"{mode}"}}"#);
            Ok(())
        };
        let patched = fixture.store.patch_sale(SALE, None, Box::new(patch)).await.expect("writes");
        assert!(matches!(patched, PatchOutcome::Done(_)), "{patched:?}");
    };
    let open_rooms = async || {
        let mut rooms = fixture.store.waiting_rooms(vec![SALE.into()]).await.expect("reads");
        rooms.sort_by(|a, b| a.key.cmp(&b.key));
        let open = rooms.into_iter().filter_map(|room| Some((room.key.item, room.open_until?)));
        open.collect::<Vec<_>>()
    };
    set_mode("always").await;
    enter(&fixture, phone, seed(), &["anna"]).await;
    enter(&fixture, case, seed(), &["bert"]).await;
    fixture.store.leave_room(&room(case), buyer("bert")).await.expect("writes");
    assert!(open_rooms().await.is_empty());
    set_mode("auto").await;
    let until = fixture.clock.now().plus(KEEP_OPEN_MS);
    assert_eq!(open_rooms().await, [(Some(phone), until)], "bert has left, so only anna waits");
    set_mode("always").await;
    open(&fixture).await;
    enter(&fixture, case, seed(), &["carl"]).await;
    assert_eq!(admit_all(&fixture, phone).await, Vec::<String>::new(), "the draw is not closed");
    fixture.clock.advance(1_000);
    set_mode("auto").await;
    let until = fixture.clock.now().plus(KEEP_OPEN_MS);
    assert_eq!(open_rooms().await, [(Some(phone), until), (Some(case), until)]);
    set_mode("always").await;
    fixture.store.open_room(&room(phone), seed()).await.expect("writes");
    assert_eq!(admit_all(&fixture, phone).await, ["anna"]);
    fixture.clock.advance(1_000);
    set_mode("auto").await;
    let later = fixture.clock.now().plus(KEEP_OPEN_MS);
    assert_eq!(
        open_rooms().await,
        [(Some(phone), until), (Some(case), later)],
        "anna is admitted, so only carl waits"
    );
}

/// A deleted draft leaves no waiting room, so a new sale of the same name begins without visitors.
pub async fn a_deleted_draft_leaves_no_room(fixture: Fixture) {
    let [phone, _] = sale(&fixture, 3, 3).await;
    enter(&fixture, phone, DrawSeed::new([1; 32]), &["anna"]).await;
    fixture.store.delete_sale(SALE, None).await.expect("writes");
    let rooms = fixture.store.waiting_rooms(vec![SALE.into()]).await.expect("reads");
    assert!(rooms.is_empty(), "{rooms:?}");
    let [phone, _] = sale(&fixture, 3, 3).await;
    let entered = enter(&fixture, phone, DrawSeed::new([2; 32]), &["anna"]).await;
    assert!(matches!(entered[..], [EnterOutcome::New(_)]), "{entered:?}");
}
