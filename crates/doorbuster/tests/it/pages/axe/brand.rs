//! Tests that pages with a shop's own brand are accessible, and that the file of `page preview` is
//! accessible too.

use serde_json::json;

use super::super::driver::Browser;
use super::super::{BUY, link, plain, sale};
use super::{SCHEMES, buy, inspect, inspect_in, tab};
use crate::crash_windows::fixture::ServerFixture;
use crate::test_server::{TempDir, program, run};

/// A font in which each letter is a box.
const FONT: &[u8] = include_bytes!("boxes.woff2");
const LOGO: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 90 20\">\
                    <path fill=\"#7b8794\" d=\"M0 0h90v20H0z\"/></svg>";
/// Returns the number of faces (plain or bold) of the shop's font that the page has loaded.
const FACES: &str =
    "(document.fonts.ready, [...document.fonts].filter(face => face.family.includes('Shop')
    && face.status === 'loaded').length)";

fn config(folder: &TempDir) -> String {
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    };
    let (plain, bold) = (file("plain.woff2", FONT), file("bold.woff2", FONT));
    let logo = file("logo.svg", LOGO.as_bytes());
    let text = format!(
        "[page]\nshop = \"Ora & Sons\"\ntheme.accent = \"#3ddc97\"\ntheme.on_accent = \"#00210f\"\n\
         theme.accent_text = \"#00603a\"\ntheme.accent_wash = \"#dff7ea\"\ntheme.logo = \"{logo}\"\n\
         theme.font = \"{plain}\"\ntheme.font_bold = \"{bold}\"\n\
         theme.footer = [\"Imprint=/imprint\"]\ntheme.footer_zh = [\"法律声明=/zh/imprint\"]\n"
    );
    file("shop.toml", text.as_bytes())
}

#[tokio::test]
async fn a_brand_is_usable_by_everyone_in_the_preview_and_on_the_pages() {
    let folder = TempDir::new();
    let (config, out) = (config(&folder), folder.join("brand.html"));
    let mut preview = program(&folder);
    preview.args(["page", "preview", "--config", &config, "--out"]).arg(&out);
    let preview = run(&mut preview);
    assert_eq!(preview.code(), Some(0), "{}", preview.err());
    let launch = format!("exec \"$@\" --config {config}");
    let fixture = ServerFixture::with_launcher(TempDir::new(), &[], &launch);
    sale(&fixture, "open", json!({})).await;
    let order = buy(&fixture, "ann", "open", 1).await;
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.load(&format!("file://{}", out.display())).await;
        tab.until(&format!("{FACES} === 2")).await;
        let halves = "[...document.querySelectorAll('.half')].map(half => [half.querySelector('.foot').innerText,
            getComputedStyle(half).colorScheme, getComputedStyle(half.querySelector('.buy')).backgroundColor])";
        let green = "rgb(61, 220, 151)";
        let expected = json!([["Imprint", "light", green], ["Imprint", "dark", green]]);
        assert_eq!(tab.eval(halves).await, expected);
        // The file shows both colour schemes at once, so one check is enough.
        inspect_in(&tab, "the preview of a brand", &SCHEMES[..1]).await;
        tab.go(&link(fixture.address, "/sale/open?lang=zh", "ann")).await;
        tab.says(BUY, "立即抢购").await;
        tab.until(&format!("{FACES} === 2")).await;
        let links = "[...document.querySelectorAll('.foot')].filter(foot => foot.checkVisibility()).map(foot => foot.innerText)";
        assert_eq!(tab.eval(links).await, json!(["法律声明"]));
        inspect(&tab, "a sale with a brand").await;
        tab.go(&link(fixture.address, &format!("/order/{order}?lang=en"), "ann")).await;
        tab.says("#state", "Reserved for you").await;
        assert_eq!(tab.eval(links).await, json!(["Imprint"]));
        inspect(&tab, "an order with a brand").await;
        tab.load(&plain(fixture.address, "/docs#sold_out")).await;
        tab.until("document.querySelector('#endpoints').ariaBusy === null").await;
        inspect(&tab, "docs with a brand").await;
    })
    .await;
}
