//! Tests payments with several nodes on one store. A message can arrive at any node, and the
//! order's units may be at another node.

use super::{
    KEY, assert_ledger_adds_up, captured, open_sale, order, payments, read, refunds, secret,
    send_message, until,
};
use crate::app::TestApp;
use crate::postgres::Cluster;
use crate::several_servers::address;

async fn server(home: &Cluster, database: &str) -> TestApp {
    let url = address(home, database);
    TestApp::with(&[
        ("DOORBUSTER_SHAPE", "postgres"),
        ("DOORBUSTER_STORE__URL", &url),
        ("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", &secret(KEY)),
        ("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true"),
    ])
    .await
}

/// Buys units that were returned at the other server. This server may refuse the purchase until it
/// knows of the return, so the function repeats the purchase.
async fn order_when_free(app: &TestApp, name: &str, units: u32) -> String {
    let attempt = std::cell::Cell::new(0);
    until("this server sells the returned units", async || {
        attempt.set(attempt.get() + 1);
        let key = format!("{name}-{}", attempt.get());
        let bought = app.buy("anna", &key, "spring", "phone", units).await;
        let verdict = bought.verdict();
        assert!(["201", "409 sold_out"].contains(&verdict.as_str()), "{}", bought.text());
        (bought.status == 201).then(|| bought.json()["id"].as_str().expect("an id").to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_server_takes_a_payment_and_units_are_recalled_from_the_other() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (first, second) = (server(&home, &database).await, server(&home, &database).await);
    open_sale(&first, 10.into(), 10, 900).await;
    // Two nodes receive the same message at the same time. Only one node handles the message.
    let id = order(&first, "anna", "k", 2).await;
    let body = captured("pay_1", &id, 20);
    let (here, there) =
        tokio::join!(send_message(&first, "msg_1", &body), send_message(&second, "msg_1", &body));
    let mut outcomes =
        [here, there].map(|reply| reply.json()["outcome"].as_str().expect("a word").to_owned());
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["paid", "repeated"]);
    // The order is made and cancelled at the first server, and the payment arrives at the second
    // server. The returned units may be in a slot of either server or in the pool.
    for n in 0..6 {
        let id = order_when_free(&first, &format!("late{n}"), 8).await;
        let cancelled = first.buyer("anna", "POST", &format!("/v1/orders/{id}/cancel")).await;
        assert_eq!(cancelled.verdict(), "200");
        let payment = format!("pay_late{n}");
        let reply =
            send_message(&second, &format!("msg_late{n}"), &captured(&payment, &id, 80)).await;
        assert_eq!(
            reply.json()["outcome"],
            "paid",
            "{n}: the late payment must get its units, because all eight units are free"
        );
        assert_eq!(read(&first, &id).await["state"], "paid");
        let back = second.admin("POST", &format!("/v1/admin/orders/{id}/refund"), None).await;
        assert_eq!(back.verdict(), "200", "{}", back.text());
        assert_eq!(refunds(&first, &id).await, [(payment, "pending".into())]);
        until("the order's units have returned to the store", async || {
            let stock = first.admin("GET", "/v1/admin/sales/spring/stock", None).await.json();
            let free =
                stock["items"][0]["pool"].as_u64()? + stock["items"][0]["in_slots"].as_u64()?;
            (free == 8).then_some(())
        })
        .await;
    }
    let id = order_when_free(&first, "k2", 1).await;
    let path = format!("/v1/orders/{id}/checkout");
    let (here, there) =
        (first.buyer("anna", "POST", &path).await, second.buyer("anna", "POST", &path).await);
    assert_eq!(here.json(), there.json());
    let url = here.json()["checkout_url"].as_str().expect("an address").to_owned();
    let page = url
        .strip_prefix("http://shop.example")
        .expect("the checkout is at the host of the request")
        .to_owned();
    assert_eq!(second.call("POST", &format!("{page}/twice"), &[], b"").await.status, 200);
    until("the order is paid once", async || {
        let is_paid = read(&first, &id).await["state"] == "paid";
        (is_paid
            && payments(&second, &id).await.len() == 2
            && refunds(&second, &id).await.len() == 1)
            .then_some(())
    })
    .await;
    assert_ledger_adds_up(&first).await;
    for server in [first, second] {
        server.stop().await;
    }
}
