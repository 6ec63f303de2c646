//! Compares the server's requests and signatures with Stripe's official Python library. The library
//! is too large to store here, so pip installs it once. Without a network, the test prints that it
//! skipped the comparison.

use std::path::{Path, PathBuf};
use std::process::Command;

use doorbuster_testkit::tool::{not_checked, program};
use serde_json::{Value, json};

use super::stand_in::{SentRequest, StripeStandIn};
use super::{
    BRIEF_SECS, KEY, SECRET, checkout, header, now_secs, open_sale, order, paid, refund_marker,
    send, start, until,
};

/// Returns a Python interpreter that has Stripe's library, or `None` if the library is not
/// available. All test runs share one installation.
fn python() -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stripe-python");
    let python = dir.join("bin/python");
    let has_it = || {
        Command::new(&python)
            .args(["-c", "import stripe"])
            .output()
            .is_ok_and(|out| out.status.success())
    };
    if has_it() {
        return Some(python);
    }
    let bounded = |program: &Path| {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", "120"]).arg(program);
        command
    };
    let made = bounded(&program("python3")).arg("-m").arg("venv").arg(&dir).output().ok()?;
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--timeout",
        "10",
        "stripe",
    ];
    let installed =
        made.status.success() && bounded(&python).args(install).output().ok()?.status.success();
    (installed && has_it()).then_some(python)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_signatures_are_those_of_stripes_official_library() {
    let Some(python) = tokio::task::spawn_blocking(python).await.expect("no panic") else {
        not_checked(
            "requests to Stripe and Stripe's signatures, because Stripe's official library cannot \
             be installed here",
        );
        return;
    };
    let stripe = StripeStandIn::start().await;
    let app = start(&stripe).await;
    open_sale(&app, 10.into(), 10, BRIEF_SECS).await;
    let id = order(&app, "anna", "k", 3).await;
    checkout(&app, &id).await;
    // The stand-in refuses to close the session, so the server reads the session. The stand-in also
    // refuses the refund, so the server reads all refunds.
    stripe.set_session("cs_test_1", paid(&stripe, "cs_test_1", &id, 1));
    stripe.refuse_refunds();
    until("the refund was read", async || stripe.sent("GET", "/v1/refunds").pop()).await;
    let ours = stripe.all();
    let one = |method: &str, path: &str| {
        ours.iter().find(|sent| sent.method == method && sent.path == path).expect(path)
    };
    let made = one("POST", "/v1/checkout/sessions");
    let field =
        |name: &str| made.form.iter().find(|(known, _)| known == name).expect(name).1.clone();
    let request = one("POST", "/v1/refunds");
    let (now, event) = (now_secs(), |id: &str| {
        json!({"id": id, "type": "customer.created", "data": {"object": {}}}).to_string()
    });
    let (payload, next_payload) = (event("evt_1"), event("evt_2"));
    let given = json!({
        "key": KEY, "api": stripe.address, "order": id, "paid_url": field("success_url"), "left_url": field("cancel_url"), "units": 3,
        "title": "Phone", "mark": refund_marker(&stripe),
        "expires_at": field("expires_at").parse::<u64>().expect("seconds"), "checkout_key": made.key, "session": "cs_test_1",
        "payment": "pi_1", "refund": request.key, "secret": SECRET, "at": now,
        "payload": payload, "header": header(&payload, now, SECRET), "next_payload": next_payload,
    });
    let theirs = StripeStandIn::start().await;
    let mut given = given;
    given["api"] = json!(theirs.address);
    let script =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/money/stripe/official.py");
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "240"]).arg(python).arg(script).arg(given.to_string());
    let ran = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("the task did not panic")
        .expect("the program starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    for path in [
        "/v1/checkout/sessions",
        "/v1/checkout/sessions/cs_test_1/expire",
        "/v1/checkout/sessions/cs_test_1",
        "/v1/refunds",
    ] {
        for method in ["GET", "POST"] {
            let (our, their) = (stripe.sent(method, path), theirs.sent(method, path));
            assert_eq!(our.is_empty(), their.is_empty(), "{method} {path}");
            let (Some(our), Some(their)) = (our.first(), their.first()) else { continue };
            let sorted = |sent: &SentRequest| {
                let mut form = sent.form.clone();
                form.sort_unstable();
                form
            };
            assert_eq!(sorted(our), sorted(their), "{method} {path}");
            assert_eq!(our.authorization, their.authorization, "{method} {path}");
            // The library sends each request with an idempotency key, the server only some.
            if our.key.is_some() {
                assert_eq!(our.key, their.key, "{method} {path}");
            }
        }
    }
    let said: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let signed = send(&app, &next_payload, said["header"].as_str().expect("a header")).await;
    assert_eq!((signed.verdict().as_str(), &signed.json()["outcome"]), ("200", &json!("ignored")));
}
