//! Tests how an operator changes the stock, the limits and the orders of a running sale in the
//! console. Also tests the console of a viewer, who may only read, and the console while the server
//! does not answer.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::driver::Browser;
use super::super::tab::Tab;
use super::console::{FRESH, fill, open_view, press, shows, sign_in, sign_in_with};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;

/// The number of parts of the live view that are grey because their numbers are old.
const STALE_PANELS: &str = "document.querySelectorAll('.panel.stale').length";

pub(super) fn signal(fixture: &ServerFixture, name: &str) {
    let status = Command::new("kill").args([name, &fixture.pid().to_string()]).status();
    assert!(status.expect("kill runs").success(), "{name}");
}

async fn choose(tab: &Tab<'_>, label: &str, option: &str) {
    fill(tab, label, 0, option).await;
}

/// Removes `randomUUID`, which browsers do not have on a page without HTTPS.
const NO_HTTPS: &str = "delete Crypto.prototype.randomUUID";

#[tokio::test]
async fn an_operator_changes_a_running_sale_and_its_orders() {
    let fixture = ServerFixture::start();
    super::sale(&fixture, "spring", json!({"stock": 2})).await;
    for buyer in ["ann", "bob"] {
        let bought = fixture.buy(&PurchaseSpec::new(buyer, "k", "spring", 1).item("lamp")).await;
        assert_eq!(bought.verdict(), "201", "{buyer}");
    }
    let ann = fixture.orders("spring").await.into_iter().find(|order| order["buyer"] == "ann");
    let ann = ann.expect("the order of ann")["id"].as_str().expect("an id").to_owned();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(NO_HTTPS).await;
        sign_in(&tab, &fixture).await;

        open_view(&tab, "#/sales/spring").await;
        press(&tab, "Adjust stock").await;
        fill(&tab, "Units", 0, "3").await;
        fill(&tab, "Reason", 0, "recount").await;
        press(&tab, "Adjust stock").await;
        shows(&tab, "5 = 0 sold + 2 held").await;

        // The table must show both orders.
        let table = "[...document.querySelectorAll('.chart summary')][0]";
        tab.until(table).await;
        tab.eval(&format!("(({table}).click(), true)")).await;
        let orders = "[...document.querySelectorAll('.chart')[0].querySelectorAll('tbody tr')]
            .reduce((sum, row) => sum + Number(row.cells[2]?.textContent ?? 0), 0) === 2";
        tab.until(orders).await;

        open_view(&tab, "#/sales/spring/edit").await;
        choose(&tab, "Limit for one buyer", "none").await;
        press(&tab, "Save").await;
        shows(&tab, "Change the limits of a running sale?").await;
        shows(&tab, "Limit for one buyer: Any number of requests is allowed.").await;
        let limits = async || {
            let sale = fixture.get_ok("/v1/admin/sales/spring").await;
            sale["front_door"]["limits"].get("buyer").cloned()
        };
        assert_eq!(limits().await, None, "nothing must be saved before the operator confirms");
        press(&tab, "Save").await;
        shows(&tab, "Saved").await;
        assert_eq!(limits().await, Some(Value::Null));

        open_view(&tab, &format!("#/orders/{ann}")).await;
        press(&tab, "Cancel").await;
        press(&tab, "Cancel 1 order").await;
        shows(&tab, "Cancelled").await;
        let order = fixture.get_ok(&format!("/v1/admin/orders/{ann}")).await;
        assert_eq!(order["state"], "cancelled");
    })
    .await;
}

#[tokio::test]
async fn an_operator_changes_the_events_of_a_broker_without_its_password() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_BROKERS__HOSTS", "rabbit.internal:5672")]);
    let url = "amqp://shop:s3cr3t@rabbit.internal/live";
    let body = json!({"url": url, "types": ["order.paid"]});
    let path = "/v1/admin/webhook-endpoints";
    let added = fixture.admin("POST", path, Some(&body)).await;
    assert_eq!(added.status, 201, "{added}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/receivers").await;
        press(&tab, "Edit").await;
        fill(&tab, "Events", 0, "order.paid order.cancelled").await;
        press(&tab, "Save").await;
        shows(&tab, "order.paid, order.cancelled").await;
        let endpoint = fixture.get_ok(path).await["endpoints"][0].clone();
        assert_eq!(endpoint["url"], "amqp://shop:***@rabbit.internal/live");
    })
    .await;
}

#[tokio::test]
async fn an_erasure_shows_the_block_and_the_rows_that_still_name_the_buyer() {
    let fixture = ServerFixture::start();
    super::sale(&fixture, "spring", json!({"stock": 2})).await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "spring", 1).item("lamp")).await;
    assert_eq!(bought.verdict(), "201");
    let block = json!({"kind": "buyer", "value": "ann", "reason": "robot"});
    assert_eq!(fixture.admin("POST", "/v1/admin/blocks", Some(&block)).await.status, 201);
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/access").await;
        fill(&tab, "Buyer’s id", 0, "ann").await;
        press(&tab, "Preview").await;
        tab.says("dialog[open]", "A block names the buyer.").await;
        tab.says("dialog[open]", "Rows of spring stay").await;
        fill(&tab, "Type “erase” to confirm", 0, "erase").await;
        press(&tab, "Erase a buyer").await;
        let result = "[...document.querySelectorAll('main [role=status]')]
            .map(part => part.textContent).find(text => text.includes('Erased.'))";
        let result = tab.until(result).await;
        let result = result.as_str().expect("a text");
        for words in ["A block names the buyer.", "Rows of spring stay"] {
            assert!(result.contains(words), "{result}");
        }
    })
    .await;
}

/// Calls functions of the console's modules for charts, alarms and formats with sample data.
/// Returns their results.
const PARTS: &str = "const done = arguments[0];
  const ask = path => ({ data: path });
  // The names of the loaded files have hashes.
  const files = performance.getEntriesByType('resource').map(entry => entry.name);
  const file = name => files.find(path => path.includes('/console-' + name));
  const node = (node, second) => ({ node, started_at: new Date(second * 1000).toISOString() });
  Promise.all(['charts', 'alarms', 'format'].map(name => import(file(name)))).then(
    ([charts, alarms, format]) => {
      const points = new Map([[12, { waiting: 500 }]]);
      const steps = charts.steps(points, { from: 10, to: 14, step: 1, last: { waiting: 2 } });
      const seen = new Map();
      const see = (nodes, second) => alarms.goneNodes(seen, nodes, second * 1000);
      done({
        latencies: [0, 0.005, 0.0463, 62.44, 1234].map(format.brief),
        lone: charts.loneSteps([3, null, null, 4, null, 1, 2, null]),
        levels: steps.levelOf(point => point.waiting),
        counts: steps.of(point => point.waiting),
        gone: [
          see([node('1', 0), node('2', 0)], 10), see([node('1', 0)], 15),
          see([node('1', 0), node('3', 14)], 20), see([node('1', 0), node('3', 14)], 200),
          see([node('3', 14)], 205),
        ],
        alarms: alarms.alarmsOf({
          ready: { error: { status: 503, reasons: ['the disk is full', 'store_stalled'],
            warnings: ['a new warning', 'synchronous_standbys_hidden'] } },
          audit: { error: { status: 503, message: 'the store is away' }, data: { findings: [
            { rule: 'I2', sale: 'autumn', item: 'lamp', detail: 'total 3 is not 4' }] } },
          nodes: ask({ nodes: [{ node: '1', leader: true, lag_ms: 1600, roles: ['api'] },
            { node: '4', leader: false, lag_ms: 2500, roles: ['edge'] }], slots: [] }),
          gone: [{ node: '2', last: 0 }],
          ends: ask({ endpoints: [{ url: 'https://a.example', enabled: false, waiting: 3, dead: 0 },
            { url: 'https://b.example', enabled: true, oldest_waiting_at: '2020-01-01T00:00:00Z' }] }),
          refunds: ask({ dead_letters: [{}] }),
          tickets: ask({ dead_letters: [] }),
        }).map(({ text, todo }) => [text.replace(/[0-9:]{8}/, 'noon'), todo ?? '']),
      });
    },
  ).catch(error => done({ error: String(error) }));";

#[tokio::test]
async fn a_burst_of_one_step_is_a_point_and_each_alarm_says_what_to_do() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        let parts = tab.run(PARTS).await;
        assert_eq!(parts["lone"], json!([0, 3]), "{parts}");
        assert_eq!(parts["latencies"], json!(["0", "0.005", "0.046", "62.4", "1.2k"]));
        assert_eq!(parts["levels"], json!([2, 2, 500, 500]));
        assert_eq!(parts["counts"], json!([0, 0, 500, 0]));
        let gone = json!({"node": "2", "last": 10_000});
        let gone_late = json!({"node": "1", "last": 200_000});
        assert_eq!(
            parts["gone"],
            json!([[], [gone], [], [], [gone_late]]),
            "node 3 replaces node 2, and starts too early to replace node 1"
        );
        let stalled = "The database does not commit. Orders wait. Check the database and its \
                       standbys.";
        assert_eq!(
            parts["alarms"],
            json!([
                ["This node is not ready: the disk is full.", "Read the node’s log."],
                [stalled, ""],
                ["Warning: a new warning.", "Read the node’s log."],
                ["Grant the node’s database user the right pg_monitor.", ""],
                [
                    "autumn / lamp: I2: total 3 is not 4. ",
                    "The server pauses the affected sale. Read the audit before you resume it."
                ],
                ["Audit: cannot be read (the store is away).", "Read the node’s log."],
                ["Node 2 has been gone since noon.", "If nobody stopped it, start it again."],
                [
                    "Node 1 last reported 1.6 s ago.",
                    "Check its machine, and its connection to the database or the nodes."
                ],
                [
                    "3 events wait, because the receiver https://a.example is disabled.",
                    "Repair the receiver, then enable it."
                ],
                [
                    "Events for https://b.example have waited since noon.",
                    "Read the error in its deliveries."
                ],
                [
                    "The provider did not make a refund.",
                    "Read the reason, then send the refund again."
                ]
            ])
        );
    })
    .await;
}

/// Returns the numbers of sold, held and remaining units in the live view.
const NUMBERS: &str = "['sold', 'held', 'left'].map(name =>
    Number(document.querySelector(`[data-number=${name}]`).textContent.replace(/\\D/g, '')))";
/// The stock, which is larger than the number of units that the test can sell.
const STOCK: u64 = 100_000;
/// Returns the number of requests a second that the legend of the first chart shows.
const REQUESTS_NOW: &str = "Number(document.querySelector('.chart__keys b')?.textContent)";

#[tokio::test]
async fn a_chart_of_a_running_sale_shows_the_present_requests() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("lamp", STOCK, 1, 900)]).await;
    let buying = async {
        for buyer in 0_u64.. {
            let spec = PurchaseSpec::new(&format!("b{buyer}"), "k", "spring", 1).item("lamp");
            fixture.buy(&spec).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let watching = Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring").await;
        tab.until(&format!("{REQUESTS_NOW} > 0")).await;
        let look = format!(
            "const done = arguments[0];
             const seen = [];
             const timer = setInterval(() => {{
               seen.push({REQUESTS_NOW});
               if (seen.length === 40) {{ clearInterval(timer); done(seen); }}
             }}, 100);"
        );
        let seen = tab.run(&look).await;
        // While buyers buy, the view must show the server's numbers, which may be at most three
        // seconds old.
        for sample in 0..4 {
            let before = fixture.stock("spring").await.held;
            let fresh = tokio::time::timeout(FRESH, async {
                loop {
                    let shown = tab.eval(NUMBERS).await;
                    if shown[1].as_u64() >= Some(before) {
                        break shown;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            let shown = fresh
                .await
                .unwrap_or_else(|_| panic!("the numbers of sample {sample} are too old"));
            let [sold, held, left] = [0, 1, 2].map(|at| shown[at].as_u64().expect("a number"));
            assert_eq!(
                (sold, held + left),
                (0, STOCK),
                "the numbers must belong to the same moment: {shown}"
            );
            assert!(held <= fixture.stock("spring").await.held, "{shown}");
        }
        let zeros = seen.as_array().expect("numbers").iter().filter(|now| **now == 0).count();
        assert!(zeros < 10, "the legend often shows 0 while a buyer buys: {seen}");
    });
    tokio::select! {
        () = watching => {}
        () = buying => unreachable!("buying never ends"),
    }
}

#[tokio::test]
async fn a_viewer_changes_nothing_and_an_operator_neither_keys_nor_receivers() {
    let fixture = ServerFixture::start();
    super::sale(&fixture, "spring", json!({"stock": 2})).await;
    let body = json!({"name": "night shift", "role": "viewer"});
    let made = fixture.admin("POST", "/v1/admin/keys", Some(&body)).await.json();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in_with(&tab, &fixture, made["key"].as_str().expect("a key")).await;
        shows(&tab, "Lamps of the small workshop").await;
        open_view(&tab, "#/sales/spring").await;
        shows(&tab, "Every unit is accounted for").await;
        let buttons =
            "[...document.querySelectorAll('main button')].map(b => b.textContent.trim())";
        let buttons = tab.eval(buttons).await.to_string();
        for change in ["Pause", "Close", "Adjust stock"] {
            assert!(
                !buttons.contains(change),
                "a viewer must not have the button {change}: {buttons}"
            );
        }
        open_view(&tab, "#/sales/spring/edit").await;
        shows(&tab, "Your key can read data, but cannot change it.").await;

        // Unlike a viewer, an operator may change blocks and access codes. But an operator may not
        // change keys or receivers.
        let body = json!({"name": "day shift", "role": "operator"});
        let made = fixture.admin("POST", "/v1/admin/keys", Some(&body)).await.json();
        press(&tab, "Sign out").await;
        sign_in_with(&tab, &fixture, made["key"].as_str().expect("a key")).await;
        shows(&tab, "New sale").await;
        open_view(&tab, "#/access").await;
        shows(&tab, "day shift").await;
        shows(&tab, "The sale has no codes.").await;
        let buttons = "[...document.querySelectorAll('main button')]
            .filter(b => b.checkVisibility()).map(b => b.textContent.trim())";
        let allowed = json!(["Block", "Create codes", "Revoke codes"]);
        assert_eq!(tab.eval(buttons).await, allowed);
        open_view(&tab, "#/receivers").await;
        shows(&tab, "No receiver. Your shop gets no events.").await;
        assert_eq!(tab.eval(buttons).await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn old_numbers_are_grey_until_the_server_answers_again() {
    let fixture = ServerFixture::start();
    super::sale(&fixture, "spring", json!({"stock": 2})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring").await;
        shows(&tab, "Every unit is accounted for").await;
        tab.until(&format!("{STALE_PANELS} === 0")).await;
        signal(&fixture, "-STOP");
        shows(&tab, "The numbers are old: the last ones came at").await;
        tab.until(&format!("{STALE_PANELS} >= 3")).await;
        signal(&fixture, "-CONT");
        tab.until(&format!("{STALE_PANELS} === 0")).await;

        open_view(&tab, "#/nodes").await;
        shows(&tab, "memory").await;
        signal(&fixture, "-STOP");
        shows(&tab, "The numbers are old: the last ones came at").await;
        tab.until("document.querySelector('.fresh.stale')").await;
        signal(&fixture, "-CONT");
        tab.until("!document.querySelector('.fresh.stale')").await;
    })
    .await;
}
