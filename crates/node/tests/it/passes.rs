//! Tests purchase passes. Each wrong use of a pass gets its own problem code.

mod spent;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorbuster_auth::{NewToken, token};
use doorbuster_base::clock::STEP_MAX_MS;
use serde_json::{Value, json};

use crate::app::{FAR_FUTURE, SECRET, TIMEOUT, TestApp, bearer, sale};
use crate::http::Reply;
use crate::watch::Stopwatch;

/// The number of connections that try to use one code.
const CROWD: usize = 64;
const KEY_A: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const KEY_B: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("the time is far ahead")
}

pub(crate) fn time(millis: i64) -> String {
    doorbuster_api::value::Time::from_millis(millis).to_string()
}

fn buyer_token(buyer: &str, member: bool, level: u8) -> String {
    let claims = NewToken {
        exp: FAR_FUTURE,
        member,
        level: Some(level),
        ..NewToken::new(buyer, 0, Duration::ZERO)
    };
    format!("Bearer {}", token(SECRET.as_bytes(), &claims))
}

impl TestApp {
    /// Creates a sale of a phone and a case with this front door.
    async fn door(&self, id: &str, door: Value) {
        let mut body = sale(id, 1_000.into(), 1_000);
        let mut case = body["items"][0].clone();
        case["id"] = json!("case");
        body["items"].as_array_mut().expect("a list").push(case);
        body["front_door"] = door;
        let reply = self.admin("POST", "/v1/admin/sales", Some(body)).await;
        assert_eq!(reply.verdict(), "201", "{}", reply.text());
    }

    async fn open_door(&self, id: &str, door: Value) {
        self.door(id, door).await;
        self.step(id, "open").await;
    }

    async fn patch_door(&self, id: &str, door: Value) -> Value {
        let body = Some(json!({ "front_door": door }));
        let reply = self.admin("PATCH", &format!("/v1/admin/sales/{id}"), body).await;
        assert_eq!(reply.verdict(), "200", "{}", reply.text());
        reply.json()["front_door"].clone()
    }

    async fn ask_pass(&self, authorization: &str, sale: &str, body: Value) -> Reply {
        let headers = [("Authorization", authorization), ("Content-Type", "application/json")];
        self.call(
            "POST",
            &format!("/v1/sales/{sale}/passes"),
            &headers,
            body.to_string().as_bytes(),
        )
        .await
    }

    async fn pass(&self, buyer: &str, sale: &str) -> String {
        let reply = self.ask_pass(&bearer(buyer), sale, json!({"item": "phone"})).await;
        assert_eq!(reply.verdict(), "201", "{}", reply.text());
        reply.json()["pass"].as_str().expect("a pass").to_owned()
    }

    async fn order(&self, key: &str, headers: &[(&str, &str)], sale: &str, item: &str) -> Reply {
        let mut all = vec![("Idempotency-Key", key), ("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        let body = json!({"sale": sale, "item": item, "units": 1}).to_string();
        self.call("POST", "/v1/orders", &all, body.as_bytes()).await
    }

    async fn codes(&self, sale: &str, count: u32, uses: u32) -> Vec<String> {
        let body = Some(json!({"count": count, "uses": uses}));
        let reply = self.admin("POST", &format!("/v1/admin/sales/{sale}/access-codes"), body).await;
        assert_eq!(reply.verdict(), "201", "{}", reply.text());
        let codes = reply.json()["codes"].as_array().expect("a list").clone();
        codes.iter().map(|code| code.as_str().expect("a code").to_owned()).collect()
    }
}

fn altered(pass: &str, at: usize) -> String {
    let other = if &pass[at..at + 2] == "AA" { "BA" } else { "AA" };
    format!("{}{other}{}", &pass[..at], &pass[at + 2..])
}

#[tokio::test]
async fn a_pass_is_valid_for_one_buyer_and_one_sale_only() {
    let app = TestApp::start().await;
    app.open_door("spring", json!({"pass": "required"})).await;
    app.open_door("autumn", json!({"pass": "required"})).await;
    let (anna, bert) = (bearer("anna"), bearer("bert"));
    let pass = app.pass("anna", "spring").await;
    let forged = [altered(&pass, pass.len() - 2), altered(&pass, 30), pass.clone() + "AA"];
    let long = "A".repeat(2_000);
    let check = async |headers: &[(&str, &str)], sale: &str, item: &str, expected: &str| {
        // The server handles most purchases on a fast path. With `Connection: close`, the general
        // HTTP server handles the purchase, and must give the same answer.
        for more in [&[][..], &[("Connection", "close")]] {
            let reply = app.order("k", &[headers, more].concat(), sale, item).await;
            assert_eq!(reply.verdict(), expected, "{headers:?} {sale} {item}: {}", reply.text());
        }
    };
    check(&[("Authorization", &anna)], "spring", "phone", "403 pass_required").await;
    check(&[], "spring", "phone", "401 unauthenticated").await;
    for wrong in forged.iter().map(String::as_str).chain(["nonsense", "e\u{e9}", &long, &anna]) {
        check(&[("Purchase-Pass", wrong)], "spring", "phone", "403 pass_invalid").await;
        check(
            &[("Purchase-Pass", wrong), ("Authorization", &anna)],
            "spring",
            "phone",
            "403 pass_invalid",
        )
        .await;
    }
    let with = [("Purchase-Pass", pass.as_str())];
    check(&with, "autumn", "phone", "403 pass_invalid").await;
    check(&with, "spring", "case", "403 pass_invalid").await;
    check(&[with[0], ("Authorization", &bert)], "spring", "phone", "403 pass_invalid").await;
    check(
        &[with[0], ("Authorization", "Bearer nonsense")],
        "spring",
        "phone",
        "401 unauthenticated",
    )
    .await;
    check(&[with[0], with[0]], "spring", "phone", "403 pass_invalid").await;
    check(&with, "winter", "phone", "404 not_found").await;
    check(&with, "spring", "boat", "404 not_found").await;
    // Even if a sale requires no pass, it refuses a purchase with a pass of another sale.
    app.patch_door("autumn", json!({"pass": "off"})).await;
    check(&with, "autumn", "phone", "403 pass_invalid").await;

    let bought = app.order("k", &with, "spring", "phone").await;
    assert_eq!(bought.verdict(), "201", "{}", bought.text());
    assert_eq!(bought.json()["buyer"], "anna");
    let again = app.order("k2", &[with[0], ("Authorization", &anna)], "spring", "phone").await;
    assert_eq!(again.verdict(), "201", "a pass must be usable until it expires: {}", again.text());
    let found = app.order("k", &[("Authorization", &anna)], "spring", "phone").await;
    assert_eq!(
        (found.verdict().as_str(), &found.json()["id"]),
        ("200", &bought.json()["id"]),
        "a known key must find its order, even with an invalid pass"
    );
    // A buyer with a forged pass must not find another buyer's order by its request key.
    let stranger = app.order("k", &[("Purchase-Pass", &forged[0])], "spring", "phone").await;
    assert_eq!(stranger.verdict(), "403 pass_invalid");
    app.step("spring", "close").await;
    check(&[("Purchase-Pass", &forged[0])], "spring", "phone", "409 ended").await;
    assert_eq!(app.order("k3", &with, "spring", "phone").await.verdict(), "409 ended");
    let over = app.ask_pass(&anna, "spring", json!({"item": "phone"})).await;
    assert_eq!(over.verdict(), "409 ended");
}

#[tokio::test]
async fn an_expired_pass_still_finds_its_orders() {
    let app = TestApp::with(&[("DOORBUSTER_PASS__TTL_SECS", "5")]).await;
    app.open_door("spring", json!({"pass": "required"})).await;
    let asked = now_ms();
    let reply = app.ask_pass(&bearer("anna"), "spring", json!({"item": "phone"})).await.json();
    let answered = now_ms();
    let millis = |member: &str| {
        let text = reply[member].as_str().expect("a time");
        doorbuster_api::value::Time::parse(text).expect("a time").millis()
    };
    assert_eq!(millis("expires_at") - millis("valid_from"), 5_000, "{reply}");
    assert!((asked - 2_000..answered + 2_000).contains(&millis("valid_from")), "{reply}");
    let with = [("Purchase-Pass", reply["pass"].as_str().expect("a pass"))];
    assert_eq!(app.order("first", &with, "spring", "phone").await.verdict(), "201");
    let timer = Stopwatch::start();
    let mut n = 0;
    loop {
        n += 1;
        let before = now_ms();
        let verdict = app.order(&format!("k{n}"), &with, "spring", "phone").await.verdict();
        match verdict.as_str() {
            "201" => assert!(before < millis("expires_at"), "{before} {reply}"),
            "403 pass_expired" => break assert!(now_ms() >= millis("expires_at"), "{reply}"),
            other => panic!("{other}"),
        }
        assert!(timer.elapsed() < TIMEOUT, "the pass never expired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(app.order("first", &with, "spring", "phone").await.verdict(), "200");
}

#[tokio::test]
async fn a_pass_is_available_a_minute_before_the_opening_and_usable_after_it() {
    let app = TestApp::start().await;
    let scheduled = async |id: &str, starts_at: i64| {
        app.door(id, json!({"pass": "required"})).await;
        let path = format!("/v1/admin/sales/{id}");
        let body = Some(json!({"starts_at": time(starts_at)}));
        assert_eq!(app.admin("PATCH", &path, body).await.verdict(), "200");
        app.step(id, "schedule").await;
    };
    let ask =
        async |sale: &str| app.ask_pass(&bearer("anna"), sale, json!({"item": "phone"})).await;
    app.door("draft", json!({"pass": "required"})).await;
    assert_eq!(ask("draft").await.verdict(), "404 not_found");
    let starts_at = now_ms() + 3_600_000;
    scheduled("far", starts_at).await;
    let early = ask("far").await;
    assert_eq!(early.verdict(), "409 not_started");
    assert_eq!(early.json()["opens_at"], time(starts_at));
    let starts_at = now_ms() + 63_000;
    scheduled("near", starts_at).await;
    let pass = loop {
        let reply = ask("near").await;
        if reply.status == 201 {
            // The server ignores small clock steps, so its time may be ahead of the test's time.
            assert!(now_ms() >= starts_at - 60_000 - STEP_MAX_MS);
            break reply.json();
        }
        assert_eq!(reply.verdict(), "409 not_started");
        assert!(now_ms() < starts_at - 30_000, "the pass never became available");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((&pass["valid_from"], &pass["item"]), (&json!(time(starts_at)), &json!("phone")));
    assert_eq!(pass["expires_at"], time(starts_at + 120_000));
    assert_eq!(ask("far").await.verdict(), "409 not_started");
    let with = [("Purchase-Pass", pass["pass"].as_str().expect("a pass"))];
    assert_eq!(app.order("k", &with, "near", "phone").await.verdict(), "409 not_started");
    assert_eq!(
        app.order("k", &[("Authorization", &bearer("anna"))], "near", "phone").await.verdict(),
        "409 not_started"
    );
    // An operator opens the sale early. Another test covers the wait for a sale's start.
    app.step("near", "open").await;
    assert_eq!(app.order("k", &with, "near", "phone").await.verdict(), "201");
    app.step("near", "pause").await;
    assert_eq!(app.order("k2", &with, "near", "phone").await.verdict(), "409 paused");
    assert_eq!(ask("near").await.verdict(), "409 paused");
}

#[tokio::test]
async fn thresholds_name_what_a_buyer_lacks() {
    let app = TestApp::start().await;
    app.open_door("members", json!({"members_only": true})).await;
    app.open_door("levels", json!({"min_level": 3, "pass": "required"})).await;
    let lacks = |reply: &Reply, requirement: &str| {
        assert_eq!(reply.verdict(), "403 not_eligible");
        assert_eq!(reply.json()["requirement"], requirement);
    };
    let order = async |token: &str, sale: &str| {
        app.order(sale, &[("Authorization", token)], sale, "phone").await
    };
    let ask =
        async |token: &str, sale: &str| app.ask_pass(token, sale, json!({"item": "phone"})).await;
    lacks(&order(&bearer("anna"), "members").await, "member");
    lacks(&ask(&bearer("anna"), "members").await, "member");
    lacks(&order(&buyer_token("anna", true, 2), "levels").await, "level");
    lacks(&ask(&buyer_token("anna", true, 2), "levels").await, "level");
    assert_eq!(
        order(&buyer_token("anna", true, 0), "members").await.verdict(),
        "201",
        "the token alone must identify the buyer"
    );
    assert_eq!(
        order(&buyer_token("anna", false, 3), "levels").await.verdict(),
        "403 pass_required"
    );
    let pass = ask(&buyer_token("bert", false, 3), "levels").await.json()["pass"]
        .as_str()
        .expect("a pass")
        .to_owned();
    let with = [("Purchase-Pass", pass.as_str())];
    assert_eq!(app.order("k", &with, "levels", "phone").await.verdict(), "201");
    // When an operator raises the lowest level, passes with a lower level become invalid, even
    // passes that were issued before this change.
    app.patch_door("levels", json!({"min_level": 4})).await;
    lacks(&app.order("k2", &with, "levels", "phone").await, "level");
    app.patch_door("levels", json!({"min_level": null})).await;
    assert_eq!(app.order("k2", &with, "levels", "phone").await.verdict(), "201");
}

#[tokio::test]
async fn a_front_door_changes_while_the_sale_runs_and_the_status_shows_the_change() {
    let app = TestApp::start().await;
    app.open_door("spring", json!({})).await;
    let shown = async || app.get("/v1/sales/spring/status").await.json()["front_door"].clone();
    let mut all = json!({
        "pass": "off", "challenge": "off", "waiting_room": "off", "rooms": "sale",
        "members_only": false, "min_level": 0, "access_codes": "off"
    });
    assert_eq!(shown().await, all);
    assert_eq!(app.buy("anna", "k", "spring", "phone", 1).await.verdict(), "201");
    let kept = app
        .patch_door("spring", json!({"access_codes": "required", "limits": {"interface": null}}))
        .await;
    assert_eq!(
        (&kept["pass"], &kept["access_codes"], &kept["limits"]),
        (&json!("off"), &json!("required"), &json!({"interface": null}))
    );
    all["pass"] = json!("required");
    all["access_codes"] = json!("required");
    let timer = Stopwatch::start();
    while shown().await != all {
        assert!(timer.elapsed() < Duration::from_secs(2), "{}", shown().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(app.buy("anna", "k2", "spring", "phone", 1).await.verdict(), "403 pass_required");
    assert_eq!(
        app.buy("anna", "k", "spring", "phone", 1).await.verdict(),
        "200",
        "an earlier order must stay"
    );
    app.patch_door("spring", Value::Null).await;
    assert_eq!(app.buy("anna", "k2", "spring", "phone", 1).await.verdict(), "201");
}

#[tokio::test]
async fn a_pass_issued_before_the_room_opened_sends_its_buyer_to_the_room() {
    let app = TestApp::start().await;
    for before in ["auto", "off"] {
        app.open_door(before, json!({"pass": "required", "waiting_room": before})).await;
        let pass = app.pass("anna", before).await;
        let headers = [("Purchase-Pass", pass.as_str())];
        app.patch_door(before, json!({"waiting_room": "always"})).await;
        assert_eq!(
            app.order(before, &headers, before, "phone").await.verdict(),
            "403 waiting_room"
        );
        app.patch_door(before, json!({"pass": "required", "waiting_room": before})).await;
        assert_eq!(app.order(before, &headers, before, "phone").await.verdict(), "201");
    }
}

#[tokio::test]
async fn a_code_is_spent_with_the_pass_and_costs_its_buyer_nothing_again() {
    let app = TestApp::start().await;
    app.open_door("spring", json!({"access_codes": "required"})).await;
    app.open_door("autumn", json!({"access_codes": "required"})).await;
    let one = app.codes("spring", 2, 1).await;
    let two = app.codes("spring", 1, 2).await;
    let other = app.codes("autumn", 1, 1).await;
    let check = async |buyer: &str, body: Value, expected: &str| {
        let reply = app.ask_pass(&bearer(buyer), "spring", body.clone()).await;
        assert_eq!(reply.verdict(), expected, "{buyer} {body}: {}", reply.text());
        if reply.status == 403 {
            assert_eq!(reply.json()["requirement"], "access_code");
        }
    };
    let code = |code: &str| json!({"item": "phone", "access_code": code});
    check("anna", json!({"item": "phone"}), "403 not_eligible").await;
    check("anna", code("0000-0000-0000-0000"), "403 not_eligible").await;
    check("anna", code("letters"), "403 not_eligible").await;
    check("anna", code(&other[0]), "403 not_eligible").await;
    check("anna", json!({"item": "boat", "access_code": one[0]}), "404 not_found").await;
    check("anna", code(&one[0].to_lowercase().replace('-', " ")), "201").await;
    check("anna", code(&one[0]), "201").await;
    check("anna", json!({"item": "case", "access_code": one[0]}), "201").await;
    check("bert", code(&one[0]), "403 not_eligible").await;
    check("bert", code(&two[0]), "201").await;
    check("carl", code(&two[0]), "201").await;
    check("dora", code(&two[0]), "403 not_eligible").await;
    check("dora", code(&one[1]), "201").await;
    let counts = app.admin("GET", "/v1/admin/sales/spring/access-codes", None).await.json();
    assert_eq!(counts, json!({"codes": 3, "uses": 4, "spent": 4}));
    let wrong =
        app.admin("POST", "/v1/admin/sales/spring/access-codes", Some(json!({"count": 0}))).await;
    assert_eq!(wrong.verdict(), "422 invalid_request");
    let nowhere =
        app.admin("POST", "/v1/admin/sales/winter/access-codes", Some(json!({"count": 1}))).await;
    assert_eq!(nowhere.verdict(), "404 not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_gives_a_crowd_as_many_passes_as_it_has_uses() {
    let app = TestApp::start().await;
    let door = json!({"access_codes": "required", "limits": {"buyer": null, "ip": null, "interface": null}});
    app.open_door("spring", door).await;
    for (uses, name) in [(1, "one"), (5, "five")] {
        let code = &app.codes("spring", 1, uses).await[0];
        let asking = (0..CROWD).map(|n| {
            // Each buyer sends two requests, on two connections.
            let (token, app) = (bearer(&format!("{name}-{}", n / 2)), &app);
            let body = json!({"item": "phone", "access_code": code});
            async move { (n / 2, app.ask_pass(&token, "spring", body).await.verdict()) }
        });
        let mut let_in: Vec<usize> = Vec::new();
        for (buyer, verdict) in futures_util::future::join_all(asking).await {
            match verdict.as_str() {
                "201" => let_in.push(buyer),
                other => assert_eq!(other, "403 not_eligible"),
            }
        }
        assert_eq!(let_in.len(), 2 * uses as usize, "{let_in:?}");
        let_in.dedup();
        assert_eq!(let_in.len(), uses as usize);
    }
}

#[tokio::test]
async fn a_pass_from_another_node_is_valid_if_the_keys_are_the_same() {
    let node = async |keys: &str| {
        let app = TestApp::with(&[("DOORBUSTER_PASS__KEYS", keys)]).await;
        app.open_door("spring", json!({"pass": "required"})).await;
        app
    };
    let (old, both) = (node(KEY_A).await, node(&format!("{KEY_A},{KEY_B}")).await);
    let (turned, new) = (node(&format!("{KEY_B},{KEY_A}")).await, node(KEY_B).await);
    let check = async |from: &TestApp, to: &TestApp, expected: &str| {
        let pass = from.pass("anna", "spring").await;
        let key = format!("k{}", rand::random::<u32>());
        let verdict =
            to.order(&key, &[("Purchase-Pass", &pass)], "spring", "phone").await.verdict();
        assert_eq!(verdict, expected);
    };
    for pair in [
        [&old, &old],
        [&old, &both],
        [&both, &old],
        [&both, &turned],
        [&turned, &both],
        [&turned, &new],
        [&new, &turned],
    ] {
        check(pair[0], pair[1], "201").await;
    }
    check(&old, &new, "403 pass_invalid").await;
    check(&new, &old, "403 pass_invalid").await;
}
