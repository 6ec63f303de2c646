//! Tests the report of a sale in the console, and its charts: replay, print, hover, arrow keys, and
//! time spans.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::driver::Browser;
use super::super::tab::Tab;
use super::console::{open_view, press, shows, sign_in};
use super::console_orders::pay;
use super::sale;
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;

/// Makes each action `window.hoursAgo` hours older.
const OLDER_ACTIONS: &str = "const send = window.fetch;
  window.fetch = async (path, options) => {
    const answer = await send(path, options);
    if (!window.hoursAgo || !String(path).includes('/actions')) return answer;
    const page = await answer.json();
    for (const row of page.actions) {
      row.at = new Date(Date.parse(row.at) - window.hoursAgo * 3_600_000).toISOString();
    }
    return new Response(JSON.stringify(page), { headers: answer.headers });
  };";
/// Changes the answers: the opening of the sale was seven hours ago, and the sale's series has one
/// point, in the minute of the opening.
const POINT_OF_THE_OPENING: &str = "window.hoursAgo = 7;
  const ask = window.fetch;
  window.fetch = async (path, options) => {
    const answer = await ask(path, options);
    const query = new URL(path, location.href).searchParams;
    if (!String(path).includes('/series') || query.get('step') !== '60') return answer;
    const page = await answer.json();
    const from = Date.parse(query.get('from'));
    // Later requests ask only for the newest minutes, which have no points.
    if (from > Date.now() - 3_600_000) {
      return new Response(JSON.stringify({ ...page, points: [] }), { headers: answer.headers });
    }
    const at = new Date(Math.floor(from / 60_000) * 60_000).toISOString();
    page.points = [{ at, requests: 7, reserved: 2, refused: {}, busiest_second: 7, p50_ms: 1,
      p99_ms: 1, queue_depth: 0, waiting: 0, items: [] }];
    return new Response(JSON.stringify(page), { headers: answer.headers });
  };";
/// Changes the reconciliation report: it is incomplete and has 1,000 differences.
const MANY_DIFFERENCES: &str = "const send = window.fetch;
  window.fetch = async (path, options) => {
    const answer = await send(path, options);
    if (!String(path).includes('/reconciliation')) return answer;
    const report = { ...await answer.json(), ok: false, complete: false };
    report.differences = Array(1000).fill({ kind: 'wrong_amount', detail: 'wrong', order: null });
    return new Response(JSON.stringify(report), { headers: answer.headers });
  };";
/// Returns the first five numbers of the replay: requests, orders, and the units that are sold,
/// held and free.
const REPLAYED: &str = "[...document.querySelectorAll('#replay')].map(slider =>
    [...slider.closest('section').querySelectorAll('.numbers dd')].slice(0, 5)
      .map(number => Number(number.textContent)).join(' '))[0]";
/// The spoken text of the first chart.
const SPOKEN: &str = "document.querySelector('.chart__box')?.getAttribute('aria-label')";
/// Counts the visible parts of the page that must not appear in a printed report.
const UNPRINTED: &str = "[...document.querySelectorAll('.noprint, .top, .tabs, button')]
    .filter(part => part.checkVisibility()).length";
/// The left arrow key in the WebDriver protocol.
const LEFT: &str = "\u{e012}";

async fn replay_until(tab: &Tab<'_>, second: i64) {
    let move_to = format!(
        "(() => {{ const slider = document.querySelector('#replay');
            slider.value = {second};
            slider.dispatchEvent(new Event('input', {{ bubbles: true }}));
            return true; }})()"
    );
    tab.eval(&move_to).await;
}

/// Opens a sale, and buys its units in a later second than the opening. Returns the largest number
/// of requests in one second, and the second of the first request (since 1970).
async fn sell_and_record(fixture: &ServerFixture) -> (u64, i64) {
    sale(fixture, "spring", json!({"stock": 2})).await;
    let opened = Timestamp::now().as_second();
    while Timestamp::now().as_second() <= opened + 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut orders = Vec::new();
    for (buyer, verdict) in [("ann", "201"), ("bob", "201"), ("eve", "409 sold_out")] {
        let bought = fixture.buy(&PurchaseSpec::new(buyer, "k", "spring", 1).item("lamp")).await;
        assert_eq!(bought.verdict(), verdict, "{buyer}");
        if verdict == "201" {
            orders.push(bought.id());
        }
    }
    pay(fixture, &orders[0]);
    let recorded = async || {
        let series = fixture.get_ok("/v1/admin/sales/spring/series").await;
        let points = series["points"].as_array().expect("points").clone();
        let requests = |point: &Value| point["requests"].as_u64().expect("a number");
        let is_whole = points.iter().map(requests).sum::<u64>() == 3
            && points.last().is_some_and(|point| point["items"][0]["paid"] == 1);
        let first = points.iter().find(|point| requests(point) > 0)?;
        let first: Timestamp = first["at"].as_str()?.parse().ok()?;
        is_whole.then(|| (points.iter().map(requests).max(), first.as_second()))
    };
    let (most, first) =
        fixture.until("the numbers are recorded", Duration::from_secs(30), recorded).await;
    (most.expect("points"), first)
}

async fn hover_and_step(tab: &Tab<'_>) {
    let place = "(() => { const plot = document.querySelector('.chart__box .u-over');
        if (!plot) return null;
        plot.scrollIntoView({ block: 'center' });
        const box = plot.getBoundingClientRect();
        return [box.x + box.width - 20, box.y + box.height / 2]; })()";
    let place = tab.until(place).await;
    let newest = tab.eval(SPOKEN).await;
    let mouse = json!({"type": "mouseMoved", "x": place[0], "y": place[1]});
    tab.protocol("Input.dispatchMouseEvent", mouse).await;
    tab.until(&format!("{SPOKEN} !== {newest}")).await;
    let hovered = tab.eval(SPOKEN).await;
    let legend = tab.text(".chart__at").await;
    assert!(hovered.as_str().is_some_and(|text| text.contains(&legend)), "{hovered} {legend}");
    tab.keys_to(".chart__box", LEFT).await;
    tab.until(&format!("{SPOKEN} !== {hovered}")).await;
    let moved = tab.text(".chart__at").await;
    assert!(moved < legend, "{moved} must be before {legend}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_replayed_and_printed_and_its_charts_keep_a_burst() {
    let fixture = ServerFixture::start();
    let (most, first) = sell_and_record(&fixture).await;
    let busiest = format!("Busiest second: {most} request");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(OLDER_ACTIONS).await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring/report").await;
        shows(&tab, "The audit is clean").await;
        for words in ["Sale opened", "First order", &busiest, "1 units are sold, 1 wait"] {
            shows(&tab, words).await;
        }
        tab.until(&format!("{REPLAYED} === '3 2 1 1 0'")).await;
        replay_until(&tab, first - 1).await;
        tab.until(&format!("{REPLAYED}.startsWith('0 0 0 0')")).await;
        let series = fixture.get_ok("/v1/admin/sales/spring/series").await;
        let point = series["points"].as_array().expect("points").iter();
        let point = point.clone().find(|point| point["requests"] != 0).expect("a point");
        let shown = format!("'{} {} '", point["requests"], point["reserved"]);
        replay_until(&tab, first).await;
        tab.until(&format!("{REPLAYED}.startsWith({shown})")).await;
        replay_until(&tab, i64::from(u32::MAX)).await;

        hover_and_step(&tab).await;

        tab.protocol("Emulation.setEmulatedMedia", json!({"media": "print"})).await;
        assert_eq!(tab.eval(UNPRINTED).await, 0);
        assert_eq!(tab.eval("document.querySelector('.verdict').checkVisibility()").await, true);
        tab.protocol("Emulation.setEmulatedMedia", json!({"media": ""})).await;

        // Each of these spans includes both orders of the sale.
        open_view(&tab, "#/sales/spring").await;
        for span in ["3 minutes", "Last hour", "Whole sale"] {
            press(&tab, span).await;
            // The console may draw the charts again at any time, which closes the table. So each
            // check opens the table first.
            let open = "((document.querySelector('.chart details') ?? {}).open = true)";
            let orders = "[...document.querySelectorAll('.chart')[0].querySelectorAll('tbody tr')]
                .reduce((sum, row) => sum + Number(row.cells[2]?.textContent ?? 0), 0) === 2";
            tab.until(&format!("{open} && document.querySelector('[aria-pressed=true]').textContent
                .trim() === {} && {orders}", json!(span))).await;
        }

        // For the page, the opening is now seven hours ago, so each point stands for a minute. The
        // chart must still show the requests of the busiest second.
        tab.eval("(window.hoursAgo = 7)").await;
        open_view(&tab, "#/sales/spring/report").await;
        shows(&tab, &busiest).await;
        let burst = format!(
            "[...document.querySelectorAll('.chart')[0].querySelectorAll('th')][3]?.textContent
                === 'Busiest second' && Math.max(...[...document.querySelectorAll('.chart')[0]
                .querySelectorAll('tbody tr')].map(row => Number(row.cells[3].textContent))) === {most}"
        );
        tab.until(&burst).await;
    })
    .await;
}

#[tokio::test]
async fn the_charts_of_the_whole_sale_begin_with_the_minute_of_the_opening() {
    let fixture = ServerFixture::start();
    sale(&fixture, "spring", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(OLDER_ACTIONS).await;
        tab.add_init_script(POINT_OF_THE_OPENING).await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring").await;
        press(&tab, "Whole sale").await;
        tab.until(
            "((document.querySelector('.chart details') ?? {}).open = true)
                && [...document.querySelectorAll('.chart')[0].querySelectorAll('tbody tr')]
                .some(row => row.cells[3]?.textContent === '7')",
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_report_with_more_differences_names_the_command_that_lists_all() {
    let fixture = ServerFixture::start();
    sale(&fixture, "spring", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(MANY_DIFFERENCES).await;
        sign_in(&tab, &fixture).await;
        for (view, command, places) in [
            ("#/sales/spring/report", "doorbuster reconcile --sale spring", 2),
            ("#/audit", "doorbuster reconcile", 1),
        ] {
            open_view(&tab, view).await;
            let count = format!(
                "[...document.querySelectorAll('section')].filter(part => part.textContent
                    .includes('At least 1,000 differences between units and money. List all: \
                 {command}')).length === {places}"
            );
            tab.until(&count).await;
        }
    })
    .await;
}
