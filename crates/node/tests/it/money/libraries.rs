//! Tests provider messages that the official libraries of Standard Webhooks signed.
//!
//! The tests need Python and Node; see [`crate::webhooks::official`].

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{
    BRIEF_SECS, KEY, assert_ledger_adds_up, captured, now_secs, open_sale, order, payments, read,
    refunds, secret, send, send_message, start, until,
};
use crate::app::TestApp;
use crate::http::Reply;
use crate::webhooks::official::Official;

/// A time difference in seconds that is larger than the accepted tolerance.
const SIX_MINUTES: u64 = 360;

/// A program that reads a body from its standard input and prints the body's signature. Its
/// arguments are the secret, the message's id, and the time in seconds.
const PYTHON: &str = "
import sys
from datetime import datetime, timezone

from standardwebhooks import Webhook

secret, message, at = sys.argv[1:]
body = sys.stdin.buffer.read().decode()
print(Webhook(secret).sign(message, datetime.fromtimestamp(int(at), timezone.utc), body))
";

/// The same program in JavaScript.
const JAVASCRIPT: &str = r#"
const { readFileSync } = require("node:fs");
const { Webhook } = require("standardwebhooks");

const [secret, message, at] = process.argv.slice(1);
console.log(new Webhook(secret).sign(message, new Date(at * 1000), readFileSync(0, "utf8")));
"#;

struct Library {
    official: Official,
    /// The interpreter's arguments: an option, and the text of the program that signs with the
    /// library.
    signs: [&'static str; 2],
}

impl Library {
    fn signed(&self, secret: &str, id: &str, at: u64, body: &Value) -> Message {
        let (at, body) = (at.to_string(), body.to_string());
        let mut command = self.official.command();
        command.args(self.signs).args([secret, id, at.as_str()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // If the program ends early, the write fails, but the program prints the reason.
        let _ = child.stdin.take().expect("the input is piped").write_all(body.as_bytes());
        let output = child.wait_with_output().expect("the program ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let signature = String::from_utf8(output.stdout).expect("a signature").trim().to_owned();
        Message { id: id.to_owned(), at, signature, body }
    }

    /// Returns a message that is signed with the provider's secret at the current time.
    fn message(&self, id: &str, body: &Value) -> Message {
        self.signed(&secret(KEY), id, now_secs(), body)
    }
}

#[derive(Clone)]
struct Message {
    id: String,
    at: String,
    signature: String,
    body: String,
}

impl Message {
    async fn send(&self, app: &TestApp) -> Reply {
        let headers = [
            ("webhook-id", self.id.as_str()),
            ("webhook-timestamp", self.at.as_str()),
            ("webhook-signature", self.signature.as_str()),
        ];
        send(app, &headers, &self.body).await
    }

    async fn outcome(&self, app: &TestApp) -> String {
        let reply = self.send(app).await;
        assert_eq!(reply.verdict(), "200", "{}: {}", self.id, reply.text());
        reply.json()["outcome"].as_str().expect("a word").to_owned()
    }
}

/// Reports a payment several times, and then another payment for the same order. The first payment
/// pays the order once, and the other payment is refunded once.
async fn a_signed_message_is_accepted_once(library: &Library) {
    let app = start().await;
    open_sale(&app, 100.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    let mut body = captured("pay_1", &id, 100);
    // A signature covers the raw bytes of the body. To test this, some of these bytes are not
    // ASCII.
    body["data"]["note"] = json!("für Anna, 谢谢");
    let first = library.message("msg_1", &body);
    assert_eq!(first.outcome(&app).await, "paid");
    assert_eq!(read(&app, &id).await["state"], "paid");
    assert_eq!(first.outcome(&app).await, "repeated", "a repeated message must not pay again");
    // A provider that gets no answer sends the message again, with a signature for the time of the
    // new attempt.
    let again = library.signed(&secret(KEY), "msg_1", now_secs() + 1, &body);
    assert_ne!(again.signature, first.signature);
    assert_eq!(again.outcome(&app).await, "repeated");
    assert_eq!(payments(&app, &id).await, [("pay_1".into(), "captured".into())]);
    assert!(refunds(&app, &id).await.is_empty());

    let second = library.message("msg_2", &captured("pay_2", &id, 100));
    assert_eq!(second.outcome(&app).await, "refunded");
    assert_eq!(second.outcome(&app).await, "repeated");
    let mut states = payments(&app, &id).await;
    states.sort_unstable();
    assert_eq!(states, [("pay_1".into(), "captured".into()), ("pay_2".into(), "refunded".into())]);
    assert_eq!(
        refunds(&app, &id).await,
        [("pay_2".into(), "pending".into())],
        "only one refund must exist"
    );
    let settled = json!({"type": "refund.settled", "data": {"payment": "pay_2"}});
    assert_eq!(library.message("msg_3", &settled).outcome(&app).await, "noted");
    assert_eq!(refunds(&app, &id).await, [("pay_2".into(), "settled".into())]);
    assert_eq!(read(&app, &id).await["state"], "paid");

    let other = order(&app, "bert", "k", 10).await;
    let less = library.message("msg_4", &captured("pay_3", &other, 99));
    assert_eq!(less.outcome(&app).await, "refunded");
    assert_eq!(refunds(&app, &other).await, [("pay_3".into(), "pending".into())]);
    assert_eq!(
        read(&app, &other).await["state"],
        "reserved",
        "a payment of a wrong amount must not pay the order"
    );
    assert_ledger_adds_up(&app).await;
}

/// Checks that a message without a valid signature has no effect. The signature is missing, or was
/// made with another secret, for another time, or for other content.
async fn an_unsigned_forged_stale_or_changed_message_is_401(library: &Library) {
    let app = start().await;
    open_sale(&app, 100.into(), 10, 900).await;
    let id = order(&app, "anna", "k", 10).await;
    let body = captured("pay_1", &id, 100);
    let (ours, theirs) = (secret(KEY), secret(b"another secret, as long as that."));
    let now = now_secs();
    let good = library.message("msg_1", &body);
    let forged = library.signed(&theirs, "msg_1", now, &body);
    let refused = [
        ("forged", forged.clone()),
        ("stale", library.signed(&ours, "msg_1", now - SIX_MINUTES, &body)),
        ("early", library.signed(&ours, "msg_1", now + SIX_MINUTES, &body)),
        ("another body", Message { body: captured("pay_1", &id, 1).to_string(), ..good.clone() }),
        (
            "the body has the same content in other bytes",
            Message { body: format!("{} ", good.body), ..good.clone() },
        ),
        ("another id", Message { id: "msg_2".into(), ..good.clone() }),
        ("another time", Message { at: (now + 60).to_string(), ..good.clone() }),
        ("no signature", Message { signature: String::new(), ..good.clone() }),
    ];
    for (event_type, message) in &refused {
        assert_eq!(message.send(&app).await.verdict(), "401 unauthenticated", "{event_type}");
    }
    assert_eq!(send(&app, &[], &good.body).await.verdict(), "401 unauthenticated", "no headers");
    assert_eq!(read(&app, &id).await["state"], "reserved");
    assert!(payments(&app, &id).await.is_empty());
    // While a secret is being replaced, a message has several signatures.
    let both = Message { signature: format!("{} {}", forged.signature, good.signature), ..good };
    assert_eq!(
        both.outcome(&app).await,
        "paid",
        "a rejected message must not use up the message's id"
    );
    assert_ledger_adds_up(&app).await;
}

/// Reports payments after their orders have expired. If a unit remains, a payment must buy the
/// unit. Otherwise the server must refund the payment.
async fn a_late_signed_payment_buys_a_remaining_unit(library: &Library) {
    let app = start().await;
    open_sale(&app, 2.into(), 1, BRIEF_SECS).await;
    let (first, second) = (order(&app, "anna", "k", 1).await, order(&app, "bert", "k", 1).await);
    for id in [&first, &second] {
        until("the order expires", async || {
            (read(&app, id).await["state"] == "expired").then_some(())
        })
        .await;
    }
    let sold = until("a unit is for sale", async || {
        let bought = app.buy("carl", "k", "spring", "phone", 1).await;
        (bought.status == 201).then(|| bought.json()["id"].as_str().expect("an id").to_owned())
    })
    .await;
    assert_eq!(
        send_message(&app, "msg_carl", &captured("pay_carl", &sold, 10)).await.json()["outcome"],
        "paid"
    );
    assert_eq!(
        library.message("msg_1", &captured("pay_1", &first, 10)).outcome(&app).await,
        "paid"
    );
    assert_eq!(read(&app, &first).await["state"], "paid");
    assert_eq!(
        library.message("msg_2", &captured("pay_2", &second, 10)).outcome(&app).await,
        "refunded"
    );
    assert_eq!(read(&app, &second).await["state"], "expired");
    assert!(refunds(&app, &first).await.is_empty());
    assert_eq!(refunds(&app, &second).await, [("pay_2".into(), "pending".into())]);
    assert_ledger_adds_up(&app).await;
}

async fn are_judged(library: Library) {
    a_signed_message_is_accepted_once(&library).await;
    an_unsigned_forged_stale_or_changed_message_is_401(&library).await;
    a_late_signed_payment_buys_a_remaining_unit(&library).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_signed_by_the_python_library_are_verified() {
    let official = Official::of("python3");
    are_judged(Library { official, signs: ["-c", PYTHON] }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_signed_by_the_javascript_library_are_verified() {
    let official = Official::of("node");
    are_judged(Library { official, signs: ["-e", JAVASCRIPT] }).await;
}
