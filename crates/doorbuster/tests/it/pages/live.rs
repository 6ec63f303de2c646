//! What happens to a sale is shown while it happens, to those who only look.

use serde_json::json;

use super::door::{Door, Mode};
use super::driver::Browser;
use super::{BUY, STATE, draft, in_secs, link, plain, sale, states, streams};
use crate::windows::client::{Wish, request};
use crate::windows::rig::Rig;

#[tokio::test]
async fn a_pause_a_resume_and_the_close_are_shown_as_they_happen() {
    let rig = Rig::start();
    sale(&rig, "open", json!({})).await;
    Browser::lend(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(rig.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Buy now").await;
        streams(&rig, 1).await;
        // From here on it can ask for nothing: what it learns, it is told.
        tab.eval("window.fetch = () => new Promise(() => {})").await;
        rig.step("open", "pause").await;
        tab.says(STATE, "The shop has paused the sale").await;
        tab.has(BUY, "aria-disabled", "true").await;
        tab.says("#pill", "Paused").await;
        rig.step("open", "resume").await;
        tab.says(BUY, "Buy now").await;
        tab.has(BUY, "aria-disabled", "false").await;
        rig.step("open", "close").await;
        tab.says(BUY, "The sale has ended").await;
        tab.says("#pill", "Ended").await;
        tab.says("#clock", "Closed").await;
        tab.says("#stock", "100 left over of 100").await;
    })
    .await;
}

#[tokio::test]
async fn what_is_held_may_return_and_what_is_sold_out_does_not() {
    let rig = Rig::start();
    sale(&rig, "two", json!({"stock": 2, "id": "phone"})).await;
    Browser::lend(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(rig.address, "/sale/two", "ann")).await;
        tab.says("#stock", "2 left of 2").await;
        streams(&rig, 1).await;
        let wish = Wish::new("ben", "k", "two", 2);
        let bought = rig.buy(&wish).await;
        tab.says(BUY, "None left right now").await;
        tab.says("#stock-more", "2 held for payment; unpaid ones come back").await;
        tab.says("#say-text", "they come back here and the button wakes").await;

        rig.ask(&wish.order("POST", &bought.id(), "/cancel")).await;
        tab.says(BUY, "Buy now").await;
        assert_eq!(rig.adjust("two", "a", -2).await.status, 200);
        tab.says(BUY, "Sold out").await;
        tab.says(STATE, "Sold out for good").await;
        tab.has(BUY, "aria-disabled", "true").await;
        assert_eq!(rig.adjust("two", "b", 5).await.status, 200);
        tab.says("#stock", "5 left of 5").await;
        tab.says(BUY, "Buy now").await;
    })
    .await;
}

#[tokio::test]
async fn a_refusal_says_what_is_left_and_nothing_is_ordered() {
    let rig = Rig::start();
    sale(&rig, "few", json!({"stock": 3, "limit_per_buyer": 5})).await;
    Browser::lend(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(rig.address, "/sale/few", "ann")).await;
        tab.run("const field = document.querySelector('#units'); field.value = 5; field.onchange(); arguments[0]();")
            .await;
        tab.says(BUY, "€245.00").await;
        tab.click(BUY).await;
        tab.says(STATE, "Only 3 left right now").await;
        tab.says("#say-text", "nothing was ordered").await;
        assert!(states(&rig, "few").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_goes_away_is_noticed_and_what_was_reserved_is_there_when_it_is_back() {
    let mut rig = Rig::start();
    sale(&rig, "open", json!({})).await;
    let door = Door::to(rig.address).await;
    Browser::lend(async |browser| {
        let (page, order) = (browser.tab().await, browser.tab().await);
        page.go(&link(door.address, "/sale/open", "ann")).await;
        page.click(BUY).await;
        page.says(STATE, "1 reserved for you").await;
        let id = rig.orders("open").await[0]["id"].as_str().expect("an id").to_owned();
        order.go(&link(door.address, &format!("/order/{id}"), "ann")).await;
        streams(&rig, 2).await;

        rig.kill();
        page.says(STATE, "The connection is gone").await;
        page.says("#stock-more", "As of ").await;
        order.says("#text", "The connection is gone; the reservation is not.").await;
        rig.restart();
        door.lead_to(rig.address);
        page.says(STATE, "1 reserved for you").await;
        order.says("#text", "Pay by ").await;
        assert_eq!(states(&rig, "open").await, ["reserved"]);

        // Nobody who comes while it is away is left with an empty page for ever.
        door.set(Mode::Shut);
        page.click("#act").await;
        page.says(BUY, "Reconnecting").await;
        door.set(Mode::Open);
        // It may have come back by itself by now.
        page.eval("document.querySelector('#act[data-does=retry]')?.click()").await;
        page.until("!document.querySelector('#say-title').textContent.includes('gone')").await;
    })
    .await;
}

#[tokio::test]
async fn looking_at_a_sale_asks_the_store_for_nothing() {
    let rig = Rig::start();
    sale(&rig, "open", json!({})).await;
    Browser::lend(async |browser| {
        let tab = browser.tab().await;
        tab.go(&plain(rig.address, "/")).await;
        tab.go(&link(rig.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Buy now").await;
        streams(&rig, 1).await;
    })
    .await;
    assert_eq!(rig.metric("doorbuster_tickets_settled_total").await, 0);
    let page = rig.ask(&request("GET", "/metrics", "", None)).await;
    let page = String::from_utf8(page.body).expect("text");
    let asked = page.lines().filter_map(|line| {
        line.strip_prefix("doorbuster_http_requests_total{route=\"")?.split_once('"')
    });
    // What these answer they have in memory.
    let memory = ["page", "asset", "list_sales", "get_sale", "get_status", "open_websocket"];
    let operators = ["create_sale", "open_sale", "metrics"];
    let others: Vec<_> =
        asked.filter(|(route, _)| !memory.contains(route) && !operators.contains(route)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(page.contains("route=\"get_status\"") && page.contains("route=\"page\""), "{page}");
}

#[tokio::test]
async fn the_list_shows_what_can_be_had_first_and_a_buyers_own_orders() {
    let rig = Rig::start();
    let (_, later) = in_secs(3_600);
    sale(&rig, "open", json!({})).await;
    draft(&rig, "later", json!({}), json!({"starts_at": later, "title": "Opening later"})).await;
    rig.step("later", "schedule").await;
    draft(&rig, "over", json!({}), json!({"ends_at": later, "title": "Over"})).await;
    for step in ["open", "close"] {
        rig.step("over", step).await;
    }
    draft(&rig, "draft", json!({}), json!({"title": "Nobody's business"})).await;
    let bought = rig.buy(&Wish::new("ann", "k", "open", 2).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    Browser::lend(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(rig.address, "/", "ann")).await;
        let titles = tab
            .eval("[...document.querySelectorAll('#sales .ticket')].map(t => t.querySelector('h2').textContent)")
            .await;
        assert_eq!(titles, json!(["Lamps of the small workshop", "Opening later", "Over"]));
        let over = tab.text("#sales li:last-child").await;
        assert!(over.contains("Ended") && !over.contains("Close"), "it was closed before its time: {over}");
        tab.says("#orders-list", "2 × Ora lamp").await;
        tab.says("#orders-list", "Reserved").await;
        tab.click("#orders-list a").await;
        tab.says("#state", "Reserved for you").await;
    })
    .await;
}
