//! Tests the pages with realistic products: texts in the visitor's language, several pictures,
//! facts, and a button that stays in view. Also tests the order page that a buyer opens with the
//! order's link.

use serde_json::{Value, json};

use super::axe::{inspect, tab as axe_tab};
use super::driver::Browser;
use super::tab::Tab;
use super::{BUY, STATE, draft, link, plain, sale, states};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;

/// Each picture is the server's own icon, so no other server is needed.
fn picture(color: &str) -> String {
    format!("/favicon.ico?{color}")
}

fn product() -> Value {
    json!({
        "title": {"en": "Ora lamp", "zh": "Ora 台灯"},
        "description": {"en": "Oiled oak and linen.", "ar": "بلوط وكتان."},
        "image": picture("front"),
        "gallery": [{"image": picture("back"), "alt": {"en": "The back", "zh": "背面"}},
                    {"image": picture("box"), "alt": ""}],
        "facts": [{"name": {"en": "Weight", "zh": "重量"}, "value": "1.2 kg"},
                  {"name": "Height", "value": {"en": "Forty centimetres", "zh": "四十厘米"}}]
    })
}

async fn is_in_view(tab: &Tab<'_>, css: &str) -> bool {
    let script = format!(
        "(() => {{ const r = document.querySelector('{css}').getBoundingClientRect();
            return r.top >= 0 && r.bottom <= innerHeight && r.height > 0; }})()"
    );
    tab.eval(&script).await == json!(true)
}

#[tokio::test]
async fn a_product_speaks_the_visitors_language_and_shows_its_pictures_and_facts() {
    let fixture = ServerFixture::start();
    draft(&fixture, "open", product(), json!({"title": {"en": "Spring drop", "zh": "春季抢购"}}))
        .await;
    fixture.step("open", "open").await;
    Browser::with_browser(async |browser| {
        let tab = axe_tab(browser).await;
        tab.go(&link(fixture.address, "/sale/open?lang=zh", "ann")).await;
        tab.says("#name", "Ora 台灯").await;
        tab.has("#name", "lang", "zh").await;
        tab.says("#edition", "春季抢购").await;
        tab.says("#lead", "Oiled oak").await;
        tab.has("#lead", "lang", "en").await;
        tab.has("#lead", "dir", "ltr").await;
        tab.says("#facts-rows", "重量").await;
        tab.says("#facts-rows", "四十厘米").await;
        inspect(&tab, "a product in Chinese").await;
        tab.go(&link(fixture.address, "/sale/open?lang=en", "ann")).await;
        tab.says("#name", "Ora lamp").await;
        tab.until("document.querySelectorAll('#gallery button').length === 3").await;
        tab.has("#image", "alt", "Ora lamp").await;
        tab.click("#gallery button:nth-child(2)").await;
        tab.has("#image", "alt", "The back").await;
        tab.has("#gallery button:nth-child(2)", "aria-pressed", "true").await;
        tab.has("#gallery button:nth-child(1)", "aria-pressed", "false").await;
        inspect(&tab, "a product").await;
        tab.go(&plain(fixture.address, "/?lang=zh")).await;
        tab.says("#sales", "春季抢购").await;
    })
    .await;
}

/// A script that returns the item names that do not fit into their elements.
const CUT_NAMES: &str = "[...document.querySelectorAll('.item__name')].filter(name =>
    name.scrollWidth > name.clientWidth || name.scrollHeight > name.clientHeight + 1)
  .map(name => name.textContent)";
/// A script that returns the item names that are written from right to left.
const RIGHT_TO_LEFT: &str = "[...document.querySelectorAll('.item__name')].filter(name =>
    getComputedStyle(name).direction === 'rtl').map(name => name.textContent)";

/// Returns the name of item `n`. Name 2 is in Arabic, and name 3 is in Hebrew without a language
/// code. The other names are long and in English.
fn long_name(n: usize) -> Value {
    match n {
        2 => json!({"ar": "مصباح أورا الكبير"}),
        3 => json!("מנורת אורה הגדולה"),
        _ => json!(format!("Ora lamp number {n} with a shade of oiled linen")),
    }
}

#[tokio::test]
async fn the_button_is_in_view_with_seven_items_and_while_one_reads_on_a_phone() {
    let fixture = ServerFixture::start();
    let item = |n: usize| {
        let mut item = product();
        let more = json!({"id": format!("lamp-{n}"), "title": long_name(n),
            "price": {"amount_minor": 4900, "currency": "EUR"}, "stock": 10,
            "description": "Oiled oak and linen. ".repeat(60)});
        item.as_object_mut().expect("an item").extend(more.as_object().expect("one").clone());
        item
    };
    let items: Vec<Value> = (1..=7).map(item).collect();
    draft(&fixture, "many", json!({}), json!({ "items": items })).await;
    fixture.step("many", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        for width in [360, 1280] {
            // The height of a small phone.
            let size =
                json!({"width": width, "height": 640, "deviceScaleFactor": 1, "mobile": false});
            tab.protocol("Emulation.setDeviceMetricsOverride", size).await;
            tab.go(&link(fixture.address, "/sale/many", "ann")).await;
            tab.says(BUY, "Buy now · €49.00").await;
            assert!(
                is_in_view(&tab, BUY).await,
                "the button is outside of the window at {width} px"
            );
            assert_eq!(tab.eval(CUT_NAMES).await, json!([]), "names are cut at {width} px");
        }
        assert_eq!(
            tab.eval(RIGHT_TO_LEFT).await,
            json!(["مصباح أورا الكبير", "מנורת אורה הגדולה"])
        );
        for (item, dir) in [("lamp-2", "rtl"), ("lamp-3", "auto"), ("lamp-4", "auto")] {
            tab.eval(&format!("document.querySelector('#items input[value={item}]').click()"))
                .await;
            tab.has("#name", "dir", dir).await;
            let drawn =
                tab.eval("getComputedStyle(document.querySelector('#name')).direction").await;
            assert_eq!(drawn, if item == "lamp-4" { "ltr" } else { "rtl" }, "{item}");
        }
        tab.eval("document.querySelector('#items input[value=lamp-1]').click()").await;
        tab.width(360).await;
        for place in ["#facts", "#how"] {
            let to = format!("document.querySelector('{place}').scrollIntoView()");
            tab.eval(&to).await;
            assert!(is_in_view(&tab, BUY).await, "the button is outside of the window at {place}");
            tab.until("document.querySelector('#press-what').checkVisibility()").await;
            tab.says("#press-what", "Ora lamp number 1 with a shade of oiled linen €49.00").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_buyer_who_lost_the_tab_comes_back_by_the_link_and_pays() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "open", 1).item("lamp")).await;
    let order = bought.id();
    Browser::with_browser(async |browser| {
        let tab = axe_tab(browser).await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        tab.says("#state", "Reserved for you").await;
        tab.eval(
            "(() => { Object.defineProperty(navigator, 'clipboard', { configurable: true, value:
               { writeText: async words => { window.copied = words; } } }); })()",
        )
        .await;
        tab.click("#copy-link").await;
        tab.says("#link-note", "Link copied").await;
        let address = tab.until("window.copied").await.as_str().expect("a link").to_owned();
        assert!(address.contains(&format!("/order/{order}#key=")), "{address}");
        // Removes the cookie and everything stored. The tab is then like another browser, which has
        // no access to the order.
        tab.eval(
            "fetch('/v1/session', { method: 'DELETE', headers: { 'X-Doorbuster-Page': '1' } })
               .then(() => { localStorage.clear(); sessionStorage.clear(); })",
        )
        .await;
        tab.go(&plain(fixture.address, &format!("/order/{order}"))).await;
        tab.says("#pill", "Not signed in").await;
        tab.go(&address).await;
        tab.says("#state", "Reserved for you").await;
        tab.until("!location.hash").await;
        tab.until("document.querySelector('#side').hidden").await;
        inspect(&tab, "an order by its link").await;
        tab.has("#pay", "aria-disabled", "false").await;
        tab.click("#pay").await;
        tab.until("location.pathname.startsWith('/sandbox/checkout/')").await;
        tab.says("#pill", "Waiting for you").await;
        tab.click("[data-does=pay]").await;
        tab.until("location.pathname.startsWith('/order/')").await;
        tab.says("#state", "Paid. It’s yours.").await;
        assert_eq!(states(&fixture, "open").await, ["paid"]);
        let wrong = address.replace("#key=", "#key=0");
        tab.go(&plain(fixture.address, "/")).await;
        tab.eval("sessionStorage.clear()").await;
        tab.go(&wrong).await;
        tab.says("#state", "This link no longer opens the order").await;
        inspect(&tab, "a link that ended").await;
    })
    .await;
}

#[tokio::test]
async fn a_reserved_order_is_shown_again_after_a_look_at_another_item() {
    let fixture = ServerFixture::start();
    let item = |id: &str| {
        json!({"id": id, "title": id, "stock": 1, "limit_per_buyer": 1,
            "price": {"amount_minor": 4900, "currency": "EUR"}})
    };
    let items = json!([item("lamp"), item("bulb")]);
    draft(&fixture, "two", json!({}), json!({ "items": items })).await;
    fixture.step("two", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        let look_at = async |item: &str| {
            tab.eval(&format!("document.querySelector('#items input[value={item}]').click()"))
                .await;
        };
        tab.go(&link(fixture.address, "/sale/two", "ann")).await;
        tab.says(BUY, "Buy now · €49.00").await;
        for item in ["lamp", "bulb"] {
            look_at(item).await;
            tab.says(BUY, "Buy now · €49.00").await;
            tab.click(BUY).await;
            tab.says(STATE, "1 reserved for you").await;
        }
        for item in ["lamp", "bulb"] {
            look_at(item).await;
            tab.says(STATE, "1 reserved for you").await;
        }
        assert_eq!(states(&fixture, "two").await, ["reserved", "reserved"]);
    })
    .await;
}
