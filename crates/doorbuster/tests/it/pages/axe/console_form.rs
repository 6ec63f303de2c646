//! Tests the form of a sale in the console: what it saves, and what it leaves unchanged.

use serde_json::{Value, json};

use super::super::driver::Browser;
use super::super::tab::Tab;
use super::console::{fill, open_view, press, shows, sign_in};
use super::{draft, in_secs};
use crate::crash_windows::fixture::ServerFixture;

/// The Delete key in the WebDriver protocol.
const DELETE: &str = "\u{e017}";

async fn sale(fixture: &ServerFixture) -> Value {
    fixture.get_ok("/v1/admin/sales/spring").await
}

/// Returns the limit for one buyer, or `None` if the server's default applies.
async fn buyer_limit(fixture: &ServerFixture) -> Option<Value> {
    sale(fixture).await["front_door"]["limits"].get("buyer").cloned()
}

async fn save(tab: &Tab<'_>) {
    press(tab, "Save").await;
    shows(tab, "Saved.").await;
}

#[tokio::test]
async fn a_form_keeps_the_changes_of_another_operator() {
    let fixture = ServerFixture::start();
    draft(&fixture, "spring", json!({}), json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring/edit").await;
        fill(&tab, "Title", 0, "Spring drop").await;

        let limits = json!({"front_door": {"limits": {"buyer": null}}});
        let patched = fixture.admin("PATCH", "/v1/admin/sales/spring", Some(&limits)).await;
        assert_eq!(patched.status, 200, "{patched}");
        press(&tab, "Save").await;
        shows(&tab, "The sale changed meanwhile.").await;
        assert_ne!(sale(&fixture).await["title"], "Spring drop", "nothing must be saved yet");
        save(&tab).await;
        assert_eq!(sale(&fixture).await["title"], "Spring drop");
        assert_eq!(buyer_limit(&fixture).await, Some(Value::Null));

        // The phase is not in the form. So the operator can save the form although the phase has
        // changed since the form was opened.
        fixture.step("spring", "open").await;
        fixture.step("spring", "pause").await;
        open_view(&tab, "#/sales").await;
        open_view(&tab, "#/sales/spring/edit").await;
        fill(&tab, "Title", 0, "Spring drop, again").await;
        fixture.step("spring", "resume").await;
        save(&tab).await;
        assert_eq!(sale(&fixture).await["title"], "Spring drop, again");
    })
    .await;
}

#[tokio::test]
async fn a_second_save_undoes_the_first() {
    let fixture = ServerFixture::start();
    draft(&fixture, "spring", json!({}), json!({})).await;
    let own = Some(json!({"burst": 5, "per_minute": 50}));
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring/edit").await;
        let own_limit = async || {
            fill(&tab, "Limit for one buyer", 0, "own").await;
            fill(&tab, "Buyer: requests at once", 0, "5").await;
            fill(&tab, "Buyer: requests a minute", 0, "50").await;
            save(&tab).await;
        };
        own_limit().await;
        assert_eq!(buyer_limit(&fixture).await, own);
        fill(&tab, "Limit for one buyer", 0, "default").await;
        save(&tab).await;
        assert_eq!(buyer_limit(&fixture).await, None);

        fill(&tab, "Title", 0, "[en] Lamps\n[de] Lampen").await;
        save(&tab).await;
        assert_eq!(sale(&fixture).await["title"], json!({"en": "Lamps", "de": "Lampen"}));
        fill(&tab, "Title", 0, "[en] Lamps").await;
        save(&tab).await;
        assert_eq!(sale(&fixture).await["title"], json!({"en": "Lamps"}));

        // The server refuses one field of the form. In this case, the server must save no other
        // field either.
        own_limit().await;
        fill(&tab, "Limit for one buyer", 0, "default").await;
        fill(&tab, "Picture", 0, "no address").await;
        press(&tab, "Save").await;
        shows(&tab, "must be an https address or a path").await;
        assert_eq!(buyer_limit(&fixture).await, own);
    })
    .await;
}

#[tokio::test]
async fn a_partly_typed_time_is_a_fault_and_not_an_empty_time() {
    let fixture = ServerFixture::start();
    let (_, ends_at) = in_secs(86_400);
    draft(&fixture, "spring", json!({}), json!({ "ends_at": ends_at })).await;
    let before = sale(&fixture).await["ends_at"].clone();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring/edit").await;
        tab.until("document.querySelector('#f-ends_at')?.value").await;
        tab.keys_to("#f-ends_at", DELETE).await;
        tab.until("document.querySelector('#f-ends_at').validity.badInput").await;
        press(&tab, "Save").await;
        shows(&tab, "must be a complete date and time").await;
        assert_eq!(sale(&fixture).await["ends_at"], before);
    })
    .await;
}

#[tokio::test]
async fn a_year_of_five_digits_is_a_fault_and_the_form_stays_usable() {
    let fixture = ServerFixture::start();
    draft(&fixture, "spring", json!({}), json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring/edit").await;
        fill(&tab, "Opens at", 0, "20261-11-28T20:00").await;
        press(&tab, "Save").await;
        shows(&tab, "must be a complete date and time").await;
        fill(&tab, "Opens at", 0, "2099-11-28T20:00").await;
        save(&tab).await;
        assert_ne!(sale(&fixture).await["starts_at"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn a_price_with_a_comma_before_three_digits_is_a_fault() {
    let fixture = ServerFixture::start();
    let amount = |minor: u32| json!({"amount_minor": minor, "currency": "IQD"});
    draft(&fixture, "spring", json!({"price": amount(1), "list_price": amount(2)}), json!({}))
        .await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring/edit").await;
        fill(&tab, "Price", 0, "25,000").await;
        press(&tab, "Save").await;
        shows(&tab, "must be a number such as 10.00 in IQD").await;
        assert_eq!(sale(&fixture).await["items"][0]["price"], amount(1));
        fill(&tab, "Price", 0, "24.5").await;
        fill(&tab, "Crossed-out price", 0, "25.000").await;
        save(&tab).await;
        assert_eq!(sale(&fixture).await["items"][0]["price"], amount(24_500));
        assert_eq!(sale(&fixture).await["items"][0]["list_price"], amount(25_000));
    })
    .await;
}

#[tokio::test]
async fn a_copied_sale_has_the_facts_pictures_and_texts_of_its_source() {
    let fixture = ServerFixture::start();
    let item = json!({
        "title": "[new] Ora lamp",
        "description": "[sic] Oiled oak and linen.",
        "facts": [{"name": "Ratio 16:9", "value": "yes"}, {"name": "Weight", "value": "1.2 kg"}],
        "gallery": [{"image": "/lamp.webp", "alt": "The lamp,  lit"}]
    });
    draft(&fixture, "spring", item, json!({"title": "[new] Lamps"})).await;
    let source = sale(&fixture).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/new?copy=spring").await;
        fill(&tab, "Id", 0, "summer").await;
        press(&tab, "Create the draft").await;
        tab.until("location.hash === '#/sales/summer'").await;
        let copy = fixture.get_ok("/v1/admin/sales/summer").await;
        assert_eq!(copy["title"], source["title"]);
        for name in ["title", "description", "facts", "gallery"] {
            assert_eq!(copy["items"][0][name], source["items"][0][name], "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_copied_sale_has_the_spread_of_its_source() {
    let fixture = ServerFixture::start();
    draft(&fixture, "spring", json!({}), json!({})).await;
    let path = |sale: &str| format!("/v1/admin/sales/{sale}/items/lamp/spread");
    let mut spread = fixture.get_ok(&path("spring")).await;
    spread["partitions"] = json!(4);
    let put = fixture.admin("PUT", &path("spring"), Some(&spread)).await;
    assert_eq!(put.status, 200, "{put}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/new?copy=spring").await;
        fill(&tab, "Id", 0, "summer").await;
        press(&tab, "Spread over slots").await;
        fill(&tab, "Choice of a partition", 0, "random").await;
        press(&tab, "Create the draft").await;
        tab.until("location.hash === '#/sales/summer'").await;
        let spread = fixture.get_ok(&path("summer")).await;
        assert_eq!((&spread["partitions"], &spread["choose"]), (&json!(4), &json!("random")));
    })
    .await;
}

#[tokio::test]
async fn an_operator_changes_the_spread_of_a_running_sale() {
    let fixture = ServerFixture::start();
    draft(&fixture, "spring", json!({"stock": 8}), json!({})).await;
    fixture.step("spring", "open").await;
    let path = "/v1/admin/sales/spring/items/lamp/spread";
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        open_view(&tab, "#/sales/spring/edit").await;
        press(&tab, "Spread over slots").await;
        fill(&tab, "Partitions", 0, "4").await;
        press(&tab, "Save the spread").await;
        shows(&tab, "Saved.").await;
        assert_eq!(fixture.get_ok(path).await["partitions"], 4);
        fill(&tab, "Partitions", 0, "65").await;
        press(&tab, "Save the spread").await;
        tab.until("document.querySelector('fieldset [aria-invalid=true], fieldset [role=alert]')")
            .await;
        assert_eq!(
            fixture.get_ok(path).await["partitions"],
            4,
            "a wrong number must change nothing"
        );
    })
    .await;
}
