//! Tests the console's live view and support view: units, slots, sales with the same title, and
//! addresses.

use serde_json::{Value, json};

use super::super::driver::Browser;
use super::super::tab::Tab;
use super::console::{open_view, press, shows, sign_in};
use super::draft;
use crate::crash_windows::client::{PurchaseSpec, request, signed_in};
use crate::crash_windows::fixture::ServerFixture;

/// Adds the numbers in `window.lost` to the items' totals in each answer about the stock. So units
/// seem to be missing.
const LOSE_UNITS: &str = "const send = window.fetch;
  window.fetch = async (path, options) => {
    const answer = await send(path, options);
    if (!window.lost || !String(path).endsWith('/stock')) return answer;
    const stock = await answer.json();
    stock.items.forEach((item, n) => { if (window.lost[n]) item.total += window.lost[n]; });
    return new Response(JSON.stringify(stock), { headers: answer.headers });
  };";
/// Returns the number of red marks in the panel of the slots, plus one. The test waits for a value
/// other than 0, so a panel without a red mark must not give 0.
const RED_SLOTS: &str = "(() => {
    const panel = [...document.querySelectorAll('.panel')]
      .find(panel => panel.querySelector('h2')?.textContent === 'Slots');
    return panel?.querySelector('tbody .code') && panel.querySelectorAll('.pill--bad').length + 1;
  })()";

/// Returns whether the sum below the units shows a difference (`≠`), and whether the sum is marked
/// red.
async fn sum(tab: &Tab<'_>) -> Value {
    tab.eval(
        "(() => { const sum = document.querySelector('.sum');
            return [sum.textContent.includes('≠'), !!sum.querySelector('.pill--bad')]; })()",
    )
    .await
}

#[tokio::test]
async fn the_live_view_is_red_only_if_units_are_missing() {
    let fixture = ServerFixture::start();
    let item = |id: &str, stock: Value| json!({"id": id, "title": id, "price": {"amount_minor": 1200, "currency": "CNY"}, "stock": stock});
    let items = json!([
        item("phone", json!(20)),
        item("lamp", json!(30)),
        item("case", json!("unlimited"))
    ]);
    draft(&fixture, "spring", json!({}), json!({ "items": items })).await;
    fixture.step("spring", "open").await;
    for item in ["phone", "case"] {
        let bought = fixture.buy(&PurchaseSpec::new("ann", item, "spring", 1).item(item)).await;
        assert_eq!(bought.verdict(), "201", "{item}");
    }
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(LOSE_UNITS).await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring").await;
        shows(&tab, "Every unit is accounted for").await;
        shows(&tab, "50 = 0 sold + 1 held").await;
        shows(&tab, "Unlimited items: 0 sold, 1 held for payment.").await;
        tab.until("document.querySelector('[data-number=held]').textContent.trim() === '2'").await;
        assert_eq!(tab.until(RED_SLOTS).await, 1, "the slot of an unlimited item must not be red");
        assert_eq!(sum(&tab).await, json!([false, false]));

        tab.eval("(window.lost = [7], true)").await;
        shows(&tab, "7 units are not accounted for").await;
        assert_eq!(sum(&tab).await, json!([true, true]));
        tab.eval("(window.lost = [-7, 7], true)").await;
        shows(&tab, "14 units are not accounted for").await;
        assert_eq!(sum(&tab).await[1], true, "two errors must not cancel each other");
        tab.eval("(window.lost = null, true)").await;
        shows(&tab, "Every unit is accounted for").await;

        // The first click of a double click opens a dialog. The second click must not close this
        // dialog.
        let double = "(() => { const pause = [...document.querySelectorAll('button')]
            .find(button => button.textContent.trim() === 'Pause');
            pause.click();
            requestAnimationFrame(() => requestAnimationFrame(() => pause.click()));
            return true; })()";
        tab.eval(double).await;
        tab.until("document.querySelector('dialog')?.open").await;
        let later = "const done = arguments[0];
            setTimeout(() => done(document.querySelector('dialog')?.open), 300);";
        assert_eq!(tab.run(later).await, true);
        press(&tab, "Keep as it is").await;

        // An address with an invalid escape must lead to the list of sales.
        open_view(&tab, "#/sales/%E0").await;
        shows(&tab, "New sale").await;
    })
    .await;
}

#[tokio::test]
async fn support_tells_sales_with_one_title_apart_and_names_a_missing_code() {
    let fixture = ServerFixture::start();
    let door = json!({"front_door": {"pass": "required", "access_codes": "required"}});
    draft(&fixture, "spring", json!({}), door).await;
    draft(&fixture, "copy", json!({}), json!({})).await;
    fixture.step("spring", "open").await;
    let lines = signed_in("eve");
    let pass = json!({"item": "lamp"});
    let path = "/v1/sales/spring/passes";
    let refused = fixture.ask(&request("POST", path, &lines, Some(&pass))).await;
    assert_eq!(refused.verdict(), "403 not_eligible", "{refused}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/support?sale=spring&buyer=eve").await;
        shows(&tab, "The buyer gave no valid access code").await;
        let options = "[...document.querySelectorAll('select[name=sale] option')]
            .map(option => option.textContent.trim())";
        tab.until(&format!("{options}.length === 2")).await;
        let options = tab.eval(options).await;
        let title = "Lamps of the small workshop";
        assert_eq!(options, json!([format!("{title} · copy"), format!("{title} · spring")]));

        // A draft without an opening time cannot be scheduled. The console offers to set the time.
        open_view(&tab, "#/sales/copy").await;
        press(&tab, "Schedule").await;
        shows(&tab, "Set the opening time first").await;
        press(&tab, "Set the time").await;
        tab.until("location.hash === '#/sales/copy/edit'").await;
    })
    .await;
}
