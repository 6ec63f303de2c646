//! Tests that a buyer can leave the waiting room. The buyer's turn goes to the next buyer.

use super::{announce, enter, is, look, until};
use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_leaves_gives_the_turn_to_the_next_one() {
    let app = TestApp::start().await;
    announce(&app, 1.into(), 1).await;
    let leave = async |buyer: &str| {
        app.buyer(buyer, "DELETE", "/v1/sales/spring/waiting-room").await.verdict()
    };
    app.step("spring", "open").await;
    assert_eq!(leave("nobody").await, "204", "leaving without a position must succeed");
    for buyer in ["anna", "bert", "carl"] {
        assert_eq!(enter(&app, buyer).await.verdict(), "201");
    }
    until(&app, "anna", "the buyer is admitted", is("admitted")).await;
    assert_eq!(leave("bert").await, "204");
    let look_at_bert = app.buyer("bert", "GET", "/v1/sales/spring/waiting-room").await;
    assert_eq!(look_at_bert.verdict(), "404 not_found");
    assert_eq!(enter(&app, "bert").await.verdict(), "201");
    assert_eq!(
        look(&app, "bert").await["position"],
        1,
        "Bert must get the old position back, ahead of Carl"
    );
    assert_eq!((leave("bert").await, leave("bert").await), ("204".into(), "204".into()));
    assert_eq!(leave("anna").await, "204");
    until(&app, "carl", "the buyer is admitted", is("admitted")).await;
    assert_eq!(enter(&app, "anna").await.verdict(), "201");
    let position = look(&app, "anna").await["position"].clone();
    assert_eq!(
        position, 1,
        "Anna must get a new position at the front of the queue, because Carl is admitted"
    );
}
