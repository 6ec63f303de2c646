//! Tests the waiting room of a sale with several items. The room counts the units of all items
//! together.

use serde_json::json;

use super::{buy, buy_item, enter, is, until};
use crate::app::{TestApp, sale};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_of_a_sold_out_item_is_admitted_while_another_item_is_available() {
    let app = TestApp::start().await;
    let mut sale = sale("spring", 1.into(), 1);
    let mut case = sale["items"][0].clone();
    case["id"] = json!("case");
    sale["items"].as_array_mut().expect("a list").push(case);
    sale["front_door"] = json!({"waiting_room": "always", "limits": {"buyer": null, "ip": null}});
    let made = app.admin("POST", "/v1/admin/sales", Some(sale)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    app.step("spring", "open").await;
    assert_eq!(enter(&app, "anna").await.verdict(), "201");
    until(&app, "anna", "the buyer is admitted", is("admitted")).await;
    assert_eq!(buy(&app, "anna").await.verdict(), "201");
    for buyer in ["bert", "carl"] {
        assert_eq!(enter(&app, buyer).await.verdict(), "201");
    }
    until(&app, "bert", "the buyer is admitted, because a case is available", is("admitted")).await;
    until(&app, "carl", "the next buyer waits", |place| {
        place["state"] == "waiting" && place["position"] == 1
    })
    .await;
    assert_eq!(buy(&app, "bert").await.verdict(), "409 sold_out");
    assert_eq!(buy_item(&app, "bert", "case").await.verdict(), "201");
    let gone =
        until(&app, "carl", "the buyer gets the event that no unit is left", is("gone")).await;
    assert_eq!(gone["position"], 1);
    assert_eq!(buy_item(&app, "carl", "case").await.verdict(), "403 waiting_room");
}
