//! Tests waiting rooms with a real store. No job of the waiting rooms runs by itself: each test
//! calls the steps in the sequence that it needs.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_base::clock::Clock;
use doorbuster_base::master_keys::MasterKeys;
use doorbuster_config::Roles;
use doorbuster_core::gate::room::VisitorStatus;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{IdKey, NodeId, Stock};
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::start::{DatabaseOptions, EngineOptions, EngineParts, StockLocation, start};
use doorbuster_store::conformance::{new_item, new_sale};
use doorbuster_store::{EnterOutcome, NewSale};
use doorbuster_testkit::TempDir;

use super::{PER_SEC, buyer, seed};
use crate::waiting_room::{WaitingRooms, admitter};

/// An entry that takes longer fails the test.
const ENTRY_MAX: Duration = Duration::from_mins(1);

/// Starts an engine with an open sale. The sale has nine units, and its mode is `always`.
async fn open_sale(dir: &TempDir) -> (EngineParts, Arc<SaleState>) {
    let engine = start(EngineOptions {
        pass_key: None,
        location: StockLocation::Directory(dir.path().to_owned()),
        roles: Roles::ALL,
        id_key: IdKey::new([3; 32]),
        clock: Clock::default(),
        node: NodeId(1),
        bounds: SlotBounds::default(),
        always_leads: false,
        allow_fsync_off: false,
        database: DatabaseOptions::default(),
        on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
    });
    let engine = engine.await.expect("a fresh directory opens");
    let draft = NewSale {
        front_door: r#"{"waiting_room":"always"}"#.to_owned(),
        ..new_sale("spring", vec![new_item("phone", Stock::Counted(9), 1)])
    };
    engine.sales.create_sale(draft).await.expect("the store is available").expect("a free id");
    engine.sales.step_sale("spring", PhaseStep::Open).await.expect("the store is available");
    let sale = engine.node.catalogue().sale("spring").cloned().expect("the sale exists");
    (engine, sale)
}

fn rooms() -> WaitingRooms {
    let masters = MasterKeys::new(vec![[3; 32]]).expect("there is at least one key");
    WaitingRooms::new(&masters, Duration::from_secs(60), PER_SEC)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_also_reads_admissions_that_an_operator_made_shortly_before_its_own() {
    let dir = TempDir::new();
    let (engine, sale) = open_sale(&dir).await;
    let (node, rooms) = (&*engine.node, rooms());
    let room = sale.rooms().next().expect("the sale has a room");
    let room_state = rooms.room_state(room);
    let buyers = ["anna", "bert"].map(buyer).to_vec();
    let entered = node.store().enter_room(room_state.key(), seed(), buyers).await;
    let (row, entered) = entered.expect("the store is available").expect("the sale exists");
    for outcome in &entered {
        let EnterOutcome::New(visitor) = outcome else { panic!("{outcome:?}") };
        room_state.apply_position(visitor);
    }
    room_state.apply_row(&row);
    let more = rooms.admit_more(node, room, 1).await.expect("the store is available");
    assert_eq!(more.expect("the sale is open").admitted, 1);
    admitter::admit(&rooms, node, &sale, 0).await.expect("the store is available");
    for name in ["anna", "bert"] {
        let shown = rooms.cached_position(node, room, &buyer(name)).map(|shown| shown.status);
        assert!(matches!(shown, Some(VisitorStatus::Admitted(_))), "{name}: {shown:?}");
    }
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_is_admitted_while_the_entry_waits_gets_the_turn() {
    let dir = TempDir::new();
    let (engine, sale) = open_sale(&dir).await;
    let (node, rooms, anna) = (&*engine.node, rooms(), buyer("anna"));
    let room = sale.rooms().next().expect("the sale has a room");
    let room_state = rooms.room_state(room);
    // While the test has this lock, the entry cannot read the lots of the draw, so it waits.
    let lots = room_state.lock_draw().await;
    let admission = async {
        while room_state.progress().entered == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let more = rooms.admit_more(node, room, 1).await.expect("the store is available");
        assert_eq!(more.expect("the sale is open").admitted, 1);
        let row = rooms.read_row(node, room_state.key()).await.expect("the store is available");
        room_state.apply_row(&row.expect("the room exists"));
        drop(lots);
    };
    let entry = async { tokio::join!(rooms.enter(node, room, &anna), admission).0 };
    let entered = tokio::select! {
        () = rooms.batcher.run(&rooms, node) => panic!("the batcher ended"),
        () = tokio::time::sleep(ENTRY_MAX) => panic!("the entry takes too long"),
        entered = entry => entered,
    };
    let (is_new, shown) = entered.expect("the buyer gets a position");
    assert!(is_new);
    assert!(matches!(shown.status, VisitorStatus::Admitted(_)), "{shown:?}");
    engine.stock.stop_node().await;
}
