//! Tests challenges as clients use them.

mod pictures;
mod pool;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::app::{TestApp, bearer, sale};
use crate::http::Reply;
use crate::sealed::solve_sealed;

async fn open(app: &TestApp, id: &str, challenge: &str) {
    let mut sale = sale(id, 100.into(), 10);
    sale["front_door"] = json!({"challenge": challenge});
    let made = app.admin("POST", "/v1/admin/sales", Some(sale)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    app.step(id, "open").await;
}

async fn post(app: &TestApp, buyer: &str, path: &str, body: &Value) -> Reply {
    let bearer = bearer(buyer);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    app.call("POST", path, &headers, body.to_string().as_bytes()).await
}

async fn challenge(app: &TestApp, buyer: &str, sale: &str, body: Value) -> Value {
    let reply = post(app, buyer, &format!("/v1/sales/{sale}/challenges"), &body).await;
    assert_eq!(reply.verdict(), "201", "{}", reply.text());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.json()
}

async fn answer(
    app: &TestApp,
    buyer: &str,
    sale: &str,
    challenge: &Value,
    answer: &Value,
) -> String {
    let body = json!({"item": "phone", "challenge": challenge["challenge"], "answer": answer});
    post(app, buyer, &format!("/v1/sales/{sale}/passes"), &body).await.verdict()
}

fn worked(challenge: &Value) -> Value {
    json!({"altcha": doorbuster_challenge::solve_work(&challenge["altcha"]).expect("a device can do the work")})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_solved_challenge_gives_one_pass_that_buys_a_unit() {
    let app = TestApp::start().await;
    open(&app, "spring", "pow").await;
    let status = app.get("/v1/sales/spring/status").await.json();
    assert_eq!(
        (&status["front_door"]["challenge"], &status["front_door"]["pass"]),
        (&json!("pow"), &json!("required"))
    );
    let none = post(&app, "anna", "/v1/sales/spring/passes", &json!({"item": "phone"})).await;
    assert_eq!(none.verdict(), "403 challenge_required");
    let issued = challenge(&app, "anna", "spring", json!({})).await;
    assert_eq!(issued["kind"], "pow");
    let solved = worked(&issued);
    let body = json!({"item": "phone", "challenge": issued["challenge"], "answer": solved});
    let passed = post(&app, "anna", "/v1/sales/spring/passes", &body).await;
    assert_eq!(passed.verdict(), "201", "{}", passed.text());
    let pass = passed.json()["pass"].as_str().expect("a pass").to_owned();
    let purchase = json!({"sale": "spring", "item": "phone", "units": 1}).to_string();
    assert_eq!(app.buy_with("anna", "k1", &[], &purchase).await.verdict(), "403 pass_required");
    assert_eq!(
        app.buy_with("anna", "k1", &[("Purchase-Pass", &pass)], &purchase).await.verdict(),
        "201"
    );
    assert_eq!(
        answer(&app, "anna", "spring", &issued, &solved).await,
        "403 challenge_failed",
        "a spent challenge must be refused"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_each_kind_of_challenge_gives_a_pass_and_the_pass_an_order() {
    let key = "5a".repeat(32);
    let app = TestApp::with(&[("DOORBUSTER_PASS__KEYS", &key)]).await;
    for kind in ["image", "slider", "pow"] {
        open(&app, kind, kind).await;
        let issued = challenge(&app, "anna", kind, json!({})).await;
        assert_eq!(issued["kind"], kind);
        let solved = match kind {
            "pow" => worked(&issued),
            _ => solve_sealed([0x5a; 32], &issued, kind, "anna"),
        };
        let body = json!({"item": "phone", "challenge": issued["challenge"], "answer": solved});
        let passed = post(&app, "anna", &format!("/v1/sales/{kind}/passes"), &body).await;
        assert_eq!(passed.verdict(), "201", "{kind} {solved}: {}", passed.text());
        let pass = passed.json()["pass"].as_str().expect("a pass").to_owned();
        let purchase = json!({"sale": kind, "item": "phone", "units": 1}).to_string();
        let bought = app.buy_with("anna", kind, &[("Purchase-Pass", &pass)], &purchase).await;
        assert_eq!(bought.verdict(), "201", "{kind}: {}", bought.text());
        assert_eq!(
            answer(&app, "anna", kind, &issued, &solved).await,
            "403 challenge_failed",
            "{kind}: a spent challenge must be refused"
        );
    }
    // The server accepts a piece near its gap. It ignores the case of the letters of an image.
    for (beside, verdict) in [(4, "201"), (-4, "201"), (9, "403 challenge_failed")] {
        let slider = challenge(&app, "anna", "slider", json!({})).await;
        let solved = solve_sealed([0x5a; 32], &slider, "slider", "anna");
        let x = solved["x"].as_i64().expect("a number");
        assert_eq!(
            answer(&app, "anna", "slider", &slider, &json!({"x": x + beside})).await,
            verdict,
            "{beside}"
        );
    }
    let issued = challenge(&app, "anna", "image", json!({})).await;
    let text = solve_sealed([0x5a; 32], &issued, "image", "anna")["text"]
        .as_str()
        .expect("text")
        .to_owned();
    let spaced = format!(" {} {} ", text[..2].to_uppercase(), text[2..].to_lowercase());
    assert_eq!(answer(&app, "anna", "image", &issued, &json!({"text": spaced})).await, "201");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_valid_only_for_its_buyer_and_sale() {
    let app = TestApp::start().await;
    open(&app, "spring", "image").await;
    open(&app, "autumn", "pow").await;
    let issued = challenge(&app, "anna", "spring", json!({"kind": "pow"})).await;
    let solved = worked(&issued);
    assert_eq!(answer(&app, "bert", "spring", &issued, &solved).await, "403 challenge_failed");
    assert_eq!(answer(&app, "anna", "autumn", &issued, &solved).await, "403 challenge_failed");
    let forged = json!({"challenge": "AAAA"});
    assert_eq!(answer(&app, "anna", "spring", &forged, &solved).await, "403 challenge_failed");
    let other = challenge(&app, "anna", "spring", json!({"kind": "pow"})).await;
    assert_eq!(
        answer(&app, "anna", "spring", &other, &solved).await,
        "403 challenge_failed",
        "an answer to another challenge must be refused"
    );
    assert_eq!(
        answer(&app, "anna", "spring", &other, &worked(&other)).await,
        "403 challenge_failed",
        "a challenge must be spent after a wrong answer"
    );
    assert_eq!(
        answer(&app, "anna", "spring", &issued, &solved).await,
        "201",
        "answers of other buyers must not spend the challenge"
    );
}

fn tried(answer: &Value) -> u64 {
    let payload = STANDARD.decode(answer["altcha"].as_str().expect("a payload")).expect("base64");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    payload["solution"]["counter"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_amount_of_work_is_the_sales_setting_when_the_challenge_is_made() {
    let app = TestApp::start().await;
    open(&app, "spring", "pow").await;
    open(&app, "autumn", "image").await;
    let set = async |effort: Value| {
        let changed = app
            .admin(
                "PATCH",
                "/v1/admin/sales/spring",
                Some(json!({"front_door": {"pow_effort": effort}})),
            )
            .await;
        assert_eq!(changed.verdict(), "200", "{}", changed.text());
        changed.json()["front_door"]["pow_effort"].clone()
    };
    let ask = async |sale: &str| challenge(&app, "anna", sale, json!({"kind": "pow"})).await;
    assert_eq!(ask("spring").await["tries_max"], 8_000, "the default difficulty must apply");
    assert_eq!(set(json!(100)).await, 100);
    let easy = ask("spring").await;
    assert_eq!(easy["tries_max"], 160);
    let little = worked(&easy);
    assert!((40..=160).contains(&tried(&little)), "{}", tried(&little));
    assert_eq!(set(json!(1_000)).await, 1_000);
    let hard = ask("spring").await;
    assert_eq!(
        (&hard["tries_max"], &ask("autumn").await["tries_max"]),
        (&json!(1_600), &json!(8_000)),
        "the difficulty of one sale must not change the other sale"
    );
    assert_eq!(
        answer(&app, "anna", "spring", &hard, &little).await,
        "403 challenge_failed",
        "an answer to an easier challenge must be refused"
    );
    let hard = ask("spring").await;
    let much = worked(&hard);
    assert!((400..=1_600).contains(&tried(&much)), "{}", tried(&much));
    assert_eq!(answer(&app, "anna", "spring", &hard, &much).await, "201");
    assert_eq!(
        answer(&app, "anna", "spring", &easy, &little).await,
        "201",
        "a change of the difficulty must not invalidate earlier challenges"
    );
    assert_eq!(set(Value::Null).await, 5_000, "the default difficulty must apply again");
    assert_eq!(ask("spring").await["tries_max"], 8_000);
    for wrong in [99, 50_001] {
        let wrong = json!({"front_door": {"pow_effort": wrong}});
        let refused = app.admin("PATCH", "/v1/admin/sales/spring", Some(wrong)).await;
        assert_eq!(refused.verdict(), "422 invalid_request");
        assert_eq!(refused.json()["errors"][0]["pointer"], "/front_door/pow_effort");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_parallel_answers_gets_a_pass() {
    let app = TestApp::start().await;
    open(&app, "spring", "pow").await;
    for _ in 0..3 {
        let issued = challenge(&app, "anna", "spring", json!({})).await;
        let solved = worked(&issued);
        let ask = || answer(&app, "anna", "spring", &issued, &solved);
        let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
        let mut verdicts = [a, b, c, d];
        verdicts.sort();
        assert_eq!(
            verdicts,
            ["201", "403 challenge_failed", "403 challenge_failed", "403 challenge_failed"]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_with_too_many_wrong_answers_must_wait() {
    let app = TestApp::start().await;
    open(&app, "spring", "pow").await;
    app.admin(
        "PATCH",
        "/v1/admin/sales/spring",
        Some(json!({"front_door": {"limits": {"buyer": null, "ip": null}}})),
    )
    .await;
    for _ in 0..10 {
        let issued = challenge(&app, "robot", "spring", json!({"kind": "image"})).await;
        assert_eq!(
            answer(&app, "robot", "spring", &issued, &json!({"text": "22222"})).await,
            "403 challenge_failed"
        );
    }
    let pow = challenge(&app, "robot", "spring", json!({})).await;
    let body = json!({"item": "phone", "challenge": pow["challenge"], "answer": worked(&pow)});
    let refused = post(&app, "robot", "/v1/sales/spring/passes", &body).await;
    assert_eq!(refused.verdict(), "429 rate_limited");
    assert_eq!(refused.json()["scope"], "buyer");
    let secs: u32 = refused.header("retry-after").expect("a 429 has it").parse().expect("seconds");
    assert!((1..=301).contains(&secs), "{secs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unavailable_challenge_is_refused() {
    let app = TestApp::start().await;
    open(&app, "spring", "image").await;
    app.open_sale("plain", 10.into(), 1).await;
    app.make_sale("draft", 10.into(), 1).await;
    let ask = async |sale: &str, body: Value| {
        post(&app, "anna", &format!("/v1/sales/{sale}/challenges"), &body).await.verdict()
    };
    assert_eq!(ask("plain", json!({})).await, "404 not_found", "no challenge exists for this sale");
    assert_eq!(ask("draft", json!({})).await, "404 not_found");
    assert_eq!(ask("nothing", json!({})).await, "404 not_found");
    for body in [json!({"kind": "off"}), json!({"kind": 7}), json!({"item": "phone"})] {
        assert_eq!(ask("spring", body).await, "422 invalid_request");
    }
    assert_eq!(ask("spring", json!([])).await, "400 malformed_request");
    let nobody = app
        .call("POST", "/v1/sales/spring/challenges", &[("Content-Type", "application/json")], b"{}")
        .await;
    assert_eq!(nobody.verdict(), "401 unauthenticated");
    app.step("spring", "close").await;
    assert_eq!(ask("spring", json!({})).await, "409 ended");
}

async fn metric(app: &TestApp, line: &str) -> u64 {
    let text = app.get("/metrics").await.text();
    let number = text.lines().find_map(|found| found.strip_prefix(line)).expect(line);
    number.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn challenges_of_an_open_sale_are_drawn_in_advance_and_counted() {
    let app = TestApp::start().await;
    assert_eq!(
        metric(&app, "doorbuster_challenges_ready{kind=\"image\"}").await,
        0,
        "pictures must not be drawn before a sale requires them"
    );
    open(&app, "spring", "image").await;
    let begun = Instant::now();
    while metric(&app, "doorbuster_challenges_ready{kind=\"image\"}").await == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "no picture was drawn in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        metric(&app, "doorbuster_challenges_ready{kind=\"slider\"}").await,
        0,
        "slider pictures must not be drawn, because no sale requires them"
    );
    let issued = challenge(&app, "anna", "spring", json!({})).await;
    let wrong = json!({"text": "22222"});
    assert_eq!(answer(&app, "anna", "spring", &issued, &wrong).await, "403 challenge_failed");
    assert_eq!(answer(&app, "anna", "spring", &issued, &wrong).await, "403 challenge_failed");
    assert_eq!(answer(&app, "bert", "spring", &issued, &wrong).await, "403 challenge_failed");
    assert_eq!(metric(&app, "doorbuster_challenges_total{kind=\"image\"}").await, 1);
    for outcome in ["wrong", "again", "invalid"] {
        assert_eq!(
            metric(&app, &format!("doorbuster_challenge_answers_total{{outcome=\"{outcome}\"}}"))
                .await,
            1
        );
    }
}

async fn open_limited(app: &TestApp, limits: Value) {
    let mut body = sale("spring", 100.into(), 10);
    body["front_door"] = json!({"challenge": "pow", "waiting_room": "always", "limits": limits});
    let made = app.admin("POST", "/v1/admin/sales", Some(body)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    app.step("spring", "open").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_one_gives_exactly_one_challenge() {
    let app = TestApp::start().await;
    open_limited(&app, json!({"buyer": {"burst": 1, "per_minute": 1}})).await;
    let ask = async |buyer: &str| {
        post(&app, buyer, "/v1/sales/spring/challenges", &json!({})).await.verdict()
    };
    for buyer in ["anna", "bert"] {
        assert_eq!(
            (ask(buyer).await, ask(buyer).await),
            ("201".into(), "429 rate_limited".into()),
            "{buyer}"
        );
    }
    let metrics = app.get("/metrics").await.text();
    let line = "doorbuster_rate_limited_total{route=\"challenge\",scope=\"buyer\"} 2";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_challenges_of_one_buyer_are_limited_even_without_other_limits() {
    let app = TestApp::start().await;
    open_limited(&app, json!({"buyer": null, "ip": null})).await;
    let (begun, mut given) = (Instant::now(), 0);
    let refused = loop {
        let reply = post(&app, "robot", "/v1/sales/spring/challenges", &json!({})).await;
        assert_eq!(reply.header("ratelimit-policy"), Some("\"buyer\";q=200;w=100"));
        match reply.status {
            201 => given += 1,
            _ => break reply,
        }
        // The limit admits a burst of 200 requests, and then two requests per second.
        assert!((1..=202 + begun.elapsed().as_secs() * 2).contains(&given), "{given}");
    };
    assert!(given >= 200, "{given}");
    assert_eq!(refused.verdict(), "429 rate_limited");
    assert_eq!(refused.json()["scope"], "buyer");
    assert_eq!(refused.header("retry-after"), Some("1"), "{refused:?}");
    assert_eq!(
        post(&app, "anna", "/v1/sales/spring/challenges", &json!({})).await.verdict(),
        "201"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_blocks_apply_to_a_percent_encoded_sale_id() {
    let app = TestApp::start().await;
    open_limited(&app, json!({"buyer": {"burst": 1, "per_minute": 1}})).await;
    let blocked = app
        .admin("POST", "/v1/admin/blocks", Some(json!({"kind": "buyer", "value": "robot"})))
        .await;
    assert_eq!(blocked.verdict(), "201", "{}", blocked.text());
    let item = json!({"item": "phone"});
    let routes = [
        ("POST", "challenges", json!({}), "201"),
        ("POST", "passes", item, "403 waiting_room"),
        ("POST", "waiting-room", json!({}), "201"),
        ("GET", "waiting-room", json!({}), "404 not_found"),
    ];
    for (method, route, body, first) in routes {
        let ask = async |buyer: &str, sale: &str| {
            let bearer = bearer(buyer);
            let headers =
                [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
            let body = if method == "GET" { String::new() } else { body.to_string() };
            app.call(method, &format!("/v1/sales/{sale}/{route}"), &headers, body.as_bytes()).await
        };
        let anna = format!("anna-{method}");
        let reply = ask(&anna, "spr%69ng").await;
        assert_eq!(reply.verdict(), first, "{method} {route}");
        assert!(
            reply.header("ratelimit").is_some_and(|left| left.starts_with("\"buyer\";r=0;")),
            "{reply:?}"
        );
        for sale in ["spr%69ng", "%73pring", "spring"] {
            assert_eq!(
                ask(&anna, sale).await.verdict(),
                "429 rate_limited",
                "{method} {route} {sale}"
            );
            assert_eq!(
                ask("robot", sale).await.verdict(),
                "403 forbidden",
                "{method} {route} {sale}"
            );
        }
    }
    app.stop().await;
}
