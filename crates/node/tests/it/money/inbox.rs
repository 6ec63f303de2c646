//! Tests the inbox for provider messages: signatures, repetitions and effects.

use serde_json::json;

use super::{
    KEY, assert_ledger_adds_up, captured, now_secs, open_sale, order, payments, read, refunds,
    secret, send, send_message, send_text, signature, start, until,
};
use crate::app::TestApp;

#[tokio::test]
async fn a_payment_message_that_repeats_pays_for_its_order_once() {
    let app = start().await;
    open_sale(&app, 100.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    assert_eq!(read(&app, &id).await["payments"], json!([]));
    let first = send_message(&app, "msg_1", &captured("pay_1", &id, 100)).await;
    assert_eq!(
        (first.verdict().as_str(), &first.json()["outcome"]),
        ("200", &json!("paid")),
        "{}",
        first.text()
    );
    let paid = read(&app, &id).await;
    assert_eq!(paid["state"], "paid", "{paid}");
    assert!(paid["paid_at"].is_string() && paid["ended_at"].is_null(), "{paid}");
    let mut listed = paid["payments"].clone();
    assert!(listed[0]["at"].take().is_string(), "{paid}");
    let amount = json!({"amount_minor": 100, "currency": "CNY"});
    let only = json!([{"payment": "pay_1", "order": id, "amount": amount, "state": "captured", "provider": "sandbox", "at": null}]);
    assert_eq!(listed, only);
    for (message, body) in [
        ("msg_1", captured("pay_1", &id, 100)),
        // Each of these messages repeats the message id or the payment of an earlier message.
        ("msg_1", captured("pay_2", &id, 100)),
        ("msg_2", captured("pay_1", &id, 100)),
        ("msg_3", captured("pay_1", "ord_other", 1)),
    ] {
        let again = send_message(&app, message, &body).await;
        assert_eq!(
            (again.verdict().as_str(), &again.json()["outcome"]),
            ("200", &json!("repeated")),
            "{message}"
        );
    }
    assert_eq!(payments(&app, &id).await, [("pay_1".into(), "captured".into())]);
    assert_eq!(
        read(&app, &id).await["payments"],
        paid["payments"],
        "the later messages must not change the order"
    );
    assert!(refunds(&app, &id).await.is_empty());
    assert_eq!(app.admin("GET", "/v1/admin/refunds", None).await.json()["refunds"], json!([]));
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_payment_for_an_undecided_order_is_requested_again() {
    let app = start().await;
    open_sale(&app, 10.into(), 10, 900).await;
    // While another program writes to the database, the server cannot decide the order.
    let database = app.dir().join("doorbuster.sqlite3");
    let other_program = rusqlite::Connection::open(database).expect("the database opens");
    other_program.execute_batch("BEGIN IMMEDIATE").expect("the transaction begins");
    let body = json!({"sale": "spring", "item": "phone", "units": 1}).to_string();
    let queued = app.buy_with("anna", "k", &[("Prefer", "respond-async")], &body).await;
    assert_eq!(queued.verdict(), "202", "{}", queued.text());
    let id = queued.json()["id"].as_str().expect("an id").to_owned();
    let message = captured("pay_1", &id, 10);
    let reply = send_message(&app, "msg_1", &message).await;
    assert_eq!(reply.verdict(), "503 unavailable", "{}", reply.text());
    assert!(reply.header("retry-after").is_some());
    other_program.execute_batch("ROLLBACK").expect("the transaction ends");
    // The provider sends the message again.
    let accepted = until("the payment is accepted", async || {
        Some(send_message(&app, "msg_1", &message).await).filter(|reply| reply.status != 503)
    })
    .await;
    assert_eq!((accepted.status, &accepted.json()["outcome"]), (200, &json!("paid")));
    assert_eq!(read(&app, &id).await["state"], "paid");
    assert!(refunds(&app, &id).await.is_empty());
    // This order id differs from a real id in one character. No such order exists, so the server
    // refunds the payment.
    let last = if id.ends_with('A') { "B" } else { "A" };
    let other = format!("{}{last}", &id[..id.len() - 1]);
    let reply = send_message(&app, "msg_2", &captured("pay_2", &other, 10)).await;
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &json!("refunded")));
    assert_ledger_adds_up(&app).await;
}

#[tokio::test]
async fn a_payment_that_does_not_match_is_refunded_once_and_gives_a_notice() {
    let app = start().await;
    open_sale(&app, 100.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    let mut euros = captured("pay_euros", &id, 100);
    euros["data"]["amount"]["currency"] = json!("EUR");
    for (payment, body) in [
        ("pay_less", captured("pay_less", &id, 99)),
        ("pay_more", captured("pay_more", &id, 101)),
        ("pay_euros", euros),
        ("pay_nothing", captured("pay_nothing", &id, 0)),
    ] {
        let reply = send_message(&app, payment, &body).await;
        assert_eq!(reply.json()["outcome"], "refunded", "{payment}");
    }
    assert_eq!(
        read(&app, &id).await["state"],
        "reserved",
        "a payment of a wrong amount must not pay the order"
    );
    assert_eq!(
        send_message(&app, "good", &captured("pay_good", &id, 100)).await.json()["outcome"],
        "paid"
    );
    assert_eq!(
        send_message(&app, "second", &captured("pay_second", &id, 100)).await.json()["outcome"],
        "refunded"
    );
    for unknown in [
        format!("ord_{}", "A".repeat(52)),
        "ord_nonsense".into(),
        "the payment names no order".into(),
    ] {
        let payment = format!("pay_{}", unknown.len());
        assert_eq!(
            send_message(&app, &payment, &captured(&payment, &unknown, 7)).await.json()["outcome"],
            "refunded"
        );
        assert_eq!(
            refunds(&app, &unknown).await,
            [(payment.clone(), "pending".into())],
            "{unknown}"
        );
        assert_eq!(payments(&app, &unknown).await, [(payment, "refunded".into())], "{unknown}");
    }
    let mut states = payments(&app, &id).await;
    states.sort_unstable();
    let refunded = |name: &str| (name.to_owned(), "refunded".to_owned());
    let expected = ["pay_euros", "pay_good", "pay_less", "pay_more", "pay_nothing", "pay_second"]
        .map(refunded);
    let mut expected = expected.to_vec();
    expected[1].1 = "captured".into();
    assert_eq!(states, expected);
    assert_eq!(refunds(&app, &id).await.len(), 5);
    let listed = app.admin("GET", "/v1/admin/refunds?limit=3", None).await.json();
    let next = listed["next_cursor"].as_str().expect("there are more payments");
    let rest =
        app.admin("GET", &format!("/v1/admin/refunds?limit=200&cursor={next}"), None).await.json();
    assert_eq!(rest["refunds"].as_array().map(Vec::len), Some(5));
    assert!(rest["next_cursor"].is_null());
    let audit = app.admin("GET", "/v1/admin/audit", None).await.json();
    assert_eq!(audit["ok"], true, "{audit}");
    assert_eq!(audit["notices"].as_array().map(Vec::len), Some(8), "{audit}");
}

#[tokio::test]
async fn an_unsigned_forged_or_stale_message_is_401_and_changes_nothing() {
    let app = start().await;
    open_sale(&app, 100.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    let body = captured("pay_1", &id, 100).to_string();
    let now = now_secs();
    let (time, old, new) = (now.to_string(), (now - 301).to_string(), (now + 400).to_string());
    let good = signature(KEY, "msg_1", &time, &body);
    let other = signature(b"another secret, as long as that.", "msg_1", &time, &body);
    let with = |id: &'static str, time: &str, proof: &str| {
        vec![("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", proof)]
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect::<Vec<_>>()
    };
    let stale = signature(KEY, "msg_1", &old, &body);
    let early = signature(KEY, "msg_1", &new, &body);
    let long = "m".repeat(300);
    let long_proof = signature(KEY, &long, &time, &body);
    let mut cases = vec![
        vec![],
        with("msg_1", &time, ""),
        with("msg_1", "", &good),
        with("", &time, &good),
        with("msg_2", &time, &good),
        with("msg_1", &old, &good),
        with("msg_1", &old, &stale),
        with("msg_1", &new, &early),
        with("msg_1", "soon", &signature(KEY, "msg_1", "soon", &body)),
        with("msg_1", "-5", &signature(KEY, "msg_1", "-5", &body)),
        with("msg_1", &time, &other),
        with("msg_1", &time, &good.replace("v1,", "v1a,")),
        with("msg_1", &time, &good[3..]),
        with("msg_1", &time, &good[..good.len() - 4]),
        with("msg_1", &time, &format!("{good},{good}")),
        vec![
            ("webhook-id", long),
            ("webhook-timestamp", time.clone()),
            ("webhook-signature", long_proof),
        ],
    ];
    for missing in 0..3 {
        let mut headers = with("msg_1", &time, &good);
        headers.remove(missing);
        cases.push(headers);
        let mut headers = with("msg_1", &time, &good);
        headers.push(headers[missing].clone());
        cases.push(headers);
    }
    for case in &cases {
        let headers: Vec<_> = case.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(send(&app, &headers, &body).await.verdict(), "401 unauthenticated", "{case:?}");
    }
    let good = with("msg_1", &time, &good);
    let good: Vec<_> = good.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(send(&app, &good, &body.replace("100", "1")).await.verdict(), "401 unauthenticated");
    assert_eq!(send(&app, &good, "").await.verdict(), "401 unauthenticated");
    assert_eq!(read(&app, &id).await["state"], "reserved");
    assert!(payments(&app, &id).await.is_empty());
    assert_eq!(
        send(&app, &good, &body).await.json()["outcome"],
        "paid",
        "the original message must be accepted"
    );
}

#[tokio::test]
async fn a_malformed_header_is_explained_without_a_statement_about_its_signature() {
    let app = start().await;
    let (secs, millis) = (now_secs().to_string(), (now_secs() * 1_000).to_string());
    let long = "m".repeat(257);
    for (id, time, wrong) in [
        ("msg_1", millis.as_str(), "whole seconds since 1970"),
        ("msg_1", "2026-11-20T10:00:42Z", "whole seconds since 1970"),
        ("msg_1", "1795168842.5", "whole seconds since 1970"),
        (long.as_str(), secs.as_str(), "at most 256 characters"),
        ("msg 1", secs.as_str(), "visible ASCII"),
    ] {
        let fits = signature(KEY, id, time, "{}");
        for proof in [fits.as_str(), "v1,bm9uZQ==", "v1,a"] {
            let headers =
                [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", proof)];
            let reply = send(&app, &headers, "{}").await;
            assert_eq!(reply.verdict(), "401 unauthenticated", "{id} {time}");
            let detail = reply.json()["detail"].as_str().unwrap_or_default().to_owned();
            assert!(detail.contains(wrong) && !detail.contains("needed"), "{detail}");
        }
    }
    let missing = send(&app, &[("webhook-id", "msg_1"), ("webhook-timestamp", &secs)], "{}").await;
    assert!(
        missing.json()["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("are required, once each"))
    );
}

#[tokio::test]
async fn a_signed_malformed_message_is_400_and_not_stored() {
    let app = start().await;
    open_sale(&app, 100.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    for wrong in [
        String::new(),
        "not JSON".into(),
        "[]".into(),
        r#"{"type":"payment.captured"}"#.into(),
        r#"{"type":"payment.captured","data":{}}"#.into(),
        captured("pay_1", &id, 100).to_string().replace("100", "\"100\""),
        captured("pay_1", &id, 100).to_string().replace("100", "100.5"),
        captured("pay_1", &id, 100).to_string().replace("100", "-100"),
        captured("pay_1", &id, 100).to_string().replace("CNY", "yuan"),
        captured("", &id, 100).to_string(),
        "\u{0}".into(),
    ] {
        assert_eq!(
            send_text(&app, "msg_1", &wrong).await.verdict(),
            "400 malformed_request",
            "{wrong}"
        );
    }
    for unknown in [r#"{"type":"customer.created","data":{}}"#, r#"{"type":"payment.authorised"}"#]
    {
        let reply = send_text(&app, "msg_1", unknown).await;
        assert_eq!(
            (reply.verdict().as_str(), &reply.json()["outcome"]),
            ("200", &json!("ignored")),
            "{unknown}"
        );
    }
    let mut extended = captured("pay_1", &id, 100);
    extended["api_version"] = json!("next");
    extended["data"]["method"] = json!({"card": true});
    assert_eq!(
        send_message(&app, "msg_1", &extended).await.json()["outcome"],
        "paid",
        "a rejected message must not use up the message's id"
    );
}

#[tokio::test]
async fn secrets_rotate_and_one_good_signature_of_several_is_enough() {
    let (old, new): (&[u8], &[u8]) =
        (b"the old secret of the provider..", b"the new secret of the provider..");
    let both = format!("{},{}", secret(new), secret(old));
    let app = TestApp::with(&[("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", &both)]).await;
    open_sale(&app, 100.into(), 10, 900).await;
    let time = now_secs().to_string();
    for (n, (signed_by, expected)) in [
        (vec![old], "200"),
        (vec![new], "200"),
        (vec![KEY, old], "200"),
        (vec![KEY], "401 unauthenticated"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = order(&app, "anna", &format!("k{n}"), 1).await;
        let (message, body) =
            (format!("msg_{n}"), captured(&format!("pay_{n}"), &id, 10).to_string());
        let proofs: Vec<_> =
            signed_by.iter().map(|key| signature(key, &message, &time, &body)).collect();
        let proofs = format!("v2,abcd {}", proofs.join(" "));
        let headers = [
            ("webhook-id", message.as_str()),
            ("webhook-timestamp", &time),
            ("webhook-signature", &proofs),
        ];
        assert_eq!(send(&app, &headers, &body).await.verdict(), expected, "{n}");
    }
}

#[tokio::test]
async fn a_failed_payment_is_recorded_and_may_still_succeed() {
    let app = start().await;
    open_sale(&app, 100.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    let failed = |payment: &str| json!({"type": "payment.failed", "data": {"payment": payment, "order": id}});
    assert_eq!(send_message(&app, "msg_1", &failed("pay_1")).await.json()["outcome"], "noted");
    assert_eq!(send_message(&app, "msg_1", &failed("pay_1")).await.json()["outcome"], "repeated");
    assert_eq!(payments(&app, &id).await, [("pay_1".into(), "failed".into())]);
    assert_eq!(read(&app, &id).await["state"], "reserved");
    assert_eq!(
        send_message(&app, "msg_2", &captured("pay_1", &id, 100)).await.json()["outcome"],
        "paid"
    );
    // The provider reports this failed attempt to pay after the capture, but the attempt failed
    // before the capture.
    assert_eq!(send_message(&app, "msg_3", &failed("pay_1")).await.verdict(), "200");
    assert_eq!(payments(&app, &id).await, [("pay_1".into(), "captured".into())]);
    assert_eq!(read(&app, &id).await["state"], "paid");
}
