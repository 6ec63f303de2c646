//! Tests the order page before and after the payment: calendar entries, the copied order number,
//! the shop's next steps, and the printed receipt.

use std::path::Path;

use serde_json::json;

use super::driver::Browser;
use super::tab::Tab;
use super::{in_secs, link, plain, sale};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;
use crate::test_server::TempDir;

/// Stores in `window.file` the text of the newest file that the page offers for download. Prevents
/// the browser from saving the file.
const KEEP_FILES: &str = "URL.createObjectURL = blob => {
      blob.text().then(text => { window.file = text; });
      return '#file';
    };
    addEventListener('click', event => {
      if (event.target.download) event.preventDefault();
    });";
/// A browser without a clipboard.
const NO_CLIPBOARD: &str =
    "Object.defineProperty(navigator, 'clipboard', { configurable: true, value: undefined });";

/// Clicks on a calendar link, and checks the form of the file's lines. Returns the lines, with the
/// parts of each folded line joined.
async fn calendar(tab: &Tab<'_>, link: &str) -> Vec<String> {
    tab.eval("(window.file = null, true)").await;
    tab.click(link).await;
    let file = tab.until("window.file").await;
    let file = file.as_str().expect("a text");
    assert!(file.split("\r\n").all(|line| line.len() <= 75), "{file}");
    let whole = file.replace("\r\n ", "");
    assert!(!whole.replace("\r\n", "").contains('\n'), "{file}");
    whole.split("\r\n").map(str::to_owned).collect()
}

fn value<'a>(lines: &'a [String], name: &str) -> &'a str {
    let found = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("there is no {name} in {lines:?}"))
}

fn stamp(time: &str) -> String {
    let time: jiff::Timestamp = time.parse().expect("a time");
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn shop(logo: &Path, next: &str) -> ServerFixture {
    std::fs::write(logo, "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").expect("a file");
    ServerFixture::with(&[
        ("DOORBUSTER_PAGE__SHOP", "Ora, lamps"),
        ("DOORBUSTER_PAGE__SHOP_URL", "https://shop.example/account"),
        ("DOORBUSTER_PAGE__NEXT_STEPS", "Collect it; bring your number."),
        ("DOORBUSTER_PAGE__NEXT_STEPS_ZH", "请凭订单号取货。"),
        ("DOORBUSTER_PAGE__NEXT_STEPS_AT", next),
        ("DOORBUSTER_PAGE__THEME__LOGO", logo.to_str().expect("a path")),
        ("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true"),
    ])
}

#[tokio::test]
async fn a_paid_order_shows_the_next_steps_and_is_printed_with_its_number() {
    let dir = TempDir::new();
    let next = in_secs(300_000).1;
    let fixture = shop(&dir.join("logo.svg"), &next);
    let title = format!("灯, lamp; {}", "灯x".repeat(40));
    let escaped = title.replace(',', "\\,").replace(';', "\\;");
    sale(&fixture, "open", json!({ "title": title, "hold_secs": 240 })).await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "open", 1).item("lamp")).await;
    let (id, pay_by) = (bought.id(), bought.json()["pay_by"].clone());
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(KEEP_FILES).await;
        tab.add_init_script(NO_CLIPBOARD).await;
        let path = format!("/order/{id}");
        let own = plain(fixture.address, &path);
        tab.go(&link(fixture.address, &path, "ann")).await;
        tab.says("#state", "Reserved for you").await;
        let entry = calendar(&tab, "#deadline").await;
        assert_eq!(value(&entry, "SUMMARY"), format!("Pay {escaped}"));
        assert_eq!(value(&entry, "DTSTART"), stamp(pay_by.as_str().expect("a time")));
        assert_eq!(value(&entry, "UID"), format!("{id}@{}", fixture.address));
        assert_eq!(value(&entry, "URL"), own);
        let alarm =
            value(&entry, "TRIGGER").strip_prefix("-PT").and_then(|at| at.strip_suffix('S'));
        let alarm: u32 = alarm.and_then(|secs| secs.parse().ok()).expect("a number of seconds");
        assert!(
            (1..=120).contains(&alarm),
            "the alarm must come in the second half of the payment window: {alarm}"
        );

        tab.click("#copy").await;
        tab.says("#copy-note", &format!("Order number: {id}")).await;
        assert_eq!(tab.text("#copy").await, "Copy");
        tab.eval(
            "(() => { Object.defineProperty(navigator, 'clipboard', { configurable: true, value:
               { writeText: async words => { window.copied = words; } } }); })()",
        )
        .await;
        tab.click("#copy").await;
        tab.says("#copy", "Copied").await;
        tab.until(&format!(
            "window.copied === {} && document.querySelector('#copy-note').hidden",
            json!(id)
        ))
        .await;

        // Another visitor opens the copied link and has no other access to the order. So the
        // visitor's calendar entry must contain this link.
        tab.click("#copy-link").await;
        let address = tab.until("window.copied?.includes('#key=') && window.copied").await;
        let address = address.as_str().expect("a link").to_owned();
        let other = browser.tab().await;
        other.add_init_script(KEEP_FILES).await;
        other.go(&address).await;
        other.says("#pay", "Pay €49.00").await;
        assert_eq!(other.url().await, own);
        let entry = calendar(&other, "#deadline").await;
        assert_eq!(value(&entry, "URL"), address);

        tab.click("#pay").await;
        tab.click("[data-does=pay]").await;
        tab.says("#state", "Paid. It’s yours.").await;
        next_steps(&tab, &next, &escaped).await;
        printed(&tab, &id).await;
    })
    .await;
}

async fn next_steps(tab: &Tab<'_>, next: &str, title: &str) {
    tab.says("#next-text", "Collect it; bring your number.").await;
    tab.has("#shop", "href", "https://shop.example/account").await;
    tab.until("document.querySelector('#shop').checkVisibility()").await;
    tab.says("#next-at", "GMT").await;
    let entry = calendar(tab, "#next-calendar").await;
    assert_eq!(value(&entry, "DTSTART"), stamp(next));
    assert_eq!(value(&entry, "SUMMARY"), format!("Ora\\, lamps: {title}"));
    assert_eq!(value(&entry, "DESCRIPTION"), "Collect it\\; bring your number.");
    tab.click(".tongue [lang=zh-Hans]").await;
    tab.says("#next-text", "请凭订单号取货。").await;
    tab.says("#next-calendar", "加入日历").await;
    tab.says("#next-at", "月").await;
}

/// Checks that the printed page shows the shop's name and the whole order number, and that the
/// screen shows neither. On the screen, the logo replaces the name.
async fn printed(tab: &Tab<'_>, id: &str) {
    let seen = "[...document.querySelectorAll('.brand span, #whole-id')].map(el => {
        const { width, height } = el.getBoundingClientRect();
        return width > 20 && height > 10 && getComputedStyle(el).clipPath === 'none'
          && el.textContent; })";
    assert_eq!(tab.eval(seen).await, json!([false, false]), "the screen must show neither part");
    tab.protocol("Emulation.setEmulatedMedia", json!({"media": "print"})).await;
    assert_eq!(
        tab.eval(seen).await,
        json!(["Ora, lamps", id]),
        "the printed page must show both parts"
    );
    tab.protocol("Emulation.setEmulatedMedia", json!({"media": ""})).await;
}
