//! Tests the pages and their assets: equal bytes for all visitors, a strict content security
//! policy, hashed names, compression, and guests in demonstrations.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde_json::json;

use crate::app::TestApp;
use crate::http::Reply;

/// The pages must not contain these words. These words are about steps after the payment, such as
/// the delivery, and only the shop can promise these steps.
const NEVER: [&str; 21] = [
    "mail", "receipt", "invoice", "shipp", "shipment", "deliver", "parcel", "courier", "邮",
    "收据", "发票", "小票", "发货", "运费", "物流", "快递", "配送", "送货", "收货", "包裹", "短信",
];

fn guarded(reply: &Reply) {
    let policy = reply.header("content-security-policy").expect("a policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

fn named(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c))
            .collect::<String>()
    };
    text.split("/assets/")
        .skip(1)
        .map(name)
        .filter(|name| name.contains('.'))
        .map(|name| format!("/assets/{name}"))
        .collect()
}

/// Returns a language's texts by their keys, from the language's JavaScript file. The file contains
/// comments and one object. The object's texts are in single quotes without escapes.
fn words(language: &str) -> BTreeMap<String, String> {
    let file = format!("{}/../web/assets/texts-{language}.js", env!("CARGO_MANIFEST_DIR"));
    let script = std::fs::read_to_string(file).expect("the file exists");
    let (_, mut rest) =
        script.split_once("export const texts = {").expect("the script has one object");
    let (mut quoted, mut between) = (Vec::new(), String::new());
    while let Some(at) = rest.find(['\'', '"', '`', '/']) {
        between.extend(rest[..at].split_whitespace());
        rest = match rest[at..].strip_prefix("/*") {
            Some(comment) => comment.split_once("*/").expect("the comment ends").1,
            None => {
                let text = rest[at..].strip_prefix('\'').unwrap_or_else(|| {
                    panic!("the test cannot parse this part of the script: {}", &rest[at..])
                });
                let (text, after) = text.split_once('\'').expect("the text ends");
                assert!(!text.contains(['\\', '\n']), "the test cannot parse this text: {text}");
                quoted.push(text.to_owned());
                after
            }
        };
    }
    assert_eq!(
        between,
        ":,".repeat(quoted.len() / 2).trim_end_matches(','),
        "keys and sentences must alternate"
    );
    let words: BTreeMap<_, _> =
        quoted.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    assert_eq!(words.len() * 2, quoted.len(), "each key must occur once");
    words
}

#[test]
fn both_languages_have_the_same_texts_and_promise_no_message_that_is_not_sent() {
    let (english, chinese) = (words("en"), words("zh"));
    assert!(english.len() > 400, "{} sentences", english.len());
    let keys = |words: &BTreeMap<String, String>| words.keys().cloned().collect::<BTreeSet<_>>();
    let alone = &keys(&english) ^ &keys(&chinese);
    assert!(alone.is_empty(), "only one language has these texts: {alone:?}");
    let places = |sentence: &str| {
        let names = sentence.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
        // `{count:person|people}` chooses a word by `count`. Chinese texts need no such choice.
        let names = names.map(|(name, _)| name.split_once(':').map_or(name, |(name, _)| name));
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for (key, sentence) in &english {
        assert_eq!(
            places(sentence),
            places(&chinese[key]),
            "the texts of {key} must have the same placeholders in both languages"
        );
        assert_eq!(
            sentence.trim().is_empty(),
            chinese[key].trim().is_empty(),
            "{key} must have a text in both languages or in neither"
        );
    }
    for (key, sentence) in english.iter().chain(&chinese) {
        let small = sentence.to_lowercase();
        let promised = NEVER.iter().find(|word| small.contains(**word));
        assert_eq!(promised, None, "{key}: {sentence}");
    }
}

#[tokio::test]
async fn pages_are_the_same_for_every_visitor_and_load_only_local_files() {
    let app = TestApp::start().await;
    app.open_sale("spring", json!(10), 1).await;
    let order = app.buy("anna", "k", "spring", "phone", 1).await.json()["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let order = format!("/order/{order}");
    let mut open: BTreeSet<String> = BTreeSet::new();
    for (path, other) in [
        ("/", "/?lang=zh"),
        ("/sale/spring", "/sale/spring?lang=en"),
        (order.as_str(), "/order/ord_nothing"),
        ("/docs", "/docs"),
    ] {
        let page = app.get(path).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8")),
            "{path}"
        );
        guarded(&page);
        assert_eq!(page.header("cache-control"), Some("public, max-age=60"));
        let same = app.call("GET", other, &[("Accept", "text/html,*/*;q=0.8")], b"").await;
        assert_eq!(same.body, page.body, "{path}");
        if other.contains("no") {
            guarded(&same);
            assert_eq!(
                (same.status, same.header("cache-control")),
                (404, Some("no-store")),
                "{other}"
            );
            for accept in [&[("Accept", "*/*")][..], &[("Accept", "application/json")], &[]] {
                assert_eq!(
                    app.call("GET", other, accept, b"").await.verdict(),
                    "404 not_found",
                    "{other}"
                );
            }
        }
        let tag = page.header("etag").expect("ETag");
        assert_eq!(app.call("GET", path, &[("If-None-Match", tag)], b"").await.status, 304);
        let text = page.text();
        for inline in ["<script>", "<style", " style=", " onclick="] {
            assert!(!text.contains(inline), "{path} must not contain {inline}");
        }
        assert!(
            !text.contains("src=\"http") && !text.contains("href=\"http"),
            "{path} loads a file of another origin"
        );
        open.extend(named(&text));
    }
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop_first() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let asset = app.get(&path).await;
        assert_eq!(asset.status, 200, "{path}");
        guarded(&asset);
        assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
        open.extend(named(&asset.text()));
        let packed = app.call("GET", &path, &[("Accept-Encoding", "gzip")], b"").await;
        if packed.header("content-encoding") == Some("gzip") {
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(packed.body.as_slice())
                .read_to_end(&mut unpacked)
                .expect("gzip");
            assert_eq!(unpacked, asset.body, "{path}");
            assert_ne!(packed.header("etag"), asset.header("etag"));
        }
        assert_eq!(packed.header("vary"), Some("accept-encoding"));
    }
    assert!(seen.len() > 10, "{seen:?}");
    assert_eq!(app.get("/assets/README.md").await.verdict(), "404 not_found");
    assert_eq!(
        app.get("/assets/look.css").await.verdict(),
        "404 not_found",
        "an asset must not have a name without a hash"
    );
}

#[tokio::test]
async fn the_pages_script_contains_the_owners_configuration() {
    let settings = [
        ("DOORBUSTER_AUTH__SIGN_IN_URL", "https://shop.example/in?a=1&b=2"),
        ("DOORBUSTER_PAGE__SHOP", "The \"Shop\""),
        ("DOORBUSTER_PAGE__NEXT_STEPS", "We write to you."),
        ("DOORBUSTER_PAGE__NEXT_STEPS_ZH", "我们会通知您。"),
    ];
    let app = TestApp::with(&settings).await;
    let page = app.get("/").await.text();
    let site = named(&page)
        .into_iter()
        .find(|name| name.contains("/first."))
        .expect("the page loads first.js");
    let text = app.get(&site).await.text();
    let config = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("window.doorbuster = "))
        .and_then(|text| text.strip_suffix(';'))
        .expect("a script");
    let config: serde_json::Value = serde_json::from_str(config).expect("JSON");
    assert_eq!(
        config,
        json!({"shop": "The \"Shop\"", "sign_in_url": "https://shop.example/in?a=1&b=2", "guest": false, "sandbox": true, "api": null,
               "shop_url": null, "push_key": null, "time_zone": null,
               "next_steps_at": null,
               "next_steps": {"en": "We write to you.", "zh": "我们会通知您。"}})
    );
}

#[tokio::test]
async fn a_demonstration_has_a_sale_and_guests() {
    let app = TestApp::demo().await;
    let sale = app.get("/v1/sales/demo").await.json();
    assert!(
        sale["items"].as_array().expect("items").len() > 1 && sale["starts_at"].is_string(),
        "{sale}"
    );
    assert_eq!(app.get("/v1/sales/demo/status").await.json()["phase"], "scheduled");
    let reply = app.call("POST", "/demo/guest", &[], b"").await;
    assert_eq!(reply.verdict(), "201");
    let token = reply.json()["token"].as_str().expect("a token").to_owned();
    let other = app.call("POST", "/demo/guest", &[], b"").await.json()["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    assert_ne!(token, other);
    let bearer = format!("Bearer {token}");
    assert_eq!(
        app.call("GET", "/v1/orders", &[("Authorization", &bearer)], b"").await.verdict(),
        "200"
    );
    assert_eq!(app.get("/demo/guest").await.verdict(), "405 method_not_allowed");

    let app = TestApp::start().await;
    assert_eq!(app.call("POST", "/demo/guest", &[], b"").await.verdict(), "404 not_found");
}

#[tokio::test]
async fn only_public_answers_at_page_addresses_are_cacheable() {
    let app = TestApp::start().await;
    app.open_sale("spring", 5.into(), 1).await;
    app.open_sale("a:b", 5.into(), 1).await;
    let check = async |path: &str, is_shared: bool| {
        let reply = app.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        let said = reply.header("cache-control").expect("the header is always present").to_owned();
        assert_eq!(
            (said.starts_with("public, max-age="), said == "no-store"),
            (is_shared, !is_shared),
            "{path}: {said}"
        );
    };
    let status = async || app.get("/v1/sales/spring/status").await.json();
    let version = status().await["version"].as_str().expect("a version").to_owned();
    let page = app.get("/sale/spring").await.text();
    let asset = named(&page).pop_first().expect("the page names assets");
    for path in [
        "/v1/sales",
        "/v1/sales/spring",
        "/v1/sales/spring/status",
        "/v1/sales/spring/status?v=",
        "/sale/spring",
    ] {
        check(path, true).await;
    }
    check(&format!("/v1/sales/spring/status?v={version}"), true).await;
    check(&format!("/v1/sales/spring/status?v={version}-open"), true).await;
    check("/v1/sales/a%3Ab/status", true).await;
    check("/sale/spring?lang=zh", true).await;
    check(&asset, true).await;
    // A client could invent a new URL of this kind for each request, so shared caches must not
    // store the answers.
    for path in [
        "/v1/sales?x=1",
        "/v1/sales?limit=7",
        "/v1/sales/spring?x",
        "/v1/sales/spr%69ng",
        "/v1/sales/a%3ab",
    ] {
        check(path, false).await;
    }
    for query in [
        "v=0123456789abc",
        "v=0123456789abc-open",
        "x=1",
        "V=",
        &format!("v={version}&x=1"),
        &format!("x=1&v={version}"),
    ] {
        check(&format!("/v1/sales/spring/status?{query}"), false).await;
    }
    check(&format!("/v1/sales/a:b/status?v={version}"), false).await;
    check("/sale/spring?lang=zh&x", false).await;
    check(&format!("{asset}?x"), false).await;
    // After a change of the sale, pages that do not know of this change still request the previous
    // version. So a shared cache may store the answer to such a request too.
    app.step("spring", "pause").await;
    assert_ne!(status().await["version"], version.as_str());
    check(&format!("/v1/sales/spring/status?v={version}"), true).await;
    for n in 0..6 {
        let body = Some(json!({"title": format!("Spring {n}")}));
        assert_eq!(app.admin("PATCH", "/v1/admin/sales/spring", body).await.verdict(), "200");
    }
    check(&format!("/v1/sales/spring/status?v={version}"), false).await;
}
