//! Tests the signed link to an order. A person with the link can only read the order and pay for
//! it.

use serde_json::json;

use crate::app::{TestApp, bearer};
use crate::webhooks::receiver::Receiver;

fn key(link: &str) -> String {
    link.rsplit_once("#key=").expect("a key").1.to_owned()
}

#[tokio::test]
async fn a_link_reads_an_order_and_pays_for_it_and_gives_no_other_right() {
    let app = TestApp::with(&[("DOORBUSTER_PAGE__URL", "https://shop.example")]).await;
    app.open_sale("spring", 5.into(), 2).await;
    let id = |reply: serde_json::Value| reply["id"].as_str().expect("an id").to_owned();
    let order = id(app.buy("anna", "a", "spring", "phone", 1).await.json());
    let other = id(app.buy("bob", "b", "spring", "phone", 1).await.json());
    let link = app.buyer("anna", "GET", &format!("/v1/orders/{order}/link")).await.json();
    let link = link["url"].as_str().expect("a link").to_owned();
    assert!(link.starts_with(&format!("https://shop.example/order/{order}#key=")), "{link}");
    let stranger = app.buyer("bob", "GET", &format!("/v1/orders/{order}/link")).await;
    assert_eq!(stranger.verdict(), "404 not_found");

    let key = key(&link);
    let linked = format!("/v1/linked-orders/{order}");
    let with = |key: &str| vec![("Order-Key".to_owned(), key.to_owned())];
    let call = async |method: &str, path: &str, headers: Vec<(String, String)>| {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        app.call(method, path, &headers, b"").await
    };
    let read = call("GET", &linked, with(&key)).await;
    assert_eq!((read.status, read.header("cache-control")), (200, Some("no-store")));
    assert_eq!(read.json()["state"], "reserved");
    let opened = call("POST", &format!("{linked}/checkout"), with(&key)).await;
    assert_eq!(opened.status, 200, "{}", opened.text());
    assert!(opened.header("ratelimit").is_some() && opened.header("ratelimit-policy").is_some());

    let wrong = "0".repeat(32);
    for (path, headers) in [
        (linked.clone(), with(&wrong)),
        (linked.clone(), with(&key[1..])),
        (linked.clone(), Vec::new()),
        (format!("/v1/linked-orders/{other}"), with(&key)),
    ] {
        let read = call("GET", &path, headers.clone()).await;
        assert_eq!(read.verdict(), "404 not_found", "{path}");
        let paid = call("POST", &format!("{path}/checkout"), headers).await;
        assert_eq!(paid.verdict(), "404 not_found", "{path}/checkout");
    }
    for (method, path) in [
        ("POST", format!("/v1/orders/{order}/cancel")),
        ("GET", format!("/v1/orders/{order}/history")),
        ("GET", "/v1/orders".to_owned()),
    ] {
        let refused = call(method, &path, with(&key)).await;
        assert_eq!(refused.verdict(), "401 unauthenticated", "{path}");
    }
}

#[tokio::test]
async fn a_link_shows_how_the_order_ended_and_no_new_link_is_given() {
    let app = TestApp::start().await;
    app.open_sale("spring", 5.into(), 2).await;
    let order = app.buy("anna", "a", "spring", "phone", 1).await.json();
    let order = order["id"].as_str().expect("an id");
    let path = format!("/v1/orders/{order}/link");
    let link = app.buyer("anna", "GET", &path).await.json()["url"].to_string();
    let key = key(link.trim_matches('"'));
    assert_eq!(app.buyer("anna", "POST", &format!("/v1/orders/{order}/cancel")).await.status, 200);
    let linked = format!("/v1/linked-orders/{order}");
    let headers = [("Order-Key", key.as_str())];
    assert_eq!(app.call("GET", &linked, &headers, b"").await.json()["state"], "cancelled");
    let pay = app.call("POST", &format!("{linked}/checkout"), &headers, b"").await;
    assert_eq!(pay.verdict(), "409 wrong_state");
    assert_eq!(app.buyer("anna", "GET", &path).await.verdict(), "409 wrong_state");
}

#[tokio::test]
async fn a_waitlist_entry_has_no_link_and_the_refusal_names_its_state() {
    let app = TestApp::start().await;
    app.open_sale("spring", 1.into(), 1).await;
    assert_eq!(app.buy("bob", "b", "spring", "phone", 1).await.verdict(), "201");
    let waitlist = "/v1/sales/spring/items/phone/waitlist";
    let anna = bearer("anna");
    let headers = [("Authorization", anna.as_str()), ("Idempotency-Key", "a")];
    let joined = app.call("POST", waitlist, &headers, b"").await;
    assert_eq!(joined.verdict(), "201", "{}", joined.text());
    let entry = joined.json()["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/orders/{entry}/link");
    let waiting = app.buyer("anna", "GET", &path).await;
    assert_eq!(waiting.verdict(), "409 wrong_state");
    assert_eq!(waiting.json()["state"], "waiting");
    assert_eq!(app.buyer("anna", "DELETE", waitlist).await.verdict(), "204");
    let left = app.buyer("anna", "GET", &path).await;
    assert_eq!(left.verdict(), "409 wrong_state");
    assert_eq!(left.json()["state"], "refused");
}

#[tokio::test]
async fn the_shop_gets_the_link_with_the_reservation() {
    let app = TestApp::with(&[("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")]).await;
    let shop = Receiver::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let body = json!({"url": shop.url(), "types": ["*"]});
    assert_eq!(app.admin("POST", "/v1/admin/webhook-endpoints", Some(body)).await.status, 201);
    app.step("spring", "open").await;
    let order = app.buy("anna", "a", "spring", "phone", 1).await.json();
    let order = order["id"].as_str().expect("an id");
    app.buyer("anna", "POST", &format!("/v1/orders/{order}/cancel")).await;
    let received = shop.until(30, "three events", |received| received.len() >= 3).await;
    let of = |what: &str| {
        received.iter().find(|one| one.event_type() == what).expect("the event arrived").json()
    };
    let link = of("order.reserved")["data"]["link"].as_str().expect("a link").to_owned();
    assert!(link.starts_with(&format!("/order/{order}#key=")), "{link}");
    let key = key(&link);
    let headers = [("Order-Key", key.as_str())];
    let read = app.call("GET", &format!("/v1/linked-orders/{order}"), &headers, b"").await;
    assert_eq!(read.status, 200);
    assert_eq!(of("order.cancelled")["data"].get("link"), None);
}
