//! Tests waiting rooms in PostgreSQL, where several nodes change them at the same time.
use doorbuster_core::gate::draw::DrawSeed;
use doorbuster_core::{BuyerId, Stock};
use doorbuster_store::conformance::{new_item, new_sale};
use doorbuster_store::{DeleteOutcome, RoomKey};

use crate::events::{run, session, until_blocks};
use crate::nodes::two;

/// A node may not know yet that an operator deletes a sale. So a buyer can still enter the sale's
/// waiting room meanwhile. The deletion must also delete this buyer's row.
#[tokio::test]
async fn a_buyer_who_enters_a_room_while_its_sale_is_deleted_leaves_no_row() {
    let (a, b, database) = two().await;
    let draft = new_sale("spring", vec![new_item("phone", Stock::Counted(1), 1)]);
    a.store.create_sale(draft).await.expect("writes").expect("a free id");
    let room = RoomKey::of_sale("spring");
    let anna = BuyerId::new("anna").expect("a name");
    let entered = a.store.enter_room(&room, DrawSeed::new([1; 32]), vec![anna]).await;
    assert!(matches!(entered, Ok(Some(_))));
    let other = session(&database).await;
    run(&other, "BEGIN; SELECT FROM waiting_room WHERE sale_id = 'spring' FOR UPDATE").await;
    let insert = "INSERT INTO waiting_room_visitor (sale_id, item_id, buyer, entered_at, rank)
                  VALUES ('spring', 0, 'bert', 1, 2)";
    run(&other, insert).await;
    let store = b.store.clone();
    let deletion = tokio::spawn(async move { store.delete_sale("spring", None).await });
    until_blocks(&other, &deletion).await;
    run(&other, "COMMIT").await;
    let deleted = deletion.await.expect("no panic").expect("writes");
    assert_eq!(deleted, DeleteOutcome::Done);
    let count = "SELECT count(*) FROM waiting_room_visitor";
    let left: i64 = other.query_one(count, &[]).await.expect("a query").get(0);
    assert_eq!(left, 0);
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}
