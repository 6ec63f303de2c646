//! Tests when the order page and the list of orders read the orders again: after an event, and
//! after the device has slept.

use std::time::Duration;

use serde_json::json;

use super::driver::Browser;
use super::paying::{PAY, bought, to_payment};
use super::{link, sale, streams};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;

/// Makes the browser's monotonic clock lag by `window.slept` milliseconds. On a real device, the
/// clock lags in this way after the device has slept.
const SLEEPY: &str = "window.slept = 0; { const run = performance.now.bind(performance);
    performance.now = () => run() - window.slept; }";

#[tokio::test]
async fn the_time_to_pay_is_correct_again_after_the_device_slept() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({"hold_secs": 900})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    let read = PurchaseSpec::new("ann", "k", "open", 1).order("GET", &order, "");
    let pay_by = fixture.ask(&read).await.json()["pay_by"].clone();
    let is_right = format!(
        "(([minutes, secs]) => Math.abs(60 * minutes + secs
           - (Date.parse({pay_by}) - Date.now()) / 1000) < 5
         )(document.querySelector('#clock').textContent.split(':').map(Number))"
    );
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(SLEEPY).await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        tab.until(&is_right).await;
        tab.eval("(window.slept = 300_000, true)").await;
        tab.until(&format!("!{is_right}")).await;
        tab.eval("document.dispatchEvent(new Event('visibilitychange'))").await;
        tab.until(&is_right).await;
    })
    .await;
}

/// Sets the date of each answer one hour ahead. Counts how often the page reads the order (`reads`)
/// and the sale's status (`statuses`).
const DATES_AHEAD: &str = "{ const ask = window.fetch;
    Object.assign(window, { reads: 0, statuses: 0 });
    window.fetch = async (path, how) => {
      if (/\\/v1\\/orders\\/[^/]+$/.test(path)) window.reads += 1;
      if (/\\/status\\?/.test(path)) window.statuses += 1;
      const answer = await ask(path, how);
      if (answer.status !== 200) return answer;
      const headers = new Headers(answer.headers);
      headers.set('Date', new Date(Date.now() + 3_600_000).toUTCString());
      return new Response(await answer.text(), { headers });
    }; }";

#[tokio::test]
async fn a_date_from_another_clock_does_not_make_the_page_set_its_clock_at_each_read() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(DATES_AHEAD).await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        tab.says("#state", "Reserved for you").await;
        // Each event makes the page read the order. A read begins only after the previous read has
        // ended, so the test waits for each read.
        for reads in 2..=4 {
            tab.eval("dispatchEvent(new Event('online'))").await;
            tab.until(&format!("window.reads >= {reads}")).await;
        }
        assert_eq!(tab.eval("window.statuses").await, 1);
    })
    .await;
}

/// When `window.holds` is true, holds back the next answer about an order until the test calls
/// `window.release()`. `window.paid` becomes true when the page gets the event about the payment.
const HOLD_ANSWER: &str = "{ const ask = window.fetch, Stream = window.WebSocket;
    window.fetch = async (path, how) => {
      const answer = await ask(path, how);
      if (!window.holds || !/\\/v1\\/orders\\/[^/]+$/.test(path)) return answer;
      window.holds = false;
      const { status, headers } = answer, body = await answer.text();
      await new Promise(done => { window.release = done; });
      return new Response(body, { status, headers });
    };
    window.WebSocket = class extends Stream {
      constructor(...given) {
        super(...given);
        this.addEventListener('message', ({ data }) => {
          if (JSON.parse(data).order?.state === 'paid') window.paid = true;
        });
      }
    }; }";

#[tokio::test]
async fn an_event_that_arrives_during_a_read_causes_another_read() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    let path = format!("/order/{order}");
    Browser::with_browser(async |browser| {
        let (tab, other) = (browser.tab().await, browser.tab().await);
        tab.add_init_script(HOLD_ANSWER).await;
        tab.go(&link(fixture.address, &path, "ann")).await;
        tab.says("#state", "Reserved for you").await;
        streams(&fixture, 1).await;
        other.go(&link(fixture.address, &path, "ann")).await;
        to_payment(&other).await;
        tab.eval("(window.holds = true, dispatchEvent(new Event('online')))").await;
        tab.until("!!window.release").await;
        other.click("[data-does=pay]").await;
        tab.until("window.paid").await;
        tab.eval("(window.release(), true)").await;
        // Without the event, the page would read the order again after 50 seconds at the earliest.
        let shown = tab.says("#state", "Paid. It’s yours.");
        tokio::time::timeout(Duration::from_secs(30), shown).await.expect("another read");
    })
    .await;
}

#[tokio::test]
async fn the_list_of_orders_shows_the_next_step_and_updates() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({"limit_per_buyer": 100})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    Browser::with_browser(async |browser| {
        let (list, tab) = (browser.tab().await, browser.tab().await);
        list.go(&link(fixture.address, "/", "ann")).await;
        list.says("#orders-list", "Pay by ").await;
        list.says("#orders-list .button", "Pay €49.00").await;
        streams(&fixture, 1).await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        to_payment(&tab).await;
        tab.click("[data-does=pay]").await;
        list.says("#orders-list .pill", "Paid").await;
        list.says("#orders-list", "€49.00, paid ").await;
        list.until("!document.querySelector('#orders-list .button')").await;
        for n in 0..55 {
            bought(&fixture, "ann", &format!("more-{n}"), "open").await;
        }
        list.reload().await;
        list.until("document.querySelectorAll('#orders-list > li').length === 50").await;
        list.click("#orders-list .button").await;
        list.says(PAY, "Pay €49.00").await;
        list.go(&link(fixture.address, "/#orders", "ann").replace("#orders#", "#orders&")).await;
        list.click("#older").await;
        list.until("document.querySelectorAll('#orders-list > li').length === 56").await;
        list.until("document.querySelector('#older').hidden && document.activeElement.closest('#orders-list')").await;
        bought(&fixture, "ann", "newest", "open").await;
        list.until("document.querySelectorAll('#orders-list > li').length === 57").await;
    })
    .await;
}
