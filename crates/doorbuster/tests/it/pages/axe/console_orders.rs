//! Tests orders and sales in the console: changes of many orders, lost answers, names, and long
//! lists.

use serde_json::{Value, json};

use super::super::driver::Browser;
use super::super::tab::Tab;
use super::console::{fill, open_view, press, shows, sign_in};
use super::{draft, sale};
use crate::crash_windows::client::{PurchaseSpec, request};
use crate::crash_windows::fixture::ServerFixture;
use crate::test_server::{KEY, TempDir, program, run};

/// The number of orders, which is larger than one page of the list.
const ORDERS: usize = 60;
/// The number of sales, which is larger than one page of the API.
const SALES: usize = 201;

#[tokio::test]
async fn all_orders_of_a_search_are_changed_at_once() {
    let fixture = ServerFixture::start();
    let door = json!({"limits": {"buyer": null, "ip": null, "interface": null}});
    draft(&fixture, "spring", json!({ "stock": ORDERS }), json!({ "front_door": door })).await;
    fixture.step("spring", "open").await;
    for buyer in 0..ORDERS {
        let spec = PurchaseSpec::new(&format!("b{buyer}"), "k", "spring", 1).item("lamp");
        assert_eq!(fixture.buy(&spec).await.verdict(), "201", "{buyer}");
    }
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/orders?sale=spring").await;
        press(&tab, "Choose all orders of this search (at most 10,000)").await;
        shows(&tab, &format!("{ORDERS} orders chosen")).await;
        press(&tab, &format!("Cancel ({ORDERS})")).await;
        press(&tab, &format!("Cancel {ORDERS} orders")).await;
        assert!(
            tab.eval("document.querySelector('dialog').open").await == true,
            "the dialog must stay open until the number is typed"
        );
        fill(&tab, &format!("Type “{ORDERS}” to confirm"), 0, &ORDERS.to_string()).await;
        press(&tab, &format!("Cancel {ORDERS} orders")).await;
        shows(&tab, &format!("{ORDERS} orders are changed.")).await;
        let orders = fixture.orders("spring").await;
        assert_eq!(orders.len(), ORDERS);
        assert!(orders.iter().all(|order| order["state"] == "cancelled"), "{orders:?}");
    })
    .await;
}

async fn three_orders() -> ServerFixture {
    let fixture = ServerFixture::start();
    sale(&fixture, "spring", json!({"stock": 3})).await;
    for buyer in ["ann", "bob", "eve"] {
        let spec = PurchaseSpec::new(buyer, "k", "spring", 1).item("lamp");
        assert_eq!(fixture.buy(&spec).await.verdict(), "201", "{buyer}");
    }
    fixture
}

/// Opens the dialog that asks the operator to confirm the cancellation of the three orders.
async fn cancel_all_three(tab: &Tab<'_>, fixture: &ServerFixture) {
    sign_in(tab, fixture).await;
    open_view(tab, "#/orders?sale=spring").await;
    tab.until("document.querySelectorAll('tbody input').length === 3").await;
    tab.eval("(document.querySelector('thead input').click(), true)").await;
    press(tab, "Cancel (3)").await;
}

/// Holds back each request that cancels an order, until the test calls the request's function in
/// `window.held`.
const HOLD_CANCELLATIONS: &str = "const send = window.fetch;
  window.held = [];
  window.fetch = async (path, options) => {
    if (String(path).endsWith('/cancel')) await new Promise(release => held.push(release));
    return send(path, options);
  };";
/// The Escape key in the WebDriver protocol.
const ESCAPE: &str = "\u{e00c}";

#[tokio::test]
async fn a_change_of_many_orders_is_stopped_by_its_button_only() {
    let fixture = three_orders().await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(HOLD_CANCELLATIONS).await;
        cancel_all_three(&tab, &fixture).await;
        fill(&tab, "Type “3” to confirm", 0, "3").await;
        press(&tab, "Cancel 3 orders").await;
        shows(&tab, "0 of 3").await;
        tab.until("held.length === 1").await;
        tab.keys(ESCAPE).await;
        tab.keys(ESCAPE).await;
        shows(&tab, "0 of 3").await;
        press(&tab, "Stop").await;
        tab.eval("(held.forEach(release => release()), true)").await;
        shows(&tab, "Stopped. 1 of 3 orders are changed.").await;
        let orders = fixture.orders("spring").await;
        let cancelled = orders.iter().filter(|order| order["state"] == "cancelled").count();
        assert_eq!(cancelled, 1, "{orders:?}");
    })
    .await;
}

#[tokio::test]
async fn a_change_of_many_orders_stops_when_the_operator_leaves_the_view() {
    let fixture = three_orders().await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(HOLD_CANCELLATIONS).await;
        cancel_all_three(&tab, &fixture).await;
        fill(&tab, "Type “3” to confirm", 0, "3").await;
        press(&tab, "Cancel 3 orders").await;
        tab.until("held.length === 1").await;
        open_view(&tab, "#/sales").await;
        tab.eval("(held.forEach(release => release()), true)").await;
        shows(&tab, "Stopped. 1 of 3 orders are changed.").await;
    })
    .await;
}

/// Answers each change of an order of `bob` with a fault.
const REFUSE_BOB: &str = "const send = window.fetch;
  window.fetch = async (path, options) => {
    if (options?.method !== 'POST' || !String(path).endsWith('/extend')) return send(path, options);
    const body = { detail: 'the body is not valid', errors: [
      { pointer: '/pay_by', detail: 'must be later than the old time' }] };
    return new Response(JSON.stringify(body), { status: 422 });
  };";

#[tokio::test]
async fn the_fields_show_the_search_and_a_refusal_of_one_order_has_its_reason() {
    let fixture = three_orders().await;
    let buyer = "document.querySelector('input[name=buyer]').value";
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(REFUSE_BOB).await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/orders?sale=spring").await;
        fill(&tab, "Buyer’s id", 0, "bob").await;
        press(&tab, "Search").await;
        tab.until("document.querySelectorAll('tbody input').length === 1").await;
        tab.eval("(document.querySelector('thead input').click(), true)").await;
        press(&tab, "Extend (1)").await;
        press(&tab, "Give more time").await;
        shows(&tab, "was refused: must be later than the old time").await;
        tab.keys(ESCAPE).await;
        open_view(&tab, "#/orders?sale=spring").await;
        tab.until(&format!("{buyer} === ''")).await;
    })
    .await;
}

/// Holds back each answer with the orders of `ann`, until the test calls the answer's function in
/// `window.held`. `window.isRead` becomes true when the page has drawn the answer.
const HOLD_ANN: &str = "const send = window.fetch;
  window.held = [];
  window.fetch = async (path, options) => {
    const answer = await send(path, options);
    if (!String(path).includes('buyer=ann')) return answer;
    const text = await answer.text();
    await new Promise(release => held.push(release));
    answer.text = async () => {
      setTimeout(() => setTimeout(() => (window.isRead = true)));
      return text;
    };
    return answer;
  };";

#[tokio::test]
async fn orders_of_an_earlier_search_are_not_shown() {
    let fixture = three_orders().await;
    let shown =
        |orders: usize| format!("document.querySelectorAll('tbody input').length === {orders}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(HOLD_ANN).await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/orders?sale=spring").await;
        tab.until(&shown(3)).await;
        open_view(&tab, "#/orders?sale=spring&buyer=ann").await;
        tab.until("held.length === 1").await;
        tab.until(&shown(0)).await;
        open_view(&tab, "#/orders?sale=spring&buyer=bob").await;
        tab.until(&shown(1)).await;
        tab.eval("(held.forEach(release => release()), true)").await;
        tab.until("window.isRead").await;
        assert_eq!(tab.text("tbody td:nth-child(4)").await, "bob");
    })
    .await;
}

/// Types `3` in a dialog's field for a number at the moment when the field appears.
const TYPE_AT_ONCE: &str = "new MutationObserver(() => {
    const field = document.querySelector('dialog input:not([name])');
    if (!field || window.typed) return;
    window.typed = true;
    field.value = '3';
    field.dispatchEvent(new Event('input', { bubbles: true }));
  }).observe(document, { childList: true, subtree: true });";

#[tokio::test]
async fn a_text_that_is_typed_as_soon_as_the_dialog_appears_counts() {
    let fixture = three_orders().await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(TYPE_AT_ONCE).await;
        cancel_all_three(&tab, &fixture).await;
        tab.until("window.typed").await;
        press(&tab, "Cancel 3 orders").await;
        shows(&tab, "3 orders are changed.").await;
    })
    .await;
}

pub(super) fn pay(fixture: &ServerFixture, order: &str) {
    let temp_dir = TempDir::new();
    let data_dir = fixture.data_dir().to_str().expect("a UTF-8 path");
    let mut command = program(&temp_dir);
    command.args(["payment", "trigger", order, "--data-dir", data_dir]);
    command.env("DOORBUSTER_URL", format!("http://{}", fixture.address));
    run(command.env("DOORBUSTER_ADMIN_KEY", KEY)).stdout_of_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_order_is_refunded_and_its_page_shows_the_refund() {
    let fixture = ServerFixture::start();
    sale(&fixture, "spring", json!({"stock": 2})).await;
    let order = fixture.buy(&PurchaseSpec::new("ann", "k", "spring", 1).item("lamp")).await.id();
    pay(&fixture, &order);
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, &format!("#/orders/{order}")).await;
        press(&tab, "Refund").await;
        shows(&tab, "The money goes back to the buyer. This cannot be undone.").await;
        press(&tab, "Refund 1 order").await;
        shows(&tab, "1 order is changed.").await;
        tab.says("h1 + .pill", "Refunded").await;
        let refund = "[...document.querySelectorAll('.panel')]
            .find(panel => panel.querySelector('h2').textContent === 'Refunds')
            .querySelector('tbody').textContent.includes('49.00')";
        tab.until(refund).await;
        let state = &fixture.get_ok(&format!("/v1/admin/orders/{order}")).await["state"];
        assert_eq!(state, "refunded");
        let actions = format!("/v1/admin/actions?subject=order:{order}");
        let action = &fixture.get_ok(&actions).await["actions"][0]["action"];
        assert_eq!(action, "order.refunded");
    })
    .await;
}

/// Drops the answer to the first request that extends a payment window. The server has then
/// extended the window, but the page does not know of the extension.
const LOSE_ANSWER: &str = "const send = window.fetch;
  let lost = false;
  window.fetch = async (path, options) => {
    const answer = await send(path, options);
    if (lost || !String(path).endsWith('/extend')) return answer;
    lost = true;
    throw new TypeError('lost');
  };";

#[tokio::test]
async fn an_extension_is_added_once_although_its_answer_was_lost() {
    let fixture = ServerFixture::start();
    sale(&fixture, "spring", json!({"stock": 2})).await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "spring", 1).item("lamp")).await;
    let path = format!("/v1/admin/orders/{}", bought.id());
    let pay_by = async || {
        let order = fixture.get_ok(&path).await;
        let time: jiff::Timestamp =
            order["pay_by"].as_str().and_then(|time| time.parse().ok()).expect("a time");
        time.as_millisecond()
    };
    let before = pay_by().await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(LOSE_ANSWER).await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, &format!("#/orders/{}", bought.id())).await;
        press(&tab, "Extend").await;
        press(&tab, "Give more time").await;
        shows(&tab, "The server does not answer").await;
        assert_eq!(
            pay_by().await,
            before + 15 * 60_000,
            "the first request must have extended the order, although its answer was lost"
        );
        press(&tab, "Give more time").await;
        shows(&tab, "1 order is changed.").await;
        assert_eq!(pay_by().await, before + 15 * 60_000);
    })
    .await;
}

#[tokio::test]
async fn actions_show_the_name_of_a_deleted_key() {
    let fixture = ServerFixture::start();
    sale(&fixture, "spring", json!({"stock": 2})).await;
    let body = json!({"name": "night shift", "role": "operator"});
    let made = fixture.admin("POST", "/v1/admin/keys", Some(&body)).await.json();
    let [id, key] = ["id", "key"].map(|name| made[name].as_str().expect("a text"));
    let key = format!("Authorization: Bearer {key}\r\n");
    let paused = fixture.ask(&request("POST", "/v1/admin/sales/spring/pause", &key, None)).await;
    assert_eq!(paused.status, 200, "{paused}");
    fixture.admin("DELETE", &format!("/v1/admin/keys/{id}"), None).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, &format!("#/actions?by={id}")).await;
        shows(&tab, "Sale paused").await;
        shows(&tab, "night shift").await;
    })
    .await;
}

#[tokio::test]
async fn the_list_of_sales_shows_that_a_sale_has_opened() {
    let fixture = ServerFixture::start();
    draft(&fixture, "spring", json!({}), json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        shows(&tab, "Draft").await;
        tab.until("document.querySelector('td .pill')?.textContent.trim() === 'Draft'").await;
        fixture.step("spring", "open").await;
        tab.until("document.querySelector('td .pill')?.textContent.trim() === 'Open'").await;
    })
    .await;
}

#[tokio::test]
async fn support_finds_a_buyer_of_the_oldest_of_many_sales() {
    let fixture = ServerFixture::start();
    for sale in 0..SALES {
        draft(&fixture, &format!("sale-{sale:03}"), json!({}), json!({})).await;
    }
    let sales = fixture.list("sales", "").await;
    let last: &Value = &sales.last().expect("sales")["id"];
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/support").await;
        let count = format!("document.querySelectorAll('option').length === {SALES}");
        tab.until(&count).await;
        fill(&tab, "Sale", 0, last.as_str().expect("an id")).await;
        fill(&tab, "Buyer’s id", 0, "eve").await;
        press(&tab, "Search").await;
        let hash = format!(
            "location.hash === '#/support?sale={}&buyer=eve'",
            last.as_str().expect("an id")
        );
        tab.until(&hash).await;
        shows(&tab, "In short:").await;
    })
    .await;
}
