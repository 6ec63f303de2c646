//! Tests how much memory a waiting request needs.

use super::*;

#[tokio::test]
async fn a_waiting_request_keeps_its_future_small() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(1), 1, 900_000).await;
    let sale = engine.node.catalogue().sale("spring").cloned().expect("created");
    let item = sale.items[0].clone();
    let (buyer, key) =
        (BuyerId::new("anna").expect("a buyer"), RequestKey::new("k").expect("a key"));
    let units = Units::new(1).expect("the number is in range");
    let request = engine.node.id_key().request_hash("anna", "k");
    let purchase = Purchase { buyer, key, request, sale, item, units, wait: WAIT, door: None };
    let buying = engine.purchases.buy(&purchase);
    let room = std::mem::size_of_val(&buying);
    assert!(room <= 1_280, "the future takes {room} bytes, but the bound is 1,280");
    drop(buying);
    engine.stock.stop_node().await;
}
