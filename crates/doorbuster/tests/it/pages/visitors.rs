//! Tests different kinds of visitors: the shop's buyers, unknown visitors, guests of a demo,
//! readers of Chinese, and browsers that run no scripts.

use doorbuster_api::value::{Currency, Money};
use serde_json::{Value, json};

use super::driver::Browser;
use super::{BUY, STATE, demonstration, draft, link, plain, sale, states};
use crate::crash_windows::client::{PurchaseSpec, request};
use crate::crash_windows::fixture::ServerFixture;

/// Records everything that the page's security policy blocks, from the start of the page.
const RECORD_VIOLATIONS: &str = "window.breaches = [];
    addEventListener('securitypolicyviolation', event => breaches.push(event.violatedDirective + ' ' + event.blockedURI));";

#[tokio::test]
async fn the_token_is_removed_from_the_address_and_other_tabs_know_the_buyer() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let (ann, other) = (browser.tab().await, browser.tab().await);
        let link = link(fixture.address, "/sale/open", "ann");
        ann.go(&link).await;
        assert_eq!(ann.url().await, plain(fixture.address, "/sale/open"));
        let token = link.split_once("#token=").expect("a token").1;
        let stored = ann.eval("sessionStorage.getItem('doorbuster.token')").await;
        assert_eq!(stored, token);
        assert_eq!(
            ann.eval("JSON.stringify({ ...localStorage })")
                .await
                .as_str()
                .expect("text")
                .find(token),
            None
        );
        ann.reload().await;
        ann.says(BUY, "Buy now").await;
        ann.until("localStorage['doorbuster.session'] === 'true'").await;
        assert_eq!(
            ann.eval("document.cookie").await,
            "",
            "scripts must not be able to read the cookie"
        );
        other.go(&plain(fixture.address, "/sale/open")).await;
        other.says(BUY, "Buy now").await;
        assert_eq!(other.eval("sessionStorage.getItem('doorbuster.token')").await, Value::Null);
    })
    .await;
}

#[tokio::test]
async fn a_visitor_without_a_token_is_asked_to_sign_in() {
    let fixture = ServerFixture::with(&[
        ("DOORBUSTER_AUTH__SIGN_IN_URL", "/sign-in"),
        ("DOORBUSTER_PAGE__SHOP", "灯坊 & Söhne"),
    ]);
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&plain(fixture.address, "/sale/open")).await;
        tab.says(STATE, "Sign in to buy").await;
        tab.says("#go", "Sign in to buy").await;
        let back = format!("http%3A%2F%2F127.0.0.1%3A{}%2F", fixture.address.port());
        tab.has("#go", "href", &format!("/sign-in?return_to={back}sale%2Fopen")).await;
        tab.says(".brand", "灯坊 & Söhne").await;
        tab.go(&plain(fixture.address, "/order/ord_1")).await;
        tab.says("#state", "Sign in to see your order").await;
        tab.has("#go", "href", &format!("/sign-in?return_to={back}order%2Ford_1")).await;
        tab.go(&plain(fixture.address, "/orders")).await;
        tab.says("#orders", "Sign in to see your orders.").await;
        tab.has("#orders-signin", "href", &format!("/sign-in?return_to={back}")).await;
        // A visitor with an invalid token must see the same as a visitor without a token.
        tab.go(&plain(fixture.address, "/sale/open#token=forged")).await;
        tab.says(STATE, "Sign in to buy").await;
    })
    .await;
    assert!(states(&fixture, "open").await.is_empty());
}

#[tokio::test]
async fn without_a_sign_in_address_the_page_asks_for_the_shops_link() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&plain(fixture.address, "/sale/open")).await;
        tab.says(STATE, "Sign in at the shop to buy").await;
        tab.has(BUY, "aria-disabled", "true").await;
        tab.go(&plain(fixture.address, "/order/ord_1")).await;
        tab.says("#text", "from the shop’s own link").await;
        tab.go(&plain(fixture.address, "/orders")).await;
        tab.says("#orders", "from the shop’s own link to see your orders").await;
    })
    .await;
}

#[tokio::test]
async fn a_demo_guest_buys_at_once_and_stays_the_same_guest() {
    let fixture = demonstration();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&plain(fixture.address, "/sale/open")).await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        tab.click("#go").await;
        tab.says("#sandbox", "you won’t be charged").await;
        // A guest can also pay at the sandbox.
        tab.click("#pay").await;
        tab.click("[data-does=pay]").await;
        tab.says("#state", "Paid. It’s yours.").await;
        tab.go(&plain(fixture.address, "/")).await;
        tab.says("#sales", "Lamps from the small workshop").await;
        tab.says("#orders-list", "1 × Ora lamp").await;
        // On the documentation page, the form for a purchase must buy a unit without any input. It
        // must put the order's id into the form that reads an order.
        tab.load(&plain(fixture.address, "/docs#purchase")).await;
        let said = async |form: &str, words: &str| {
            tab.click(&format!("#{form} form button")).await;
            tab.until(&format!(
                "document.querySelector('#{form} form [role=status]').innerText.startsWith('{words}')"
            ))
            .await;
        };
        tab.until("document.querySelector('#try-purchase-body')?.value.includes('\"open\"')").await;
        said("purchase", "201").await;
        tab.click("#get_order > summary").await;
        tab.until("document.querySelector('#try-get_order-order')?.value.startsWith('ord_')").await;
        said("get_order", "200").await;
    })
    .await;
}

#[tokio::test]
async fn the_page_is_shown_in_chinese_and_keeps_the_choice() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Buy now").await;
        tab.click(".tongue [lang=zh-Hans]").await;
        tab.says(BUY, "立即抢购 · €49.00").await;
        assert_eq!(tab.eval("document.documentElement.lang").await, "zh-Hans");
        tab.click(BUY).await;
        tab.says(STATE, "抢到了！已为你保留 1 件").await;
        tab.click("#go").await;
        tab.says("#state", "已为你保留").await;
        tab.says("#side", "取消订单").await;
        tab.go(&plain(fixture.address, "/")).await;
        tab.says("h1", "抢购活动").await;
        assert_eq!(tab.eval("document.title").await, "抢购活动 – Doorbuster");
    })
    .await;
}

#[tokio::test]
async fn an_unknown_address_is_reported_with_a_way_back() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&plain(fixture.address, "/sale/nothing")).await;
        tab.says("#lost-title", "There is no such sale").await;
        tab.go(&link(fixture.address, "/order/ord_nothing", "ann")).await;
        tab.says("#state", "There is no such order").await;
        tab.click("#back").await;
        tab.says("#none-title", "No sales right now").await;
    })
    .await;
}

#[tokio::test]
async fn without_javascript_every_page_says_that_it_is_required() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.protocol("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
        for (path, words) in [
            ("/sale/open", "This page needs JavaScript"),
            ("/order/ord_1", "This page needs JavaScript"),
            ("/", "Buying needs"),
        ] {
            tab.load(&plain(fixture.address, path)).await;
            tab.says(".nojs", words).await;
            let seen = tab.eval("document.querySelector('main').innerText").await;
            let seen = seen.as_str().expect("text");
            assert!(seen.contains(words) && seen.contains("需要启用 JavaScript"), "{path}: {seen}");
            let priced = path.starts_with("/order") || seen.contains("49.00 EUR");
            assert!(priced, "{path} must show the price: {seen}");
            assert!(
                !seen.contains("Buy now") && !seen.contains('…'),
                "the page shows a button or text that needs scripts: {seen}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_price_has_the_servers_decimals_in_every_currency() {
    const MINOR: i64 = 1_234_560;
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        for code in ["EUR", "RSD", "IQD", "KWD", "JPY", "CLF"] {
            let of = |amount_minor: i64| json!({"amount_minor": amount_minor, "currency": code});
            let name = sale(
                &fixture,
                &code.to_lowercase(),
                json!({"price": of(MINOR), "list_price": of(2 * MINOR)}),
            )
            .await;
            tab.go(&plain(fixture.address, &format!("/sale/{name}?lang=en"))).await;
            tab.until("document.querySelector('#price').textContent.length > 0").await;
            let shown: String = tab
                .text("#price")
                .await
                .chars()
                .filter(|letter| letter.is_ascii_digit() || *letter == '.')
                .collect();
            let meant =
                Money { amount_minor: MINOR, currency: Currency::parse(code).expect("a currency") }
                    .to_string();
            assert_eq!(Some(shown.as_str()), meant.split(' ').next(), "{code}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_documentation_shows_every_operation_and_loads_nothing_from_other_origins() {
    let fixture = ServerFixture::start();
    let contract = fixture.ask(&request("GET", "/openapi.json", "", None)).await.json();
    let paths = contract["paths"].as_object().expect("paths").values();
    let operations = paths.flat_map(|path| path.as_object().expect("operations").values());
    let operations = operations.filter(|operation| operation["operationId"].is_string()).count();
    assert!(operations > 0, "{contract}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(RECORD_VIOLATIONS).await;
        tab.load(&plain(fixture.address, "/docs")).await;
        tab.until(&format!("document.querySelectorAll('.endpoint').length === {operations}")).await;
        tab.click("#list_sales > summary").await;
        tab.until("document.querySelector('#list_sales form')?.checkVisibility()").await;
        tab.click("#list_sales form button").await;
        tab.until(
            "document.querySelector('#list_sales [role=status]').innerText.startsWith('200')",
        )
        .await;
        // The forms of these endpoints need a token. Without one, a form says how to get a token,
        // and sends no request.
        tab.eval("document.querySelectorAll('.endpoint').forEach(one => one.open = true)").await;
        tab.says("#purchase .try", "doorbuster token buyer").await;
        for form in ["purchase", "list_nodes"] {
            tab.click(&format!("#{form} form button")).await;
            tab.says(&format!("#{form} form [role=status]"), "No request was sent").await;
        }
        let missing =
            "[...document.querySelectorAll('a[href^=\"#\"]')].map(link => link.hash.slice(1))
            .filter(id => document.querySelectorAll('#' + CSS.escape(id)).length !== 1)";
        assert_eq!(tab.eval(missing).await, json!([]));
        tab.eval(
            "document.querySelector('#search').value = 'waitlist join',
            document.querySelector('#search').dispatchEvent(new Event('input'))",
        )
        .await;
        tab.until("document.querySelector('#found').textContent === '1 endpoint'").await;
        assert_eq!(tab.eval("breaches").await, json!([]));
        let loaded =
            tab.eval("performance.getEntriesByType('resource').map(entry => entry.name)").await;
        let loaded: Vec<String> = serde_json::from_value(loaded).expect("addresses");
        assert!(loaded.contains(&plain(fixture.address, "/openapi.json")), "{loaded:?}");
        let own = plain(fixture.address, "/");
        assert!(loaded.iter().all(|address| address.starts_with(own.as_str())), "{loaded:?}");
    })
    .await;
}

#[tokio::test]
async fn a_violation_of_the_pages_policy_is_noticed() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&plain(fixture.address, "/")).await;
        tab.eval("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\" onclick=\"1\">')").await;
        let complaints = browser.complaints().await;
        assert!(complaints.iter().any(|line| line.contains("Content Security Policy")), "{complaints:?}");
    })
    .await;
}

#[tokio::test]
async fn a_buyer_who_lost_the_tab_comes_back_without_a_token_and_pays() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true")]);
    sale(&fixture, "open", json!({"limit_per_buyer": 1})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Buy now").await;
        tab.until("localStorage['doorbuster.session'] === 'true'").await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        // The test clears the session storage and opens an address without a token. So the tab
        // behaves like a new tab of the same buyer.
        let order = tab.eval("document.querySelector('#go').getAttribute('href')").await;
        tab.eval("sessionStorage.clear()").await;
        tab.load(&plain(fixture.address, "/sale/open")).await;
        tab.says(STATE, "1 reserved for you").await;
        tab.until("document.querySelector('#act').hidden").await;
        tab.load(&plain(fixture.address, order.as_str().expect("an address"))).await;
        tab.says("#pay", "Pay €49.00").await;
        tab.click("#pay").await;
        tab.click("[data-does=pay]").await;
        tab.says("#state", "Paid. It’s yours.").await;
        tab.says("#side", "Print this order").await;
    })
    .await;
}

#[tokio::test]
async fn a_page_shows_the_order_that_the_buyer_placed_on_another_device() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({"limit_per_buyer": 1})).await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "open", 1).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        // The page waits 10 to 20 seconds before it reads the orders, and the test shortens this
        // wait.
        tab.add_init_script(
            "{ const wait = window.setTimeout;
               window.setTimeout = (run, ms) => wait(run, ms > 10_000 ? ms / 10 : ms); }",
        )
        .await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says(STATE, "1 reserved for you").await;
        tab.until("document.querySelector('#act').hidden").await;
    })
    .await;
}

#[tokio::test]
async fn a_page_shows_the_order_of_another_item_when_the_buyer_selects_the_item() {
    let fixture = ServerFixture::start();
    let item = |id: &str| {
        json!({"id": id, "title": id, "stock": 10, "limit_per_buyer": 1,
            "price": {"amount_minor": 4900, "currency": "EUR"}})
    };
    draft(&fixture, "two", json!({}), json!({"items": [item("lamp"), item("shade")]})).await;
    fixture.step("two", "open").await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "two", 1).item("shade")).await;
    assert_eq!(bought.status, 201, "{bought}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        // The buyer has bought in this browser, so the page reads the orders before it is shown.
        tab.add_init_script(
            "if (location.protocol === 'http:')
               localStorage.setItem('doorbuster.bought.two', JSON.stringify('ann'));",
        )
        .await;
        tab.go(&link(fixture.address, "/sale/two", "ann")).await;
        tab.says(BUY, "Buy now").await;
        tab.eval("document.querySelector('#items input[value=shade]').click()").await;
        tab.says(STATE, "1 reserved for you").await;
    })
    .await;
}
