//! Tests a sale's texts in several languages, additional pictures, and facts about a product.

use serde_json::{Value, json};

use crate::app::TestApp;

fn product() -> Value {
    json!({
        "id": "spring", "title": {"en": "Spring drop", "zh": "春季限时抢购"},
        "items": [{
            "id": "lamp", "title": {"zh": "Ora 台灯", "en": "Ora lamp"},
            "description": {"en": "Oak & linen.", "zh": "橡木与亚麻。"},
            "image": "/pictures/lamp.webp",
            "gallery": [{"image": "https://shop.example/back.webp", "alt": {"en": "The back"}},
                        {"image": "/pictures/box.webp"}],
            "facts": [{"name": {"en": "Weight", "zh": "重量"}, "value": "1.2 kg"}],
            "price": {"amount_minor": 4900, "currency": "EUR"}, "stock": 10
        }]
    })
}

#[tokio::test]
async fn a_sale_has_texts_in_several_languages_pictures_and_facts() {
    let app = TestApp::start().await;
    let made = app.admin("POST", "/v1/admin/sales", Some(product())).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    app.step("spring", "open").await;
    let shown = app.get("/v1/sales/spring").await.json();
    let wanted = product();
    assert_eq!(shown["title"], wanted["title"]);
    let (item, wanted) = (&shown["items"][0], &wanted["items"][0]);
    for member in ["title", "description", "image", "facts"] {
        assert_eq!(item[member], wanted[member], "{member}");
    }
    assert_eq!(item["gallery"][0], wanted["gallery"][0]);
    assert_eq!(item["gallery"][1], json!({"image": "/pictures/box.webp", "alt": ""}));
    let admin = app.admin("GET", "/v1/admin/sales/spring", None).await.json();
    assert_eq!(admin["items"][0]["title"], wanted["title"]);

    let page = app.get("/sale/spring").await.text();
    for part in [
        "<title>Ora lamp – Spring drop – Doorbuster</title>",
        "<span lang=\"zh\" dir=\"ltr\">春季限时抢购</span>",
        "<p lang=\"zh\" dir=\"ltr\">橡木与亚麻。</p>",
        "<img src=\"https://shop.example/back.webp\" alt=\"The back\"",
        "<td>1.2 kg</td>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for (found, text) in [(1, "台灯"), (1, "ORA%20LAMP"), (0, "Weight")] {
        let list = app.get(&format!("/v1/sales?q={text}")).await.json();
        assert_eq!(list["sales"].as_array().expect("a list").len(), found, "{text}");
    }
}

#[tokio::test]
async fn a_patch_changes_single_languages_and_whole_lists() {
    let app = TestApp::start().await;
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(product())).await.status, 201);
    let patch = async |body: Value| {
        let reply = app.admin("PATCH", "/v1/admin/sales/spring", Some(body)).await;
        (reply.verdict(), reply.json())
    };
    let item = |change: Value| {
        let mut item = json!({"id": "lamp"});
        let members = change.as_object().expect("members").clone();
        item.as_object_mut().expect("an item").extend(members);
        json!({"items": [item]})
    };
    let (_, sale) = patch(json!({"title": {"de": "Frühling", "zh": null}})).await;
    assert_eq!(sale["title"], json!({"de": "Frühling", "en": "Spring drop"}));
    let (_, sale) = patch(json!({"title": "Spring"})).await;
    assert_eq!(sale["title"], "Spring");
    let (_, sale) = patch(item(json!({"gallery": [], "facts": null, "description": null}))).await;
    let changed = &sale["items"][0];
    assert_eq!((changed.get("gallery"), changed.get("facts")), (None, None));
    assert_eq!(changed["description"], "");
    assert_eq!(changed["title"], product()["items"][0]["title"], "the title must not change");
    let (verdict, _) = patch(item(json!({"title": {"en": null, "zh": null}}))).await;
    assert_eq!(verdict, "422 invalid_request", "the last language of a text must not be removed");
    let recorded = app.admin("GET", "/v1/admin/actions?action=sale.changed", None).await.text();
    assert!(recorded.contains("\"/title/zh\""), "{recorded}");
}

#[tokio::test]
async fn each_fault_of_a_text_is_named_by_its_language() {
    let app = TestApp::start().await;
    let mut wrong = product();
    wrong["title"] = json!({"en": " ", "english": "x"});
    wrong["items"][0]["description"] = json!({});
    wrong["items"][0]["gallery"] = json!([{"image": "http://shop.example/a.png"}]);
    wrong["items"][0]["facts"] = json!([{"name": {"en": "Weight"}}]);
    let reply = app.admin("POST", "/v1/admin/sales", Some(wrong)).await;
    assert_eq!(reply.verdict(), "422 invalid_request");
    let text = reply.text();
    for pointer in [
        "/title/en",
        "/title/english",
        "/items/0/description",
        "/items/0/gallery/0/image",
        "/items/0/facts/0/value",
    ] {
        assert!(text.contains(&format!("\"{pointer}\"")), "{pointer}: {text}");
    }
}
