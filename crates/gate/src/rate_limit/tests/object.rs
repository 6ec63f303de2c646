//! Tests the limit for one object, such as one order.

use doorbuster_engine::sale_limits::LimitRules;

use super::{Route, caller, limiter, sale};

#[tokio::test]
async fn a_refusal_by_the_sale_takes_nothing_from_the_limit_of_an_order() {
    let (limiter, sale) =
        (limiter(), sale("spring", r#"{"buyer":{"burst":1,"per_minute":1},"ip":null}"#));
    let acquire = async |buyer| {
        let (pace, caller) = (LimitRules::order_pace(), caller("192.0.2.1", buyer));
        limiter.acquire_for(Route::Checkout, "ord_1", pace, caller, &sale).await.is_ok()
    };
    assert!(acquire("anna").await);
    // The order's limit allows ten requests at once. If refused requests counted, these twenty
    // requests would use up the order's limit.
    for _ in 0..20 {
        acquire("anna").await;
    }
    assert!(acquire("bert").await, "the refused requests must not count for the order");
}
