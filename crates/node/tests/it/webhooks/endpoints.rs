//! Tests how operators manage endpoints: changes, secrets, repeated events, and invalid endpoints.

use serde_json::{Value, json};

use super::delivery::event_types;
use super::receiver::{CannedReply, ReceivedRequest, Receiver};
use super::{add, buy, cancel, start};
use crate::app::TestApp;

const PATH: &str = "/v1/admin/webhook-endpoints";

#[tokio::test]
async fn endpoints_are_added_changed_and_removed() {
    let app = start().await;
    assert_eq!(app.admin("GET", PATH, None).await.json(), json!({"endpoints": []}));
    let (id, secret) =
        add(&app, "http://127.0.0.1:9/hook", json!(["order.paid", "sale.closed"])).await;
    assert!(id.starts_with("end_") && secret.starts_with("whsec_"), "{id} {secret}");
    let one = format!("{PATH}/{id}");
    let reply = app.admin("GET", &one, None).await;
    let shown = reply.json();
    assert_eq!(
        (&shown["url"], &shown["types"]),
        (&json!("http://127.0.0.1:9/hook"), &json!(["order.paid", "sale.closed"]))
    );
    assert_eq!(
        (&shown["enabled"], &shown["secrets"]),
        (&json!(true), &json!([{"signs_until": null}]))
    );
    assert!(!reply.text().contains("whsec_"), "only the first answer must show the secret");
    assert_eq!(app.admin("GET", PATH, None).await.json()["endpoints"], json!([shown]));
    let patch = json!({"types": ["*"], "enabled": false});
    let changed = app.admin("PATCH", &one, Some(patch)).await;
    assert_eq!(changed.verdict(), "200", "{}", changed.text());
    assert_eq!(
        (&changed.json()["types"], &changed.json()["enabled"]),
        (&json!(["*"]), &json!(false))
    );
    assert_eq!(
        app.admin("PATCH", &one, Some(json!({}))).await.json()["types"],
        json!(["*"]),
        "members that the patch omits must not change"
    );
    assert_eq!(app.admin("DELETE", &one, None).await.verdict(), "204");
    for (method, path) in [
        ("GET", one.clone()),
        ("DELETE", one.clone()),
        ("GET", format!("{one}/deliveries")),
        ("POST", format!("{one}/rotate-secret")),
    ] {
        assert_eq!(
            app.admin(method, &path, None).await.verdict(),
            "404 not_found",
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn an_invalid_endpoint_is_refused_with_the_reason() {
    let closed = TestApp::start().await;
    let check = async |body: Value, pointer: &str, word: &str| {
        let reply = closed.admin("POST", PATH, Some(body.clone())).await;
        assert_eq!(reply.verdict(), "422 invalid_request", "{body}");
        let fault = &reply.json()["errors"][0];
        assert_eq!(fault["pointer"], pointer, "{body}");
        assert!(fault["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{fault}");
    };
    let url = |url: &str| json!({"url": url, "types": ["*"]});
    check(url("http://shop.example/"), "/url", "https://").await;
    for private in [
        "https://127.0.0.1/",
        "https://localhost/x",
        "https://10.1.2.3/",
        "https://169.254.169.254/",
        "https://[::1]/",
        "https://[::ffff:192.168.0.1]/",
        "https://0x7f000001/",
        "https://224.0.0.1/",
        "https://0.0.0.0/",
    ] {
        check(url(private), "/url", "private").await;
    }
    check(url("https://user:pw@shop.example/"), "/url", "user name").await;
    check(url("shop.example"), "/url", "https").await;
    check(url("https:///x"), "/url", "must name a host").await;
    check(json!({"url": "https://8.8.8.8/", "types": ["order.payed"]}), "/types/0", "known types")
        .await;
    check(json!({"url": "https://8.8.8.8/", "types": []}), "/types", "1 to").await;
    check(
        json!({"url": "https://8.8.8.8/", "types": ["*"], "secret": "mine"}),
        "/secret",
        "not a known",
    )
    .await;
    let viewer = closed
        .admin("POST", "/v1/admin/keys", Some(json!({"name": "v", "role": "operator"})))
        .await
        .json();
    let bearer = format!("Bearer {}", viewer["key"].as_str().expect("a key"));
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = json!({"url": "https://8.8.8.8/", "types": ["*"]}).to_string();
    assert_eq!(
        closed.call("POST", PATH, &headers, body.as_bytes()).await.verdict(),
        "403 forbidden"
    );
    assert_eq!(closed.call("GET", PATH, &headers[..1], b"").await.verdict(), "200");
}

#[tokio::test]
async fn an_address_is_stored_in_its_normalized_form() {
    let app = start().await;
    let (id, _) = add(&app, "HTTPS://Shop.Example/Hook", json!(["order.paid"])).await;
    let path = format!("{PATH}/{id}");
    assert_eq!(app.admin("GET", &path, None).await.json()["url"], "https://shop.example/Hook");
    let changed = app.admin("PATCH", &path, Some(json!({"url": "Http://127.0.0.1:9/"}))).await;
    assert_eq!(
        (changed.verdict().as_str(), &changed.json()["url"]),
        ("200", &json!("http://127.0.0.1:9/"))
    );
    for (wrong, word) in [("http://127.0.0.1/a b", "a space"), ("http://127.0.0.1/é", "'é'")] {
        let reply = app.admin("PATCH", &path, Some(json!({"url": wrong}))).await;
        assert_eq!(reply.verdict(), "422 invalid_request", "{wrong}");
        assert!(
            reply.json()["errors"][0]["detail"].as_str().is_some_and(|why| why.contains(word)),
            "{}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn the_number_of_endpoints_is_bounded() {
    let app = start().await;
    for n in 0..50 {
        add(&app, &format!("http://127.0.0.1:9/{n}"), json!(["order.refunded"])).await;
    }
    let one_more = json!({"url": "http://127.0.0.1:9/x", "types": ["*"]});
    assert_eq!(app.admin("POST", PATH, Some(one_more)).await.verdict(), "409 wrong_state");
}

#[tokio::test]
async fn an_address_that_became_private_receives_nothing() {
    let shop = Receiver::start().await;
    let app = start().await;
    app.open_sale("spring", 9.into(), 1).await;
    // The restarted server allows only public addresses and `https://` URLs, so the endpoint's URL
    // must already begin with `https://`.
    let (id, _) = add(&app, &shop.url().replacen("http://", "https://", 1), json!(["*"])).await;
    let dir = app.stop().await;
    let app = TestApp::try_start(dir, &[], false)
        .await
        .expect("the server starts again and allows fewer addresses");
    buy(&app, 1).await;
    let path = format!("{PATH}/{id}/deliveries");
    let page = app
        .until(&path, "the delivery failed", |page| {
            page["deliveries"][0]["tries"].as_u64() > Some(0)
        })
        .await;
    let error = page["deliveries"][0]["error"].as_str().expect("an error");
    assert!(error.starts_with("the address is private"), "{error}");
    assert_eq!(
        (&page["deliveries"][0]["state"], &page["deliveries"][0]["dead_letter"]),
        (&json!("pending"), &json!(null))
    );
    assert_eq!(shop.connections(), 0);
}

#[tokio::test]
async fn during_a_rotation_both_secrets_sign() {
    let (app, shop) = (start().await, Receiver::start().await);
    app.open_sale("spring", 9.into(), 1).await;
    let (id, old) = add(&app, &shop.url(), json!(["*"])).await;
    let rotate = async |body: Option<Value>| {
        let reply = app.admin("POST", &format!("{PATH}/{id}/rotate-secret"), body).await;
        assert_eq!(reply.verdict(), "200", "{}", reply.text());
        reply.json()["secret"].as_str().expect("a secret").to_owned()
    };
    let new = rotate(None).await;
    assert_ne!(old, new);
    buy(&app, 1).await;
    let received = shop.until(30, "one event", |received| received.len() == 1).await;
    assert!(received[0].is_signed_by(&old) && received[0].is_signed_by(&new), "{received:?}");
    let newest = rotate(Some(json!({"overlap_secs": 0}))).await;
    buy(&app, 2).await;
    let received = shop.until(30, "two events", |received| received.len() == 2).await;
    assert!(
        received[1].is_signed_by(&newest)
            && !received[1].is_signed_by(&old)
            && !received[1].is_signed_by(&new)
    );
    let shown = app.admin("GET", &format!("{PATH}/{id}"), None).await.json();
    assert_eq!(shown["secrets"], json!([{"signs_until": null}]));
}

#[tokio::test]
async fn an_operator_can_send_one_event_again() {
    let (app, shop) = (start().await, Receiver::start().await);
    app.open_sale("spring", 9.into(), 1).await;
    let (id, secret) = add(&app, &shop.url(), json!(["*"])).await;
    buy(&app, 1).await;
    let received = shop.until(30, "one event", |received| received.len() == 1).await;
    let path = format!("{PATH}/{id}/deliveries");
    let request = json!({"event": received[0].id()});
    // The server stores the endpoint's position a little after the delivery.
    app.until(&format!("{PATH}/{id}"), "every event is delivered", |one| one["waiting"] == 0).await;
    let reply = app.admin("POST", &path, Some(request.clone())).await;
    assert_eq!((reply.verdict().as_str(), reply.json()), ("202", request));
    let received = shop.until(30, "two events", |received| received.len() == 2).await;
    assert_eq!((received[1].id(), &received[1].text), (received[0].id(), &received[0].text));
    received[1].verify(&secret);
    let of = |event: &str| json!({"event": event});
    assert_eq!(
        app.admin("POST", &path, Some(of("evt_0000000000009999"))).await.verdict(),
        "404 not_found"
    );
    let (bare, mark) = received[0].headers["webhook-id"].rsplit_once('_').expect("a mark");
    let other = format!("{bare}_{:010x}", u64::from_str_radix(mark, 16).expect("a number") ^ 1);
    assert_eq!(
        app.admin("POST", &path, Some(of(&other))).await.verdict(),
        "404 not_found",
        "an event id with a known position and a wrong fingerprint must not be found"
    );
    assert_eq!(app.admin("POST", &path, Some(of("9999"))).await.verdict(), "422 invalid_request");
    assert_eq!(app.count_actions("endpoint.redelivered").await, 1);
}

#[tokio::test]
async fn a_disabled_endpoint_receives_the_missed_events_once_it_is_enabled() {
    let (app, shop) = (start().await, Receiver::start().await);
    app.open_sale("spring", 9.into(), 1).await;
    let (id, _) = add(&app, &shop.url(), json!(["*"])).await;
    let enable = async |enabled: bool| {
        let reply =
            app.admin("PATCH", &format!("{PATH}/{id}"), Some(json!({"enabled": enabled}))).await;
        assert_eq!(reply.verdict(), "200");
    };
    enable(false).await;
    let other = Receiver::start().await;
    add(&app, &other.url(), json!(["*"])).await;
    buy(&app, 1).await;
    other.until(30, "the other endpoint gets the event", |received| received.len() == 1).await;
    assert!(shop.received().is_empty());
    enable(true).await;
    shop.until(30, "the endpoint gets the event", |received| received.len() == 1).await;
}

async fn set_types(app: &TestApp, id: &str, types: Value) {
    let reply = app.admin("PATCH", &format!("{PATH}/{id}"), Some(json!({"types": types}))).await;
    assert_eq!(reply.verdict(), "200", "{}", reply.text());
}

#[tokio::test]
async fn an_event_of_a_removed_type_is_sent_only_on_request() {
    let answer = |_: usize, request: &ReceivedRequest| {
        CannedReply::Status(if request.event_type() == "order.reserved" { 404 } else { 200 })
    };
    let (app, shop) = (start().await, Receiver::with(answer).await);
    app.open_sale("spring", 9.into(), 1).await;
    let (id, _) = add(&app, &shop.url(), json!(["*"])).await;
    let order = buy(&app, 1).await;
    let path = format!("{PATH}/{id}");
    app.until(&path, "the endpoint refused the event", |one| one["failing"] == 1).await;
    let event = shop.received()[0].id();
    set_types(&app, &id, json!(["order.cancelled"])).await;
    app.until(&path, "no event waits", |one| one["failing"] == 0 && one["waiting"] == 0).await;
    cancel(&app, 1, &order).await;
    let received = shop
        .until(30, "the later event arrives", |received| {
            event_types(received, &order) == ["order.cancelled"]
        })
        .await;
    let request = Some(json!({"event": event}));
    let requested = app.admin("POST", &format!("{path}/deliveries"), request).await;
    assert_eq!(requested.verdict(), "202");
    let again = shop.until(30, "the event is sent again", |all| all.len() > received.len()).await;
    assert_eq!(again[received.len()].id(), event);
}

#[tokio::test]
async fn an_event_of_an_added_type_is_sent_even_if_the_server_has_read_it() {
    // The timeout is longer than the test, so that the first delivery does not end.
    let settings = [
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
        ("DOORBUSTER_WEBHOOKS__TIMEOUT_SECS", "60"),
    ];
    let app = TestApp::with(&settings).await;
    let answer = |n: usize, _: &ReceivedRequest| match n {
        0 => CannedReply::Hang,
        _ => CannedReply::Status(200),
    };
    let shop = Receiver::with(answer).await;
    app.open_sale("spring", 9.into(), 1).await;
    let (id, _) = add(&app, &shop.url(), json!(["order.reserved"])).await;
    let order = buy(&app, 1).await;
    shop.until(30, "the first delivery hangs", |received| received.len() == 1).await;
    cancel(&app, 1, &order).await;
    let later = buy(&app, 2).await;
    shop.until(30, "a later event arrives", |received| !event_types(received, &later).is_empty())
        .await;
    set_types(&app, &id, json!(["*"])).await;
    shop.until(30, "every event arrives", |received| {
        event_types(received, &order) == ["order.reserved", "order.cancelled"]
    })
    .await;
}
