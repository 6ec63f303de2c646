//! Tests the deletion and the opening of drafts.

use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn a_sale_that_was_scheduled_and_unscheduled_can_be_deleted() {
    let app = TestApp::start().await;
    let path = "/v1/admin/sales/spring";
    for pause in [false, true] {
        app.make_sale("spring", 5.into(), 1).await;
        let later = json!({"starts_at": "2100-01-01T00:00:00Z"});
        assert_eq!(app.admin("PATCH", path, Some(later)).await.verdict(), "200");
        app.step("spring", "schedule").await;
        let units_in_slots = async |wanted: u64| {
            let what = "the slots have the expected number of units";
            app.until(&format!("{path}/stock"), what, |stock| {
                stock["items"][0]["in_slots"] == wanted
            })
            .await;
        };
        units_in_slots(5).await;
        app.step("spring", "unschedule").await;
        if pause {
            units_in_slots(0).await;
        }
        let gone = app.admin("DELETE", path, None).await;
        assert_eq!(gone.status, 204, "{}", gone.text());
    }
    app.open_sale("spring", 5.into(), 5).await;
    assert_eq!(app.buy("anna", "k", "spring", "phone", 5).await.verdict(), "201");
}

#[tokio::test]
async fn a_sale_whose_end_has_passed_does_not_open() {
    let app = TestApp::start().await;
    app.make_sale("spring", 5.into(), 1).await;
    let path = "/v1/admin/sales/spring";
    let past = app.admin("PATCH", path, Some(json!({"ends_at": "2000-01-01T00:00:00Z"}))).await;
    assert_eq!(past.verdict(), "200", "{}", past.text());
    let early = app.admin("POST", &format!("{path}/open"), None).await;
    assert_eq!(early.verdict(), "422 invalid_request", "{}", early.text());
    assert_eq!(early.json()["errors"][0]["pointer"], "/ends_at");
    assert_eq!(app.admin("GET", path, None).await.json()["phase"], "draft");
    let times = json!({"ends_at": "2100-01-01T00:00:00Z"});
    assert_eq!(app.admin("PATCH", path, Some(times)).await.verdict(), "200");
    app.step("spring", "open").await;
}
