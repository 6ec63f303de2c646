//! A provider that is down: its word is waited for, and not for ever.

use doorbuster_core::limits::PROVIDER_GRACE_MS;

use super::*;
use crate::postgres::Cluster;
use crate::several::address;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_down_delays_the_return_for_a_while_and_no_longer() {
    let (home, stripe) = (Cluster::start(&[]), StandIn::start().await);
    let database = home.database();
    let url = address(&home, &database);
    let app = start_with(&stripe, &[("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", &url)]).await;
    open_sale(&app, 2.into(), 2, BRIEF_SECS).await;
    let id = order(&app, "anna", "k", 2).await;
    checkout(&app, &id).await;
    stripe.fail(true);
    let asked = || stripe.sent("POST", "/v1/checkout/sessions/cs_test_1/expire").len();
    let asked_again = async |times: usize| {
        let before = asked();
        until("Stripe is asked, in vain", async || (asked() >= before + times).then_some(())).await;
    };
    asked_again(2).await;
    assert_eq!(read(&app, &id).await["state"], "reserved", "its time is over, and nobody knows whether it was paid");
    // Time passes, as the order sees it: half of the grace, then the rest.
    let pass = |ms: i64| {
        let sql = format!("UPDATE orders SET pay_by = pay_by - {ms}");
        home.psql(&database, &sql).expect("a change");
    };
    pass(PROVIDER_GRACE_MS / 2);
    asked_again(2).await;
    assert_eq!(read(&app, &id).await["state"], "reserved");
    pass(PROVIDER_GRACE_MS / 2);
    until("its units return", async || (read(&app, &id).await["state"] == "expired").then_some(())).await;
    adds_up(&app).await;
    app.stop().await;
}
