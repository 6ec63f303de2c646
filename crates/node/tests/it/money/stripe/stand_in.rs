//! A local stand-in for Stripe's sessions and refunds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Clone, Debug)]
pub(super) struct SentRequest {
    pub method: String,
    pub path: String,
    /// The decoded form or query.
    pub form: Vec<(String, String)>,
    pub key: Option<String>,
    pub authorization: String,
}

#[derive(Default)]
struct State {
    sent: Vec<SentRequest>,
    /// By id: the sessions that the server has closed, and the sessions that the test has set.
    sessions: HashMap<String, Value>,
    made: usize,
    fails: bool,
    /// True if requests to close sessions are rate limited.
    is_busy: bool,
    /// The answer to each idempotency key. A repeated key gets the same answer.
    answers: HashMap<String, (u16, Value)>,
    refunds: HashMap<String, Value>,
    refuses_refunds: bool,
    /// How much of each payment a person refunded by hand, in minor units.
    by_hand: i64,
    by_hand_status: &'static str,
    /// The amount of every payment. It comes from the last session, or the test sets it.
    paid: i64,
    refuses_sessions: bool,
    hides_payments: bool,
    /// If true, the server's next request for a refund has two effects: the requested refund
    /// succeeds, and the refund that a person made fails.
    by_hand_fails_next: bool,
    /// The answer to the next request with this method and path is lost.
    loses: Option<(String, String)>,
}

/// The running stand-in. It stops when this value is dropped.
pub(super) struct StripeStandIn {
    pub address: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for StripeStandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StripeStandIn {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address =
            format!("http://{}", listener.local_addr().expect("the listener has an address"));
        let state = Arc::new(Mutex::new(State { by_hand_status: "succeeded", ..State::default() }));
        let known = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, known.clone()));
            }
        });
        Self { address, state, task }
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("the task did not panic"))
    }

    pub(super) fn all(&self) -> Vec<SentRequest> {
        self.with(|state| state.sent.clone())
    }

    pub(super) fn sent(&self, method: &str, path: &str) -> Vec<SentRequest> {
        self.all().into_iter().filter(|sent| sent.method == method && sent.path == path).collect()
    }

    pub(super) fn set_session(&self, id: &str, session: Value) {
        self.with(|state| state.sessions.insert(id.to_owned(), session));
    }

    pub(super) fn fail(&self, fails: bool) {
        self.with(|state| state.fails = fails);
    }

    /// Sets whether requests to close sessions are rate limited.
    pub(super) fn busy(&self, is_busy: bool) {
        self.with(|state| state.is_busy = is_busy);
    }

    pub(super) fn refuse_sessions(&self, refuses: bool) {
        self.with(|state| state.refuses_sessions = refuses);
    }

    /// From now on, the server's API key has no permission to read payments.
    pub(super) fn hide_payments(&self) {
        self.with(|state| state.hides_payments = true);
    }

    pub(super) fn refunds_are(&self, status: &str) {
        self.with(|state| {
            state.refunds.values_mut().for_each(|refund| refund["status"] = json!(status))
        });
    }

    /// From now on, refuses refunds. One minor unit of each payment counts as refunded by hand.
    pub(super) fn refuse_refunds(&self) {
        self.refunded_by_hand(1);
    }

    /// From now on, this amount of every payment counts as refunded by hand, and every further
    /// refund is refused.
    pub(super) fn refunded_by_hand(&self, minor: i64) {
        self.with(|state| (state.refuses_refunds, state.by_hand) = (true, minor));
    }

    pub(super) fn by_hand_status(&self, status: &'static str) {
        self.with(|state| state.by_hand_status = status);
    }

    /// Returns the amounts of this server's refunds, in ascending order.
    pub(super) fn amounts(&self) -> Vec<i64> {
        let amounts = |state: &mut State| {
            state.refunds.values().filter_map(|made| made["amount"].as_i64()).collect()
        };
        let mut all: Vec<i64> = self.with(amounts);
        all.sort_unstable();
        all
    }

    /// When the server next requests a refund, the server's refund succeeds and the refund by hand
    /// fails.
    pub(super) fn by_hand_fails_next(&self) {
        self.with(|state| state.by_hand_fails_next = true);
    }

    /// The next request with this method and path takes effect, but its answer is lost.
    pub(super) fn lose_next(&self, method: &str, path: &str) {
        self.with(|state| state.loses = Some((method.to_owned(), path.to_owned())));
    }

    pub(super) fn made(&self) -> usize {
        self.with(|state| state.made)
    }

    /// Forgets the idempotency keys and their answers.
    pub(super) fn forget_keys(&self) {
        self.with(|state| state.answers.clear());
    }

    pub(super) fn forget(&self) {
        self.with(|state| state.sent.clear());
    }

    /// From now on, the stand-in says of each payment that its amount is `paid`, and that a person
    /// refunded the part `minor`. Each later refund is for the remaining amount.
    pub(super) fn refunded_in_part(&self, minor: i64, paid: i64) {
        self.with(|state| (state.by_hand, state.paid) = (minor, paid));
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some((sent, body)) = read(&mut stream).await else { return };
    let ((status, answer), is_lost) = {
        let mut state = state.lock().expect("the task did not panic");
        let before = sent.key.as_ref().and_then(|key| state.answers.get(key).cloned());
        let answer = before.unwrap_or_else(|| answer(&mut state, &sent));
        if let Some(key) = &sent.key {
            state.answers.insert(key.clone(), answer.clone());
        }
        let is_lost = state
            .loses
            .take_if(|(method, path)| *method == sent.method && *path == sent.path)
            .is_some();
        state.sent.push(sent);
        (answer, is_lost)
    };
    drop(body);
    if is_lost {
        return;
    }
    let text = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: \
         {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    // The client may have disconnected.
    let _ = stream.write_all(format!("{head}{text}").as_bytes()).await;
}

fn answer(state: &mut State, sent: &SentRequest) -> (u16, Value) {
    let refused = |code: &str| {
        (400, json!({"error": {"type": "invalid_request_error", "code": code, "message": "no"}}))
    };
    let field = |name: &str| {
        sent.form.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let number = |name: &str| field(name).and_then(|value| value.parse::<i64>().ok());
    let price =
        number("line_items[0][quantity]").zip(number("line_items[0][price_data][unit_amount]"));
    state.paid = price.map_or(state.paid, |(units, each)| units * each);
    if state.fails {
        return (500, json!({"error": {"type": "api_error", "message": "the stand-in fails"}}));
    }
    let parts: Vec<&str> = sent.path.trim_start_matches('/').split('/').collect();
    if state.is_busy && parts.last() == Some(&"expire") {
        return (
            429,
            json!({"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "too many"}}),
        );
    }
    match (sent.method.as_str(), parts.as_slice()) {
        ("POST", ["v1", "checkout", "sessions"]) if state.refuses_sessions => {
            refused("amount_too_small")
        }
        ("POST", ["v1", "checkout", "sessions"]) => {
            state.made += 1;
            let id = format!("cs_test_{}", state.made);
            let url = format!("https://checkout.stripe.example/c/pay/{id}");
            (
                200,
                json!({"id": id, "object": "checkout.session", "url": url, "status": "open", "payment_status": "unpaid"}),
            )
        }
        ("POST", ["v1", "checkout", "sessions", id, "expire"]) => match state.sessions.get(*id) {
            Some(_) => refused("resource_missing"),
            None => {
                let session = json!({"id": id, "object": "checkout.session", "status": "expired", "payment_status": "unpaid"});
                state.sessions.insert((*id).to_owned(), session.clone());
                (200, session)
            }
        },
        ("GET", ["v1", "checkout", "sessions", _])
            if state.hides_payments && field("expand[0]").is_some() =>
        {
            (
                403,
                json!({"error": {"type": "invalid_request_error", "message": "the key does not have the permission"}}),
            )
        }
        ("GET", ["v1", "checkout", "sessions", id]) => match state.sessions.get(*id) {
            Some(session) => {
                (200, read_session(session, field("expand[0]").as_deref(), state.by_hand))
            }
            None => (
                404,
                json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "no"}}),
            ),
        },
        ("POST", ["v1", "refunds"]) if state.refuses_refunds => refused("charge_already_refunded"),
        ("POST", ["v1", "refunds"]) => {
            let refund = give_back(state, field("payment_intent"), field("metadata[refund]"));
            // A request with a repeated key gets the refund of the key's first request.
            (
                200,
                state.refunds.entry(sent.key.clone().unwrap_or_default()).or_insert(refund).clone(),
            )
        }
        ("GET", ["v1", "refunds"]) => {
            let by_hand = json!({"id": "re_9", "object": "refund", "status": state.by_hand_status, "amount": state.by_hand, "currency": "cny",
                                 "metadata": {}});
            let mut all: Vec<Value> = state.refunds.values().cloned().collect();
            all.extend((state.by_hand > 0).then_some(by_hand));
            (200, json!({"object": "list", "data": all, "has_more": false, "url": "/v1/refunds"}))
        }
        _ => (404, json!({"error": {"type": "invalid_request_error", "message": "no such path"}})),
    }
}

/// Refunds a payment's remaining amount. Failed refunds do not count as refunded.
fn give_back(state: &mut State, payment: Option<String>, id: Option<String>) -> Value {
    let lives = |status: &str| !matches!(status, "failed" | "canceled");
    let of_it =
        state.refunds.values().filter(|made| made["payment_intent"].as_str() == payment.as_deref());
    let made = of_it.filter(|made| made["status"].as_str().is_some_and(lives));
    let gone: i64 = made.filter_map(|made| made["amount"].as_i64()).sum();
    let by_hand = if lives(state.by_hand_status) { state.by_hand } else { 0 };
    let status = match std::mem::take(&mut state.by_hand_fails_next) {
        true => {
            state.by_hand_status = "failed";
            "succeeded"
        }
        false => "pending",
    };
    json!({"id": "re_1", "object": "refund", "status": status, "payment_intent": payment,
                        "amount": state.paid - by_hand - gone, "metadata": {"refund": id}})
}

/// Returns a session. If the request asks for the payment's details, the session contains the
/// payment as an object. Otherwise the session contains only the payment's id.
fn read_session(session: &Value, expand: Option<&str>, by_hand: i64) -> Value {
    let mut session = session.clone();
    let payment = session["payment_intent"].take();
    let id = payment["id"].as_str().or(payment.as_str()).map(str::to_owned);
    session["payment_intent"] = match (id, expand) {
        (Some(id), Some("payment_intent.latest_charge")) => {
            let status = payment["status"].as_str().unwrap_or("succeeded");
            let charge = json!({"object": "charge", "payment_intent": id, "amount_refunded": by_hand, "currency": "cny"});
            json!({"id": id, "object": "payment_intent", "status": status, "latest_charge": charge})
        }
        (id, _) => json!(id),
    };
    session
}

async fn read(stream: &mut TcpStream) -> Option<(SentRequest, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        more(stream, &mut bytes).await?;
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let header = |name: &str| {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .next()
    };
    let length: usize =
        header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        more(stream, &mut bytes).await?;
    }
    let body = bytes[end + 4..end + 4 + length].to_vec();
    let mut words = head.lines().next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let form = [query, std::str::from_utf8(&body).ok()?].concat();
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    let form = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(a, b)| (decoded(a), decoded(b)))
        .collect();
    let authorization = header("authorization").unwrap_or_default();
    Some((
        SentRequest {
            method,
            path: path.to_owned(),
            form,
            key: header("idempotency-key"),
            authorization,
        },
        body,
    ))
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut room = [0; 4096];
    let read = stream.read(&mut room).await.ok()?;
    bytes.extend_from_slice(&room[..read]);
    (read > 0).then_some(())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().expect("two digits"), rest.next().expect("two digits")];
                u8::from_str_radix(std::str::from_utf8(&digits).expect("ASCII"), 16)
                    .expect("two digits")
            }
            other => other,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}
