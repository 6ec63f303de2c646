//! Tests the server with randomly changed tokens, passes, order ids, providers' messages and
//! WebSocket frames. The server must accept no changed input, and must never answer with an
//! internal error.
//!
//! `corpus/` has the initial inputs, one in each line. `DOORBUSTER_MANGLED` sets the number of
//! inputs of each kind, and `DOORBUSTER_RANDOM_SEED` sets the seed.

use doorbuster_core::TicketId;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::app::{TestApp, bearer, sale};
use crate::http::{Reply, request};
use crate::money::{self, assert_ledger_adds_up, captured, now_secs, send, send_text, signature};

/// The number of inputs of each kind, if `DOORBUSTER_MANGLED` is not set.
const MANGLED: usize = 400;
/// The test changes one text at most this many times.
const CHANGES_MAX: usize = 4;
/// The longest piece that the test moves, doubles or removes, in bytes.
const PIECE_MAX: usize = 40;
/// The test puts only these bytes into texts that are sent in a header or in a URL.
const PLAIN: &[u8] = b"ABCZabcz0129-_.=";

struct Mangler {
    seed: u64,
    rng: SmallRng,
    of_each: usize,
}

impl Mangler {
    fn new() -> Self {
        let env_var =
            |name: &str| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
        let seed = env_var("DOORBUSTER_RANDOM_SEED").unwrap_or_else(rand::random);
        let of_each = env_var("DOORBUSTER_MANGLED").map_or(MANGLED, |n| {
            usize::try_from(n).expect("DOORBUSTER_MANGLED is a number in range")
        });
        Self { seed, rng: SmallRng::seed_from_u64(seed), of_each }
    }

    /// Returns the lines of the corpus, and changed copies of these lines and of the valid text
    /// `right`.
    fn texts(&mut self, corpus: &str, right: &str, plain: bool) -> Vec<String> {
        let mut all: Vec<String> = corpus.lines().map(str::to_owned).collect();
        let begin = [&all[..], &[right.to_owned()]].concat();
        while all.len() < self.of_each {
            // Half of the texts are changed copies of the valid text. Such a text passes the
            // server's first checks, so the text also tests the later checks.
            let from = if self.rng.random() {
                right
            } else {
                &begin[self.rng.random_range(0..begin.len())]
            };
            let bytes = self.changed(from.as_bytes().to_vec(), plain);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text != right {
                all.push(text);
            }
        }
        all
    }

    fn changed(&mut self, mut bytes: Vec<u8>, plain: bool) -> Vec<u8> {
        for _ in 0..self.rng.random_range(1..=CHANGES_MAX) {
            let at = self.rng.random_range(0..=bytes.len());
            let end = (at + self.rng.random_range(0..PIECE_MAX)).min(bytes.len());
            let byte = if plain {
                PLAIN[self.rng.random_range(0..PLAIN.len())]
            } else {
                self.rng.random()
            };
            match self.rng.random_range(0..5) {
                0 if at < bytes.len() => bytes[at] = byte,
                0 | 1 => bytes.insert(at, byte),
                2 => drop(bytes.drain(at..end)),
                3 => bytes.truncate(at),
                _ => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.rng.random_range(0..=bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        bytes
    }

    fn judge(&self, reply: &Reply, statuses: &[u16], sent: &str) {
        let status = reply.status;
        assert!(
            statuses.contains(&status),
            "DOORBUSTER_RANDOM_SEED={}: {status} for {sent:?}: {}",
            self.seed,
            reply.text()
        );
    }
}

#[tokio::test]
async fn a_mangled_token_or_pass_identifies_no_buyer_and_a_mangled_id_no_order() {
    let mut mangler = Mangler::new();
    let app = TestApp::start().await;
    let mut body = sale("spring", 100.into(), 10);
    body["front_door"] = json!({"pass": "required"});
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
    app.step("spring", "open").await;
    let anna = bearer("anna");
    let headers = [("Authorization", anna.as_str()), ("Content-Type", "application/json")];
    let pass =
        app.call("POST", "/v1/sales/spring/passes", &headers, br#"{"item":"phone"}"#).await.json();
    let pass = pass["pass"].as_str().expect("a pass").to_owned();
    let bought = app
        .buy_with(
            "anna",
            "k",
            &[("Purchase-Pass", &pass)],
            r#"{"sale":"spring","item":"phone","units":1}"#,
        )
        .await;
    assert_eq!(bought.verdict(), "201", "{}", bought.text());
    let id = bought.json()["id"].as_str().expect("an id").to_owned();
    for token in mangler.texts(
        include_str!("../corpus/tokens.txt"),
        anna.trim_start_matches("Bearer "),
        true,
    ) {
        let reply = app
            .call("GET", "/v1/orders", &[("Authorization", &format!("Bearer {token}"))], b"")
            .await;
        mangler.judge(&reply, &[401], &token);
    }
    for wrong in mangler.texts(include_str!("../corpus/passes.txt"), &pass, true) {
        let more = [("Purchase-Pass", wrong.as_str())];
        let reply = app
            .buy_with("anna", "another", &more, r#"{"sale":"spring","item":"phone","units":1}"#)
            .await;
        mangler.judge(&reply, &[403], &wrong);
    }
    for wrong in mangler.texts(include_str!("../corpus/orders.txt"), &id, true) {
        let reply = app.buyer("anna", "GET", &format!("/v1/orders/{wrong}")).await;
        // An empty id requests the buyer's list of orders. An id that makes the path invalid
        // reaches no endpoint.
        mangler.judge(&reply, if wrong.is_empty() { &[200, 404] } else { &[404] }, &wrong);
    }
    assert_ledger_adds_up(&app).await;
}

/// Returns whether the message names a valid ticket id other than `id`. That ticket may still be
/// undecided. The server then answers 503, so that the provider sends the message again.
fn names_other_ticket(message: &str, id: &str) -> bool {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let order = message["data"]["order"].as_str().unwrap_or_default();
    order != id && TicketId::parse(order).is_some()
}

#[tokio::test]
async fn a_mangled_message_changes_no_payment_and_a_mangled_frame_at_most_ends_its_connection() {
    let mut mangler = Mangler::new();
    let app = money::start().await;
    money::open_sale(&app, 100.into(), 10, 900).await;
    let id = money::order(&app, "anna", "k", 1).await;
    let right = captured("pay_1", &id, 10).to_string();
    for (n, body) in
        mangler.texts(include_str!("../corpus/messages.txt"), &right, false).into_iter().enumerate()
    {
        let believed = send_text(&app, &format!("msg_{n}"), &body).await;
        let statuses: &[u16] = match names_other_ticket(&body, &id) {
            true => &[200, 400, 422, 503],
            false => &[200, 400, 422],
        };
        mangler.judge(&believed, statuses, &body);
    }
    let now = now_secs().to_string();
    let by = signature(money::KEY, "msg_right", &now, &right);
    for wrong in mangler.texts("v1,\nv1\nv2,AAAA\nv1a,AAAA\nv1,AAAA v1,BBBB\n,", &by, true) {
        // A header with several signatures is valid if one of them is the valid signature, with or
        // without Base64 padding.
        if wrong.contains(by.trim_end_matches('=')) {
            continue;
        }
        let headers = [
            ("webhook-id", "msg_right"),
            ("webhook-timestamp", &now),
            ("webhook-signature", &wrong),
        ];
        mangler.judge(&send(&app, &headers, &right).await, &[401], &wrong);
    }
    let anna = bearer("anna");
    let upgrade = [
        ("Authorization", anna.as_str()),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let byte = |text: &str| u8::from_str_radix(text, 16).expect("a byte");
    let corpus: Vec<Vec<u8>> = include_str!("../corpus/frames.txt")
        .lines()
        .map(|line| line.split(' ').map(byte).collect())
        .collect();
    for n in 0..mangler.of_each {
        let mut bytes = corpus[n % corpus.len()].clone();
        if n >= corpus.len() {
            bytes = mangler.changed(bytes, false);
        }
        let mut connection = app.connect().await;
        connection.send(&request("GET", "/v1/ws", &upgrade, b"")).await;
        let reply = connection.reply(true).await.expect("an upgrade");
        mangler.judge(&reply, &[101], "an upgrade");
        connection.send(&bytes).await;
        tokio::io::AsyncWriteExt::shutdown(&mut connection.stream).await.unwrap_or_default();
        connection.read_to_end().await;
    }
    assert_eq!(app.get("/readyz").await.verdict(), "200");
    assert_ledger_adds_up(&app).await;
}
