//! The console, used by an operator without any other tool.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::driver::Browser;
use super::super::tab::Tab;
use super::{inspect, tab};
use crate::test_server::KEY;
use crate::windows::client::PurchaseSpec;
use crate::windows::fixture::{ServerFixture, Stock};

/// How old the numbers of the live view may be.
const FRESH: Duration = Duration::from_secs(3);

/// Types into the control with this label. If several controls have it, `at` chooses one, from 0.
async fn fill(tab: &Tab<'_>, label: &str, at: usize, text: &str) {
    let found = format!(
        "[...document.querySelectorAll('label')].filter(l => l.textContent.trim() === {})[{at}]",
        json!(label)
    );
    tab.until(&found).await;
    let typed = format!(
        "(() => {{ const control = document.getElementById(({found}).htmlFor);
            control.value = {};
            control.dispatchEvent(new Event('input', {{ bubbles: true }}));
            control.dispatchEvent(new Event('change', {{ bubbles: true }})); return true; }})()",
        json!(text)
    );
    tab.eval(&typed).await;
}

/// Presses the button or link with these words, in the open dialog if there is one.
async fn press(tab: &Tab<'_>, words: &str) {
    let found = format!(
        "[...(document.querySelector('dialog[open]') ?? document).querySelectorAll('button, a')]
            .find(e => e.checkVisibility() && e.textContent.trim() === {})",
        json!(words)
    );
    tab.until(&found).await;
    tab.eval(&format!("(({found}).click(), true)")).await;
}

async fn shows(tab: &Tab<'_>, words: &str) {
    tab.until(&format!("document.body.innerText.includes({})", json!(words))).await;
}

async fn sign_in(tab: &Tab<'_>, fixture: &ServerFixture) {
    tab.load(&format!("http://{}/console?lang=en", fixture.address)).await;
    fill(tab, "Operator’s key", 0, KEY).await;
    press(tab, "Sign in").await;
    shows(tab, "New sale").await;
}

async fn open_view(tab: &Tab<'_>, hash: &str) {
    tab.eval(&format!("(location.hash = {}, true)", json!(hash))).await;
}

/// The number in the live view.
async fn number(tab: &Tab<'_>, name: &str) -> Value {
    tab.eval(&format!(
        "Number(document.querySelector('[data-number={name}]')?.textContent.replace(/\\D/g, ''))"
    ))
    .await
}

/// Creates a sale of 2 lamps by the form, after a refusal.
async fn create_by_form(tab: &Tab<'_>) {
    press(tab, "New sale").await;
    fill(tab, "Id", 0, "spring").await;
    fill(tab, "Title", 0, "Spring drop").await;
    fill(tab, "Id", 1, "lamp").await;
    fill(tab, "Title", 1, "Lamp").await;
    fill(tab, "Units to sell", 0, "2").await;
    fill(tab, "Price", 0, "49.00").await;
    fill(tab, "Currency", 0, "EUR").await;
    fill(tab, "Picture", 0, "no address").await;
    press(tab, "Create the draft").await;
    shows(tab, "must be an https address or a path").await;
    let title = "document.querySelectorAll('.field input')[1].value";
    assert_eq!(tab.eval(title).await, "Spring drop", "what was typed is kept");
    fill(tab, "Picture", 0, "").await;
    press(tab, "Create the draft").await;
    tab.until("location.hash === '#/sales/spring'").await;
}

#[tokio::test]
async fn an_operator_runs_a_sale_with_the_console_alone() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.load(&format!("http://{}/console?lang=en", fixture.address)).await;
        fill(&tab, "Operator’s key", 0, "dbk_wrong").await;
        press(&tab, "Sign in").await;
        shows(&tab, "this is not an operator's key").await;
        sign_in(&tab, &fixture).await;

        create_by_form(&tab).await;

        press(&tab, "Check now").await;
        shows(&tab, "payments go to the sandbox").await;
        press(&tab, "Open").await;
        shows(&tab, "Open the sale now?").await;
        press(&tab, "Open").await;
        tab.says(".pill--live", "Open").await;

        for (buyer, verdict) in [("ann", "201"), ("bob", "201"), ("eve", "409 sold_out")] {
            let spec = PurchaseSpec::new(buyer, "k", "spring", 1).item("lamp");
            assert_eq!(fixture.buy(&spec).await.verdict(), verdict, "{buyer}");
        }
        let row = fixture.get_ok("/v1/admin/sales/spring/stock").await["items"][0].clone();
        let stock = Stock::read(&row);
        tokio::time::timeout(FRESH, async {
            while number(&tab, "held").await != stock.held {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .expect("the numbers are fresh");
        assert_eq!(number(&tab, "left").await, stock.free());
        shows(&tab, "Every unit is accounted for").await;
        shows(&tab, "Sold out").await;

        press(&tab, "Pause").await;
        press(&tab, "Pause").await;
        tab.says(".pill--warn", "Paused").await;
        press(&tab, "Resume").await;
        press(&tab, "Resume").await;
        tab.says(".pill--live", "Open").await;

        open_view(&tab, "#/support?sale=spring&buyer=eve").await;
        shows(&tab, "The last reason: Sold out").await;
        open_view(&tab, "#/actions").await;
        for words in ["Sale paused", "Sale resumed", "Sale opened", "Sale created", "Signed in"] {
            shows(&tab, words).await;
        }

        open_view(&tab, "#/sales/spring").await;
        press(&tab, "Close").await;
        press(&tab, "Close").await;
        let phase = &fixture.get_ok("/v1/admin/sales/spring").await["phase"];
        assert_eq!(phase, "open", "closing needs a typed word");
        fill(&tab, "Type “close” to confirm", 0, "close").await;
        press(&tab, "Close").await;
        shows(&tab, "Closed").await;
        press(&tab, "Sign out").await;
        shows(&tab, "Operator’s key").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_usable_by_everyone() {
    let fixture = ServerFixture::start();
    super::sale(&fixture, "spring", json!({"stock": 1})).await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "spring", 1).item("lamp")).await;
    let order = bought.id();
    fixture.buy(&PurchaseSpec::new("eve", "k", "spring", 1).item("lamp")).await;
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.load(&format!("http://{}/console?lang=en", fixture.address)).await;
        shows(&tab, "Operator’s key").await;
        inspect(&tab, "console-sign-in").await;
        sign_in(&tab, &fixture).await;
        let order = format!("#/orders/{order}");
        for (name, hash, words) in [
            ("sales", "#/sales", "held"),
            ("new", "#/new", "Create the draft"),
            ("live", "#/sales/spring", "Every unit is accounted for"),
            ("report", "#/sales/spring/report", "The audit is clean"),
            ("order", order.as_str(), "order.reserved"),
            ("orders", "#/orders", "Reserved"),
            ("support", "#/support?sale=spring&buyer=eve", "The last reason"),
            ("actions", "#/actions", "Sale opened"),
            ("nodes", "#/nodes", "memory"),
            ("access", "#/access", "Erase a buyer"),
        ] {
            open_view(&tab, hash).await;
            shows(&tab, words).await;
            inspect(&tab, &format!("console-{name}")).await;
        }
    })
    .await;
}
