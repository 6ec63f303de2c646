//! Tests the texts that the server writes into pages.

use super::*;

pub(super) const TEMPLATE: &str = "<head>\n<title>Sale</title>\n<!-- shell: head -->\n</head><body>\
                        <!-- shell: picture -->(template)<!-- /shell: picture -->\
                        <!-- shell: item -->(template)<!-- /shell: item -->\
                        <div class=\"nojs\"><!-- shell: body --></div><!-- shell: data --></body>";

pub(super) fn sale() -> Sale {
    serde_json::from_value(json!({
        "id": "spring", "title": "Spring </script><b>drop</b>",
        "starts_at": "2026-11-27T20:00:00.000Z", "ends_at": null,
        "items": [{"id": "lamp", "title": "Ora \"lamp\"", "description": "Oak & linen.",
                   "image": "/pictures/lamp.webp", "price": {"amount_minor": 4900, "currency": "EUR"},
                   "list_price": null, "limit_per_buyer": 2, "hold_secs": 900}],
    }))
    .expect("a sale")
}

#[test]
fn a_sales_page_names_title_price_time_and_picture_for_programs_and_for_people() {
    let shop = Shop { name: "Ora & Sons", url: Some("https://shop.example"), time_zone: None };
    let present = PresentState { shown: ShownState::Soon, version: "k3v9x2" };
    let page = sale_page(TEMPLATE, &sale(), Some(present), shop);
    for part in [
        "<title>Ora &quot;lamp&quot; – Spring &lt;/script&gt;&lt;b&gt;drop&lt;/b&gt; – Ora &amp; Sons</title>",
        "<meta property=\"og:image\" content=\"https://shop.example/pictures/lamp.webp\">",
        "<meta property=\"og:url\" content=\"https://shop.example/sale/spring\">",
        "<meta name=\"description\" content=\"49.00 EUR, on sale from 27 Nov 2026, 20:00 UTC. Oak &amp; linen.\">",
        "\"price\":\"49.00\"",
        "https://schema.org/PreSale",
        "id=\"image\" src=\"/pictures/lamp.webp\" alt=\"Ora &quot;lamp&quot;\" fetchpriority",
        "<h1 id=\"name\" data-early>Ora &quot;lamp&quot;</h1>",
        "<p class=\"offer__lead\" id=\"lead\" data-early>Oak &amp; linen.</p>",
        "<p class=\"eyebrow\" id=\"edition\" data-early>Spring &lt;/script&gt;",
        "<time datetime=\"2026-11-27T20:00:00.000Z\">27 Nov 2026, 20:00 UTC</time>",
        "id=\"sale-data\">{",
        "\"version\":\"k3v9x2\"",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert_eq!(
        page.matches("</script>").count(),
        2,
        "a text of the sale must not end a script: {page}"
    );
    for part in ["<b>drop", "shell:", "(template)", "loading=\"lazy\""] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    let exported = sale_page(TEMPLATE, &sale(), None, shop);
    for state in ["sale-data", "availability\"", "Opens soon"] {
        assert!(
            !exported.contains(state),
            "an exported page must not have {state}, which can become out of date: {exported}"
        );
    }
}

#[test]
fn a_page_names_each_language_and_shows_pictures_and_facts() {
    let mut sale = sale();
    let text = |json: Value| serde_json::from_value::<Text>(json).expect("a text");
    sale.title = text(json!({"en": "Spring", "zh": "春", "ar": "ربيع"}));
    let item = &mut sale.items[0];
    item.description = text(json!({"zh": "橡木", "en": "Oak"}));
    item.gallery =
        serde_json::from_value(json!([{"image": "/b.webp", "alt": "Back"}])).expect("a gallery");
    item.facts =
        serde_json::from_value(json!([{"name": "Weight", "value": "1 kg <2"}])).expect("facts");
    let shop = Shop { name: "Ora", url: Some("https://shop.example"), time_zone: None };
    let page = sale_page(TEMPLATE, &sale, None, shop);
    for part in [
        "<title>Ora &quot;lamp&quot; – Spring – Ora</title>",
        "<h1><span lang=\"en\" dir=\"ltr\">Spring</span> / <span lang=\"ar\" dir=\"rtl\">",
        "<p lang=\"en\" dir=\"ltr\">Oak</p><p lang=\"zh\" dir=\"ltr\">橡木</p>",
        "<img src=\"/b.webp\" alt=\"Back\" loading=\"lazy\">",
        "<tr><th scope=\"row\">Weight</th><td>1 kg &lt;2</td></tr>",
        "\"image\":[\"https://shop.example/pictures/lamp.webp\",\"https://shop.example/b.webp\"]",
        "\"name\":\"Weight\"",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn an_address_is_absolute_only_if_the_shops_origin_is_known() {
    let nowhere = Shop { name: "Ora", url: None, time_zone: None };
    let present = PresentState { shown: ShownState::Ended, version: "k3v9x2" };
    let page = sale_page(TEMPLATE, &sale(), Some(present), nowhere);
    assert!(!page.contains("og:url") && !page.contains("og:image"), "{page}");
    assert!(page.contains("https://schema.org/SoldOut"), "{page}");
}

#[test]
fn the_list_names_each_sale_with_its_price_and_state() {
    let shop = Shop { name: "Ora", url: None, time_zone: Some("Asia/Shanghai") };
    let page = index_page(TEMPLATE, &[(sale(), Some(ShownState::Open))], shop);
    assert!(page.contains("<a href=\"/sale/spring\">Spring &lt;/script&gt;"), "{page}");
    let time = "Start / 开抢 <time datetime=\"2026-11-27T20:00:00.000Z\">28 Nov 2026, 04:00 \
                UTC+08:00</time>";
    assert!(page.contains("<span>49.00 EUR · Open now") && page.contains(time), "{page}");
    let mut sale = sale();
    sale.items.push(Item {
        price: Money { amount_minor: 350, ..sale.items[0].price },
        ..sale.items[0].clone()
    });
    let page = index_page(TEMPLATE, &[(sale, None)], shop);
    assert!(page.contains("<span>From / 起价 3.50 EUR · "), "{page}");
}
