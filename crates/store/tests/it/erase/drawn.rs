//! Tests that no lot of the draw reveals an erased buyer's id.

use doorbuster_core::gate::draw::DrawSeed;
use doorbuster_core::sale::PhaseStep;
use doorbuster_store::conformance::{Fixture, HOLD_MS};
use doorbuster_store::{RoomAdmissions, RoomKey};

use super::shell::Shell;
use super::{SEED, anna, erase, on_postgres, on_sqlite, other_name, sale, step};

const SALE: &str = "spring";

async fn erases_the_lot_of_the_last_admitted_buyer(fixture: Fixture, shell: Shell) -> Shell {
    sale(&fixture, SALE).await;
    let (seed, room) = (DrawSeed::new(SEED), RoomKey::of_sale(SALE));
    fixture
        .store
        .enter_room(&room, seed.clone(), vec![anna()])
        .await
        .expect("writes")
        .expect("a sale");
    step(&fixture, SALE, PhaseStep::Open).await;
    fixture.store.open_room(&room, seed.clone()).await.expect("writes").expect("a sale");
    let seen = fixture.store.waiting_room_view(&room).await.expect("reads").expect("a room");
    let rooms = vec![RoomAdmissions { seen, most: 1 }];
    let admitted = fixture.store.admit_visitors(rooms, HOLD_MS).await.expect("writes");
    assert_eq!(admitted[0].len(), 1, "the buyer must be admitted");
    let called = |shell: &Shell| {
        shell.ask(match shell {
            Shell::Sqlite(_) => "SELECT lower(hex(called_lot)) FROM waiting_room",
            Shell::Postgres(_) => "SELECT encode(called_lot, 'hex') FROM waiting_room",
        })
    };
    let hex = |buyer: &str| {
        let lot = seed.lot(None, buyer);
        lot.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(called(&shell), [hex(anna().as_str())]);
    step(&fixture, SALE, PhaseStep::Close).await;
    erase(&fixture).await;
    assert_eq!(called(&shell), [hex(other_name().as_str())]);
    shell
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lot_of_the_last_admitted_buyer_is_erased_in_sqlite() {
    on_sqlite(erases_the_lot_of_the_last_admitted_buyer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lot_of_the_last_admitted_buyer_is_erased_in_postgres() {
    on_postgres(erases_the_lot_of_the_last_admitted_buyer).await;
}
